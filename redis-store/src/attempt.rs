//! What many wait for and one makes: a connection, or what a cluster says of itself.

use parking_lot::Mutex;
use tokio::sync::watch::{self, Receiver};

use crate::problem::Problem;

type Made<T> = Option<Result<T, Problem>>;

/// The last attempt. Those who come while it is made share what comes of it; who comes after it has failed makes the next one.
pub(crate) struct Attempt<T>(Mutex<Option<Receiver<Made<T>>>>);

impl<T> Default for Attempt<T> {
    fn default() -> Attempt<T> {
        Attempt(Mutex::new(None))
    }
}

impl<T: Clone + Send + Sync + 'static> Attempt<T> {
    /// What was made and still is good, or what `make` makes, beside whoever waits for it: who goes leaves it to the others.
    pub(crate) async fn get<F>(&self, is_good: impl Fn(&T) -> bool, make: impl FnOnce() -> F) -> Result<T, Problem>
    where
        F: Future<Output = Result<T, Problem>> + Send + 'static,
    {
        let mut receiver = {
            let mut last = self.0.lock();
            let is_usable = |receiver: &Receiver<Made<T>>| match &*receiver.borrow() {
                // Whoever makes it may have gone with its runtime.
                None => receiver.has_changed().is_ok(),
                Some(Ok(made)) => is_good(made),
                Some(Err(_)) => false,
            };
            match &*last {
                Some(receiver) if is_usable(receiver) => receiver.clone(),
                _ => {
                    let (sender, receiver) = watch::channel(None);
                    let making = make();
                    tokio::spawn(async move {
                        let made = making.await;
                        sender.send_replace(Some(made));
                    });
                    *last = Some(receiver.clone());
                    receiver
                }
            }
        };
        let made = receiver.wait_for(Option::is_some).await.ok().and_then(|made| made.clone());
        made.unwrap_or_else(|| Err(Problem::Server("the server that runs the page stops".into())))
    }

    /// The next one makes it anew.
    pub(crate) fn forget(&self) {
        *self.0.lock() = None;
    }
}
