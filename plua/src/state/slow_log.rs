//! Pages that take long, as the log tells of them while they run (`pLuaSlowLog`).

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::error::entry::Entry;
use crate::limits::time_limit::{Call, Tell};
use crate::request::fault;
use crate::request::visit::{Slot, Visit};
use crate::state::State;

impl State {
    /// The page of a visit is told of when it has taken so long.
    #[inline(never)]
    pub(super) fn begin_slow_log(&self, visit: &Visit, after: Duration) {
        let told = Told { slot: Arc::downgrade(&self.slot), path: visit.path.clone(), after };
        self.limit.tell_when_slow(after, told.into_tell());
    }
}

struct Told {
    slot: Weak<<Slot as Deref>::Target>,
    path: PathBuf,
    after: Duration,
}

impl Told {
    fn into_tell(self) -> Tell {
        Box::new(move |calls| {
            // A page function that calls back into the page may have it.
            let Some(slot) = self.slot.upgrade() else { return true };
            let Some(mut slot) = slot.try_lock() else { return false };
            if let Some(visit) = slot.as_mut() {
                let line = self.line(&calls, &visit.exchange.request().line);
                visit.exchange.log(Entry::SLOW_PAGE, &line);
            }
            true
        })
    }

    fn line(&self, calls: &[Call], request: &[u8]) -> String {
        let seconds = self.after.as_secs_f64();
        let frames = fault::stopped_frames(calls, &self.path);
        let calls: Vec<String> = frames
            .iter()
            .map(|frame| match &frame.at {
                Some((file, line)) => format!("{} at {file}:{line}", frame.what),
                None => frame.what.clone(),
            })
            .collect();
        let page = self.path.display();
        let request = String::from_utf8_lossy(request);
        match calls.is_empty() {
            true => {
                format!("{page}: took longer than {seconds} s (pLuaSlowLog), in a function written in C: {request}")
            }
            false => format!("{page}: takes longer than {seconds} s (pLuaSlowLog): {}: {request}", calls.join(", ")),
        }
    }
}
