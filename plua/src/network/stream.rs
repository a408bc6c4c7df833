//! One connection to a server, which nobody waits for in reading and writing: with TLS or without.

use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use tokio::io::Interest;

use crate::limits::bell::Bell;
use crate::network::watch::{self, Registered, Watch};
use crate::reactor::Reactor;

/// Nanoseconds in which an answer comes soon, and how often it may not.
const SOON: i64 = 200_000;
const MOST_MISSES: u8 = 3;

/// Waits after which what came late is looked for once more.
const LOOKS_AGAIN: u8 = 50;

/// A socket of the system's that is connected, or about to be.
#[derive(Debug)]
pub struct Stream {
    reading: Option<Watch>,
    writing: Option<Watch>,
    tls: Option<Box<ClientConnection>>,
    wire: Wire,
    /// How often in a row nothing came soon.
    misses: u8,
}

/// The socket itself, once somebody has waited for it as the reactor knows it.
#[derive(Debug)]
enum Wire {
    Own(OwnedFd),
    Registered(Registered),
    /// It could not be registered.
    Lost,
}

impl Wire {
    fn socket(&self) -> io::Result<BorrowedFd<'_>> {
        match self {
            Wire::Own(socket) => Ok(socket.as_fd()),
            Wire::Registered(socket) => Ok(socket.as_fd()),
            Wire::Lost => Err(ErrorKind::NotConnected.into()),
        }
    }

    fn registered(&mut self, reactor: &Reactor) -> io::Result<Registered> {
        if let Wire::Own(_) = self
            && let Wire::Own(socket) = mem::replace(self, Wire::Lost)
        {
            *self = Wire::Registered(watch::register(reactor, socket)?);
        }
        match self {
            Wire::Registered(socket) => Ok(socket.clone()),
            _ => Err(ErrorKind::NotConnected.into()),
        }
    }
}

impl Read for &Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.socket()?, into, RecvFlags::empty())?.0)
    }
}

impl Write for &Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(self.socket()?, bytes, SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream {
    /// Without TLS.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Stream {
        Stream { reading: None, writing: None, tls: None, wire: Wire::Own(socket), misses: 0 }
    }

    /// What the system knows it by.
    ///
    /// # Errors
    /// Where there is none any more.
    pub fn socket(&self) -> io::Result<BorrowedFd<'_>> {
        self.wire.socket()
    }

    /// The event that comes when it can be read, or written.
    ///
    /// # Errors
    /// The system's.
    pub fn wait(&mut self, interest: Interest, reactor: &Reactor, bell: &Arc<Bell>) -> io::Result<u32> {
        let registered = self.wire.registered(reactor)?;
        let (event, watch) = watch::when_ready(registered, interest, bell);
        let place = if interest.is_readable() { &mut self.reading } else { &mut self.writing };
        *place = Some(watch);
        Ok(event)
    }

    /// Whether something comes in the time that it would take to give the thread up and to take another: many a server beside this
    /// one answers in that. One that has not done so a few times in a row is waited for once in a while.
    pub fn comes_soon(&mut self) -> bool {
        if (MOST_MISSES..LOOKS_AGAIN).contains(&self.misses) {
            self.misses += 1;
            return false;
        }
        let soon = Timespec { tv_sec: 0, tv_nsec: SOON };
        let Ok(socket) = self.wire.socket() else { return false };
        let comes = poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&soon)).is_ok_and(|ready| ready > 0);
        self.misses = if comes { 0 } else { (self.misses + 1).min(MOST_MISSES) };
        comes
    }

    /// Nobody waits for it any more.
    pub fn forget_waits(&mut self) {
        self.reading = None;
        self.writing = None;
    }

    /// Speaks TLS from here on, with a server of that name. [`handshake`](Stream::handshake) is to be done.
    ///
    /// # Errors
    /// What rustls says.
    pub fn start_tls(&mut self, config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<(), rustls::Error> {
        self.tls = Some(Box::new(ClientConnection::new(config, name)?));
        Ok(())
    }

    /// Goes on with the first words of TLS; what they wait for, or nothing when they are said.
    ///
    /// # Errors
    /// The system's, and those of rustls within them.
    pub fn handshake(&mut self) -> io::Result<Option<Interest>> {
        let Some(tls) = &mut self.tls else { return Ok(None) };
        let mut wire = &self.wire;
        loop {
            let (done, interest) = if tls.wants_write() {
                (tls.write_tls(&mut wire), Interest::WRITABLE)
            } else if tls.is_handshaking() {
                (tls.read_tls(&mut wire), Interest::READABLE)
            } else {
                return Ok(None);
            };
            match done {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Some(interest)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if interest.is_readable()
                && let Err(error) = tls.process_new_packets()
            {
                // Tells the server why.
                let _ = tls.write_tls(&mut wire);
                return Err(io::Error::new(ErrorKind::InvalidData, error));
            }
        }
    }

    /// Reads what is there; nothing at the end.
    ///
    /// # Errors
    /// The system's: [`ErrorKind::WouldBlock`] when nothing is there yet.
    pub fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut wire = &self.wire;
        let Some(tls) = &mut self.tls else { return again(|| wire.read(into)) };
        loop {
            match tls.reader().read(into) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Many a server just closes the connection.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
            again(|| tls.read_tls(&mut wire))?;
            tls.process_new_packets().map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            if tls.wants_write() {
                match tls.write_tls(&mut wire) {
                    Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                    _ => {}
                }
            }
        }
    }

    /// Writes as much as there is room for.
    ///
    /// # Errors
    /// The system's: [`ErrorKind::WouldBlock`] when there is none.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut wire = &self.wire;
        let Some(tls) = &mut self.tls else { return again(|| wire.write(bytes)) };
        let taken = tls.writer().write(bytes)?;
        match self.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock || taken == 0 => Err(error),
            _ => Ok(taken),
        }
    }

    /// Writes what TLS has still to write.
    ///
    /// # Errors
    /// As [`write`](Stream::write).
    pub fn flush(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        let mut wire = &self.wire;
        while tls.wants_write() {
            if again(|| tls.write_tls(&mut wire))? == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// Whether the server neither says anything nor has closed the connection.
    #[must_use]
    pub fn is_silent(&mut self) -> bool {
        let mut one = [0];
        let read = if self.tls.is_some() {
            self.read(&mut one)
        } else {
            again(|| Ok(recv(self.wire.socket()?, &mut one, RecvFlags::PEEK)?.0))
        };
        matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }
}

fn again(mut attempt: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match attempt() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
