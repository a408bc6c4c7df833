//! What is sent with a request: a body that is there, or one that the page gives piece by piece.
//!
//! A page is asked for its next piece when the connection wants one and the one before has left it: at most one piece of a body
//! is held outside of the page's Lua.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Frame, SizeHint};
use parking_lot::{Mutex, MutexGuard};

use crate::limits::bell::Bell;
use crate::network::opened::Held;
use crate::network::{Attempt, Failure};

/// What a page sends.
pub enum Content {
    /// All of it, perhaps nothing.
    Whole(Bytes),
    /// Pieces, which cannot be had a second time.
    Pieces(Arc<Supply>),
}

impl Content {
    /// As the client takes it.
    #[must_use]
    pub fn body(&self) -> Body {
        match self {
            Content::Whole(bytes) => Body::Whole(Full::new(bytes.clone())),
            Content::Pieces(supply) => Body::Pieces(supply.clone()),
        }
    }

    /// The pieces, if that is what it is.
    #[must_use]
    pub fn supply(&self) -> Option<&Arc<Supply>> {
        match self {
            Content::Whole(_) => None,
            Content::Pieces(supply) => Some(supply),
        }
    }
}

/// The body of a request that a connection has.
pub enum Body {
    /// All of it.
    Whole(Full<Bytes>),
    /// What the page gives.
    Pieces(Arc<Supply>),
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match self.get_mut() {
            Body::Whole(all) => Pin::new(all).poll_frame(context).map_err(|never| match never {}),
            Body::Pieces(supply) => supply.take(context).map(|piece| piece.map(|piece| piece.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Whole(all) => all.is_end_stream(),
            Body::Pieces(supply) => {
                let state = supply.state.lock();
                state.phase == Phase::Ended && state.piece.is_none()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(all) => all.size_hint(),
            Body::Pieces(supply) => supply.length.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Body::Pieces(supply) = self {
            supply.let_go();
        }
    }
}

/// The pieces of a body on their way from the page to the connection.
pub struct Supply {
    state: Mutex<State>,
    held: Arc<Held>,
    /// Bytes of all of them together, where the page has said that.
    length: Option<u64>,
}

#[derive(Default)]
struct State {
    phase: Phase,
    /// One that the connection has not taken.
    piece: Option<Bytes>,
    /// Whether one is held, here or by the connection.
    is_held: bool,
    /// Whether the connection has asked for one.
    is_wanted: bool,
    /// Bytes that the page has given.
    given: u64,
    /// The connection, where it waits for a piece.
    connection: Option<Waker>,
    /// The page, where it waits to be asked.
    page: Option<(Arc<Bell>, u32)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    /// The page is asked for more.
    #[default]
    Goes,
    /// It has given all.
    Ended,
    /// No more is wanted; the connection waits, for it may still receive the answer.
    Stopped,
    /// The connection is told that no more comes.
    Broken,
}

impl State {
    fn tell_page(&mut self) {
        if let Some((bell, event)) = self.page.take() {
            bell.ring(event);
        }
    }
}

impl Supply {
    /// Nothing yet.
    #[must_use]
    pub fn new(held: Arc<Held>, length: Option<u64>) -> Arc<Supply> {
        let phase = if length == Some(0) { Phase::Ended } else { Phase::Goes };
        Arc::new(Supply { state: Mutex::new(State { phase, ..State::default() }), held, length })
    }

    /// Whether the page is to give a piece, when that is known.
    pub fn is_wanted(&self, bell: &Arc<Bell>) -> Attempt<bool> {
        let mut state = self.state.lock();
        match state.phase {
            Phase::Goes if state.is_wanted && !state.is_held => return Attempt::Done(true),
            Phase::Ended if !state.is_held => return Attempt::Done(false),
            Phase::Stopped | Phase::Broken => return Attempt::Done(false),
            _ => {}
        }
        let event = bell.event();
        state.page = Some((bell.clone(), event));
        Attempt::Wait(event)
    }

    /// Takes the page's next piece, or the end of them. What nobody wants any more is forgotten.
    ///
    /// # Errors
    /// Where that is not as long as the page has said.
    pub fn give(self: &Arc<Self>, piece: Option<&[u8]>) -> Result<(), String> {
        let mut state = self.state.lock();
        if state.phase != Phase::Goes {
            return Ok(());
        }
        let given = state.given + piece.map_or(0, |piece| piece.len() as u64);
        if let Some(length) = self.length
            && (given > length || piece.is_none() && given < length)
        {
            let word = if given > length { "more" } else { "fewer" };
            return Err(format!("the body has {word} bytes than the {length} of its Content-Length"));
        }
        match piece {
            Some(b"") => {}
            Some(bytes) => {
                self.held.add(bytes.len());
                let piece = Piece { bytes: bytes.into(), supply: self.clone() };
                state.piece = Some(Bytes::from_owner(piece));
                (state.given, state.is_held, state.is_wanted) = (given, true, false);
                if self.length == Some(given) {
                    state.phase = Phase::Ended;
                }
            }
            None => state.phase = Phase::Ended,
        }
        let connection = state.connection.take();
        drop(state);
        connection.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Whether the page will not be asked again.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state.lock().phase != Phase::Goes
    }

    /// The server wants no more: its answer is there.
    pub fn stop(&self) {
        let mut state = self.state.lock();
        if state.phase == Phase::Goes {
            state.phase = Phase::Stopped;
        }
        state.tell_page();
    }

    /// Nobody waits for the answer any more. A connection that has not got all can be used for nothing else.
    pub fn break_off(&self) {
        let mut state = self.state.lock();
        if state.phase != Phase::Ended || state.piece.is_some() {
            state.phase = Phase::Broken;
        }
        forget(state);
    }

    /// The connection takes no more.
    fn let_go(&self) {
        let mut state = self.state.lock();
        if state.phase == Phase::Goes {
            state.phase = Phase::Stopped;
        }
        forget(state);
    }

    /// The next piece for the connection.
    fn take(&self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        let mut state = self.state.lock();
        if let Some(piece) = state.piece.take() {
            return Poll::Ready(Some(Ok(piece)));
        }
        match state.phase {
            Phase::Ended => Poll::Ready(None),
            Phase::Broken => Poll::Ready(Some(Err(Failure::new("closed", "the request was ended")))),
            Phase::Goes | Phase::Stopped => {
                state.is_wanted = true;
                state.connection = Some(context.waker().clone());
                if !state.is_held {
                    state.tell_page();
                }
                Poll::Pending
            }
        }
    }

    /// A piece is held no longer.
    fn has_left(&self, bytes: usize) {
        self.held.subtract(bytes);
        let mut state = self.state.lock();
        state.is_held = false;
        if state.is_wanted || state.phase != Phase::Goes {
            state.tell_page();
        }
    }
}

/// Tells both sides, and drops what the connection will not take: outside of the lock, which a piece takes when it goes.
fn forget(mut state: MutexGuard<'_, State>) {
    state.tell_page();
    let (connection, piece) = (state.connection.take(), state.piece.take());
    drop(state);
    drop(piece);
    connection.into_iter().for_each(Waker::wake);
}

/// A piece, until the connection has done with it.
struct Piece {
    bytes: Box<[u8]>,
    supply: Arc<Supply>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.supply.has_left(self.bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn next(supply: &Supply) -> Poll<Option<Result<Bytes, Failure>>> {
        supply.take(&mut Context::from_waker(Waker::noop()))
    }

    fn is_wanted(supply: &Supply) -> Option<bool> {
        match supply.is_wanted(&Arc::default()) {
            Attempt::Done(is_wanted) => Some(is_wanted),
            Attempt::Wait(_) => None,
        }
    }

    #[test]
    fn a_page_is_asked_when_the_connection_wants_more_and_has_done_with_what_it_had() {
        let held = Arc::new(Held::default());
        let supply = Supply::new(held.clone(), None);
        assert_eq!(is_wanted(&supply), None);
        assert!(next(&supply).is_pending());
        assert_eq!(is_wanted(&supply), Some(true));
        supply.give(Some(b"one")).unwrap();
        assert_eq!((is_wanted(&supply), held.bytes()), (None, 3));
        let Poll::Ready(Some(Ok(piece))) = next(&supply) else { panic!("a piece") };
        assert_eq!(piece, "one");
        assert!(next(&supply).is_pending());
        assert_eq!(is_wanted(&supply), None, "it is still on its way");
        drop(piece);
        assert_eq!((is_wanted(&supply), held.bytes()), (Some(true), 0));
        supply.give(None).unwrap();
        assert!(matches!(next(&supply), Poll::Ready(None)) && supply.is_over());
        assert_eq!(is_wanted(&supply), Some(false));
    }

    #[test]
    fn a_body_is_as_long_as_was_said() {
        let supply = Supply::new(Arc::default(), Some(4));
        supply.give(Some(b"abc")).unwrap();
        assert!(supply.give(Some(b"de")).unwrap_err().contains("more bytes than the 4"));
        assert!(supply.give(None).unwrap_err().contains("fewer bytes than the 4"));
        assert!(!supply.is_over());
        drop(next(&supply));
        supply.give(Some(b"d")).unwrap();
        assert!(supply.is_over() && is_wanted(&supply).is_none());
        drop(next(&supply));
        assert_eq!(is_wanted(&supply), Some(false));
        assert!(Supply::new(Arc::default(), Some(0)).is_over());
    }

    #[test]
    fn what_nobody_wants_any_more_is_not_held() {
        let held = Arc::new(Held::default());
        let supply = Supply::new(held.clone(), None);
        supply.give(Some(b"one")).unwrap();
        supply.stop();
        assert_eq!(is_wanted(&supply), Some(false));
        assert!(matches!(next(&supply), Poll::Ready(Some(Ok(_)))) && next(&supply).is_pending());
        supply.break_off();
        assert!(matches!(next(&supply), Poll::Ready(Some(Err(_)))));
        let supply = Supply::new(held.clone(), None);
        supply.give(Some(b"one")).unwrap();
        drop(Content::Pieces(supply.clone()).body());
        supply.give(Some(b"two")).unwrap();
        assert_eq!((held.bytes(), is_wanted(&supply)), (0, Some(false)));
    }
}
