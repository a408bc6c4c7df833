//! Visitors who go on asking while something happens to the server, and the count of what they were answered.

use std::fmt;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::http::{Connection, End, Response, request};

/// What became of requests. Each was either answered or lost.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Requests a visitor wanted answered, each counted once.
    pub sent: usize,
    /// Those that a whole answer came to, the wrong ones included.
    pub answered: usize,
    /// Whole answers that were not what they must be.
    pub wrong: usize,
    /// No answer, or half of one.
    pub lost: usize,
    /// Sent a second time because the server had closed the kept connection without a byte in answer: it may do that to
    /// an idle one at any moment, and the client then asks again (RFC 9112, 9.3.1 and 9.5). Not lost if the second
    /// one, on a new connection, is answered.
    pub repeated: usize,
}

impl Tally {
    /// Prints it, for those who want the figures.
    pub fn tell(&self, what: &str) {
        eprintln!("{what}: {self}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, into: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, answered, wrong, lost, repeated } = self;
        write!(into, "{sent} sent, {answered} answered, {wrong} wrong, {lost} lost, {repeated} repeated")
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.answered += other.answered;
        self.wrong += other.wrong;
        self.lost += other.lost;
        self.repeated += other.repeated;
    }
}

/// One who asks, keeping the connection while the server does, and keeps count.
pub struct Visitor {
    port: u16,
    connection: Option<Connection>,
    /// So far.
    pub tally: Tally,
}

impl Visitor {
    /// One who has not asked yet.
    pub fn new(port: u16) -> Self {
        Self { port, connection: None, tally: Tally::default() }
    }

    /// GETs a path; none when the request is lost.
    pub fn get(&mut self, path: &str) -> Option<Response> {
        self.ask("GET", path, &[], b"")
    }

    /// Sends a request, which may be sent twice; none when it is lost.
    pub fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Response> {
        self.tally.sent += 1;
        let bytes = request(method, path, headers, body);
        let response = match self.connection.take() {
            Some(kept) => match self.attempt(kept, method, &bytes) {
                Err(End::Silent) => {
                    self.tally.repeated += 1;
                    self.attempt_anew(method, &bytes)
                }
                outcome => outcome.ok().flatten(),
            },
            None => self.attempt_anew(method, &bytes),
        };
        match response {
            Some(_) => self.tally.answered += 1,
            None => self.tally.lost += 1,
        }
        response
    }

    /// GETs a path and judges the answer.
    pub fn expect(&mut self, path: &str, right: impl FnOnce(&Response) -> bool) {
        if let Some(response) = self.get(path)
            && !right(&response)
        {
            self.wrong(path, &response);
        }
    }

    /// Counts a wrong answer, and prints the first.
    pub fn wrong(&mut self, path: &str, response: &Response) {
        if self.tally.wrong == 0 {
            eprintln!("wrong answer to {path}: {} {:.300}", response.status, response.text());
        }
        self.tally.wrong += 1;
    }

    fn attempt_anew(&mut self, method: &str, bytes: &[u8]) -> Option<Response> {
        let connection = Connection::try_open(self.port).ok()?;
        self.attempt(connection, method, bytes).ok().flatten()
    }

    /// Nothing for an answer that is cut off.
    fn attempt(&mut self, mut connection: Connection, method: &str, bytes: &[u8]) -> Result<Option<Response>, End> {
        connection.send(bytes);
        let response = connection.response_or_end(method)?;
        if !response.complete {
            return Ok(None);
        }
        if !response.header("Connection").is_some_and(|option| option.eq_ignore_ascii_case("close")) {
            self.connection = Some(connection);
        }
        Ok(Some(response))
    }
}

/// Lets so many visitors make so many visits each, told the visitor's number and its own.
pub fn visits(port: u16, visitors: usize, each: usize, visit: impl Fn(&mut Visitor, usize, usize) + Sync) -> Tally {
    visit_while(port, visitors, |count| count < each, visit, || ()).0
}

/// The same with visits until `during` has returned.
pub fn under_load<T>(
    port: u16,
    visitors: usize,
    visit: impl Fn(&mut Visitor, usize, usize) + Sync,
    during: impl FnOnce() -> T,
) -> (Tally, T) {
    /// Ends the visits also when the test fails in between.
    struct End<'d>(&'d AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let done = AtomicBool::new(false);
    let is_wanted = |_: usize| !done.load(Ordering::Relaxed);
    visit_while(port, visitors, is_wanted, visit, || {
        let _end = End(&done);
        during()
    })
}

/// Each visitor goes on while `goes_on` says so of the number of its next visit.
fn visit_while<T>(
    port: u16,
    visitors: usize,
    goes_on: impl Fn(usize) -> bool + Sync,
    visit: impl Fn(&mut Visitor, usize, usize) + Sync,
    during: impl FnOnce() -> T,
) -> (Tally, T) {
    thread::scope(|scope| {
        let visiting: Vec<_> = (0..visitors)
            .map(|number| {
                let (goes_on, visit) = (&goes_on, &visit);
                scope.spawn(move || {
                    let mut visitor = Visitor::new(port);
                    let mut count = 0;
                    while goes_on(count) {
                        visit(&mut visitor, number, count);
                        count += 1;
                    }
                    visitor.tally
                })
            })
            .collect();
        let result = during();
        let mut all = Tally::default();
        for visitor in visiting {
            all += visitor.join().unwrap();
        }
        (all, result)
    })
}
