//! A page's connection: what it sends and receives, each as far as it goes without waiting.

use std::io::{self, ErrorKind};
use std::mem;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::Interest;

use crate::limits::bell::Bell;
use crate::limits::memory_limit::Room;
use crate::network::buffer::{Buffer, Pattern};
use crate::network::idle::Key;
use crate::network::opened::{Ends, Held};
use crate::network::opening::{Opening, is_closed};
use crate::network::stream::Stream;
use crate::network::tls;
use crate::network::{Attempt, Failure, Network, words};

/// What a page is told of a connection that is gone.
const CLOSED: &str = "closed";

/// A connection as a page has it. Whoever else holds it finds it closed when the page has ended.
#[derive(Clone)]
pub struct Socket(Arc<Line>);

/// What is behind it.
struct Line {
    state: Mutex<State>,
    held: Arc<Held>,
    is_datagrams: bool,
}

enum State {
    Opening(Box<Opening>, Key),
    Open(Box<Open>),
    Closed,
}

struct Open {
    stream: Stream,
    buffer: Buffer,
    key: Key,
    uses: u32,
}

impl Ends for Line {
    fn end(&self) {
        *self.state.lock() = State::Closed;
    }

    fn has_ended(&self) -> bool {
        matches!(*self.state.lock(), State::Closed)
    }
}

/// Why a page cannot have what it asked for, and what there was of it.
pub struct Broken<R> {
    /// In a word or two.
    pub message: String,
    /// What was received so far.
    pub partial: Option<R>,
}

impl<R> Broken<R> {
    fn of(message: impl Into<String>) -> Broken<R> {
        Broken { message: message.into(), partial: None }
    }
}

/// Which attempt to receive it is.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// It was tried before, and an event has come.
    pub is_again: bool,
    /// Nothing else of the page could run meanwhile.
    pub is_alone: bool,
}

/// What receiving has come to: what was wanted and whether that is the last of it, or what stopped it.
pub type Received<R> = Result<Attempt<(R, bool)>, Broken<R>>;

impl Socket {
    /// One that is still to be opened.
    #[must_use]
    pub fn opening(opening: Opening, key: Key, held: Arc<Held>, is_datagrams: bool) -> Socket {
        let state = Mutex::new(State::Opening(Box::new(opening), key));
        Socket(Arc::new(Line { state, held, is_datagrams }))
    }

    /// One that another page has left, and how often that was so.
    #[must_use]
    pub fn kept((stream, uses): (Stream, u32), key: Key, held: Arc<Held>) -> Socket {
        let buffer = Buffer::new(held.clone());
        let state = Mutex::new(State::Open(Box::new(Open { stream, buffer, key, uses })));
        Socket(Arc::new(Line { state, held, is_datagrams: false }))
    }

    /// For the page that it ends with.
    #[must_use]
    pub fn ends(&self) -> Weak<dyn Ends> {
        let line: Arc<dyn Ends> = self.0.clone();
        Arc::downgrade(&line)
    }

    /// Closes it for everyone.
    pub fn close(&self) {
        self.0.end();
    }

    /// Goes on opening it; whether it was handed on. `is_late` when it took too long for one of several addresses.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub fn open(&self, is_late: bool, network: &Network, bell: &Arc<Bell>) -> Result<Attempt<()>, Failure> {
        let mut state = self.0.state.lock();
        let State::Opening(opening, key) = &mut *state else { return Err(Failure::new("closed", CLOSED)) };
        if is_late {
            opening.skip();
        }
        match opening.go_on(network, bell) {
            Ok(Attempt::Done(stream)) => {
                let buffer = Buffer::new(self.0.held.clone());
                let open = Open { stream, buffer, key: key.clone(), uses: 0 };
                *state = State::Open(Box::new(open));
                Ok(Attempt::Done(()))
            }
            Ok(Attempt::Wait(event)) => Ok(Attempt::Wait(event)),
            Err(failure) => {
                *state = State::Closed;
                Err(failure)
            }
        }
    }

    /// How many addresses are left to be tried.
    #[must_use]
    pub fn addresses_left(&self) -> usize {
        match &*self.0.state.lock() {
            State::Opening(opening, _) => opening.addresses_left(),
            _ => 1,
        }
    }

    /// How often it was handed on; none where it is closed.
    #[must_use]
    pub fn uses(&self) -> Option<u32> {
        match &*self.0.state.lock() {
            State::Open(open) => Some(open.uses),
            _ => None,
        }
    }

    /// Sends what of the bytes is still to be sent, from `sent` on.
    ///
    /// # Errors
    /// Why it cannot be sent; then the connection is closed.
    pub fn send(
        &self,
        bytes: &[u8],
        sent: &mut usize,
        network: &Network,
        bell: &Arc<Bell>,
    ) -> Result<Attempt<()>, String> {
        let mut state = self.0.state.lock();
        let State::Open(open) = &mut *state else { return Err(CLOSED.into()) };
        let stream = &mut open.stream;
        let done = loop {
            // An empty datagram is one as well.
            if *sent == bytes.len() && (!self.0.is_datagrams || !bytes.is_empty()) {
                break stream.flush();
            }
            match stream.write(&bytes[*sent..]) {
                Ok(count) => *sent += count,
                Err(error) => break Err(error),
            }
            if self.0.is_datagrams {
                break Ok(());
            }
        };
        match done {
            Ok(()) => Ok(Attempt::Done(())),
            Err(error) if error.kind() == ErrorKind::WouldBlock => stream
                .wait(Interest::WRITABLE, &network.reactor, bell)
                .map(Attempt::Wait)
                .map_err(|error| words(&error)),
            Err(error) if self.0.is_datagrams => Err(words(&error)),
            Err(error) => {
                *state = State::Closed;
                Err(told(&error))
            }
        }
    }

    /// Receives what is wanted.
    ///
    /// # Errors
    /// Why it cannot be received, with what was; and what `room` says.
    pub fn receive<R>(
        &self,
        pattern: &Pattern,
        turn: Turn,
        (network, bell, room): (&Network, &Arc<Bell>, Room<'_>),
        give: impl Fn(&[u8]) -> R,
    ) -> Result<Received<R>, &'static str> {
        let mut state = self.0.state.lock();
        let State::Open(open) = &mut *state else { return Ok(Err(Broken::of(CLOSED))) };
        if !turn.is_again {
            open.buffer.search_anew();
        }
        loop {
            if let Some(taken) = open.buffer.take(pattern, &give) {
                return Ok(Ok(Attempt::Done(taken)));
            }
            room.look()?;
            let stream = &mut open.stream;
            let error = match open.buffer.fill(room, |into| stream.read(into), |count| *count)? {
                Ok(0) if !self.0.is_datagrams => None,
                Ok(_) => continue,
                Err(error) => Some(error),
            };
            if let Some(error) = &error
                && error.kind() == ErrorKind::WouldBlock
            {
                if turn.is_alone && stream.comes_soon() {
                    continue;
                }
                let event = stream.wait(Interest::READABLE, &network.reactor, bell);
                return Ok(event.map(Attempt::Wait).map_err(|error| Broken::of(words(&error))));
            }
            let rest = open.buffer.take_all(&give);
            *state = State::Closed;
            return Ok(match (error, pattern) {
                (None, Pattern::All) => Ok(Attempt::Done((rest, true))),
                (error, _) => {
                    let message = error.map_or_else(|| CLOSED.to_owned(), |error| told(&error));
                    Err(Broken { message, partial: Some(rest) })
                }
            });
        }
    }

    /// Receives one datagram.
    ///
    /// # Errors
    /// As [`receive`](Socket::receive).
    pub fn receive_datagram<R>(&self, network: &Network, bell: &Arc<Bell>, give: impl Fn(&[u8]) -> R) -> Received<R> {
        const LARGEST: usize = 65_535;
        let mut state = self.0.state.lock();
        let State::Open(open) = &mut *state else { return Err(Broken::of(CLOSED)) };
        let mut datagram = vec![0; LARGEST];
        match open.stream.read(&mut datagram) {
            Ok(count) => Ok(Attempt::Done((give(&datagram[..count]), true))),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let event = open.stream.wait(Interest::READABLE, &network.reactor, bell);
                event.map(Attempt::Wait).map_err(|error| Broken::of(words(&error)))
            }
            Err(error) => Err(Broken::of(words(&error))),
        }
    }

    /// Whether datagrams come and go here.
    #[must_use]
    pub fn is_datagrams(&self) -> bool {
        self.0.is_datagrams
    }

    /// Gives up what was waited for; what has come of it.
    pub fn give_up<R>(&self, give: impl FnOnce(&[u8]) -> R) -> Option<R> {
        match &mut *self.0.state.lock() {
            State::Open(open) => {
                open.stream.forget_waits();
                Some(open.buffer.take_all(give))
            }
            _ => None,
        }
    }

    /// Leaves it to pages after this one, for so long and among so many.
    ///
    /// # Errors
    /// Why it cannot be left; then it is closed.
    pub fn keep(&self, time: Duration, most: usize, network: &Network) -> Result<(), &'static str> {
        let state = mem::replace(&mut *self.0.state.lock(), State::Closed);
        let State::Open(open) = state else { return Err(CLOSED) };
        let Open { mut stream, buffer, key, uses } = *open;
        stream.forget_waits();
        if self.0.is_datagrams {
            return Err("datagrams have no connection to keep");
        }
        if !buffer.is_empty() || !stream.is_silent() {
            return Err("unread data in buffer, or closed by the server");
        }
        let is_kept = network.idle.put(&key, (stream, uses), time, most, &network.reactor);
        if is_kept { Ok(()) } else { Err("too many connections are kept") }
    }
}

/// What a page is told of an error that ends its connection.
fn told(error: &io::Error) -> String {
    match tls::failure_of(error) {
        Some(failure) => failure.message,
        None if is_closed(error) && error.kind() != ErrorKind::ConnectionReset => CLOSED.into(),
        None => words(error),
    }
}
