//! A request to a server of HTTP, which a task makes for a page, and what has come of it so far.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, LOCATION, TRANSFER_ENCODING,
};
use http::uri::Scheme;
use http::{Extensions, HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::capture_connection;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::limits::bell::Bell;
use crate::network::client::{Client, failure};
use crate::network::connector::{Uses, check};
use crate::network::opened::{Ends, Held};
use crate::network::proxy::Proxy;
use crate::network::sending::{Content, Supply};
use crate::network::watch::{self, Watch};
use crate::network::{Attempt, Failure, Network, url};
use crate::settings::connect::Connect;

/// Bytes of a body at most that is not read piece by piece.
pub const LARGEST: usize = 64 << 20;

/// Bytes of a body that is read piece by piece which may wait for the page.
const AHEAD: usize = 256 << 10;

/// What a page asks for.
pub struct Ask {
    /// How.
    pub method: Method,
    /// Whom, and for what.
    pub uri: Uri,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, perhaps an empty one.
    pub body: Content,
    /// Who is asked for it, where it is not the server itself.
    pub proxy: Option<Arc<Proxy>>,
    /// Redirects that are followed; with none they are the page's to follow.
    pub follow: u32,
    /// Whether the page reads the body piece by piece.
    pub in_pieces: bool,
    /// Bytes that may be held for the page with this one.
    pub most: usize,
}

/// What a server has answered, but for the body.
pub struct Head {
    /// Its status.
    pub status: u16,
    /// The version of HTTP.
    pub version: Version,
    /// Its headers.
    pub headers: HeaderMap,
    /// Who it was in the end.
    pub uri: Uri,
}

/// The task of a page's request.
#[derive(Clone)]
pub struct Fetch(Arc<Inner>);

struct Inner {
    come: Arc<Come>,
    task: Mutex<Option<Watch>>,
}

/// What has come.
struct Come {
    state: Mutex<State>,
    /// Told when the page has taken of the body.
    taken: Notify,
    held: Arc<Held>,
    in_pieces: bool,
    /// What the page still sends.
    sending: Option<Arc<Supply>>,
}

#[derive(Default)]
struct State {
    head: Option<Head>,
    pieces: VecDeque<Bytes>,
    bytes: usize,
    end: Option<Result<(), Failure>>,
    /// Who waits for more.
    waiter: Option<(Arc<Bell>, u32)>,
}

impl State {
    fn tell(&mut self) {
        if let Some((bell, event)) = self.waiter.take() {
            bell.ring(event);
        }
    }
}

impl Drop for Come {
    fn drop(&mut self) {
        self.held.subtract(self.state.get_mut().bytes);
    }
}

/// Says that there is no more, also where a panic or the server's end says so first.
struct Ending(Arc<Come>);

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(supply) = &self.0.sending {
            supply.break_off();
        }
        let mut state = self.0.state.lock();
        state.end.get_or_insert_with(|| Err(Failure::new("closed", "the request was ended")));
        state.tell();
    }
}

impl Ends for Inner {
    fn end(&self) {
        drop(self.task.lock().take());
        let mut state = self.come.state.lock();
        let bytes = mem::take(&mut state.bytes);
        state.pieces.clear();
        state.waiter = None;
        self.come.held.subtract(bytes);
    }

    fn has_ended(&self) -> bool {
        self.come.state.lock().end.is_some()
    }
}

impl Fetch {
    /// Begins; the event that has come when there is something to look at.
    ///
    /// # Errors
    /// The system's, when the reactor cannot start, and kind `tls`.
    pub fn start(
        ask: Ask,
        client: Client,
        network: &Network,
        bell: &Arc<Bell>,
        held: Arc<Held>,
    ) -> Result<(u32, Fetch), Failure> {
        let event = bell.event();
        let state = State { waiter: Some((bell.clone(), event)), ..State::default() };
        let sending = ask.body.supply().cloned();
        let come =
            Arc::new(Come { state: Mutex::new(state), taken: Notify::new(), held, in_pieces: ask.in_pieces, sending });
        let (ending, connect) = (Ending(come.clone()), network.connect.clone());
        let task = watch::spawn(&network.reactor, async move {
            let done = run(ask, client, &connect, &ending.0).await;
            ending.0.state.lock().end = Some(done);
        });
        let task = task.map_err(|error| Failure::new("limit", super::words(&error)))?;
        Ok((event, Fetch(Arc::new(Inner { come, task: Mutex::new(Some(task)) }))))
    }

    /// For the page that it ends with.
    #[must_use]
    pub fn ends(&self) -> Weak<dyn Ends> {
        let inner: Arc<dyn Ends> = self.0.clone();
        Arc::downgrade(&inner)
    }

    /// Ends it.
    pub fn close(&self) {
        self.0.end();
    }

    /// What the page sends piece by piece.
    #[must_use]
    pub fn sending(&self) -> Option<&Arc<Supply>> {
        self.0.come.sending.as_ref()
    }

    /// Has the page look for the answer.
    pub fn tell(&self) {
        self.0.come.state.lock().tell();
    }

    /// The answer's head, when that is there and nothing is sent any more, and for one that is not read in pieces all of its body
    /// too.
    ///
    /// # Errors
    /// Why there is none.
    pub fn head(&self, bell: &Arc<Bell>) -> Result<Attempt<Head>, Failure> {
        let mut state = self.0.come.state.lock();
        if let Some(Err(failure)) = &state.end {
            return Err(failure.clone());
        }
        let is_there = state.end.is_some() || self.0.come.in_pieces;
        let is_sent = self.sending().is_none_or(|supply| supply.is_over());
        Ok(match state.head.take_if(|_| is_there && is_sent) {
            Some(head) => Attempt::Done(head),
            None => wait(&mut state, bell),
        })
    }

    /// Bytes of the body that are there and not taken.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.come.state.lock().bytes
    }

    /// The next piece of the body; nothing at its end.
    ///
    /// # Errors
    /// Why it does not go on.
    pub fn piece(&self, bell: &Arc<Bell>) -> Result<Attempt<Option<Bytes>>, Failure> {
        let come = &self.0.come;
        let mut state = come.state.lock();
        if let Some(piece) = state.pieces.pop_front() {
            state.bytes -= piece.len();
            come.held.subtract(piece.len());
            come.taken.notify_one();
            return Ok(Attempt::Done(Some(piece)));
        }
        match &state.end {
            Some(Ok(())) => Ok(Attempt::Done(None)),
            Some(Err(failure)) => Err(failure.clone()),
            None => Ok(wait(&mut state, bell)),
        }
    }
}

fn wait<T>(state: &mut State, bell: &Arc<Bell>) -> Attempt<T> {
    let event = bell.event();
    state.waiter = Some((bell.clone(), event));
    Attempt::Wait(event)
}

/// Asks, and asks on where it is sent to.
async fn run(mut ask: Ask, client: Client, connect: &Connect, come: &Come) -> Result<(), Failure> {
    let mut left = ask.follow;
    loop {
        let asked = url::target(&ask.uri)?;
        check(connect, &asked, ask.proxy.as_deref())?;
        let shown = |failure: Failure| match failure.kind {
            "refused" | "name" => failure,
            _ => Failure { message: format!("{}:{}: {}", asked.host, asked.port, failure.message), ..failure },
        };
        let answer = request(&ask, &client).await.map_err(shown)?;
        if let Some(proxy) = ask.proxy.as_ref().filter(|_| ask.uri.scheme() == Some(&Scheme::HTTP))
            && answer.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED
        {
            return Err(shown(proxy.refusal(answer.status())));
        }
        // Who goes on reading after such an answer has no use for it.
        if let Some(supply) = ask.body.supply().filter(|_| !answer.status().is_success()) {
            supply.stop();
        }
        match leads_to(&answer, &ask) {
            Some(next) if ask.follow > 0 => {
                if left == 0 {
                    return Err(Failure::new("limit", format!("the server redirects more than {} times", ask.follow)));
                }
                left -= 1;
                go_there(&mut ask, answer.status().as_u16(), next?);
            }
            _ => return receive(answer, &ask, come).await.map_err(shown),
        }
    }
}

/// As many connections are tried which the server may have closed in the moment when they were used again.
const MOST_CLOSED: usize = 3;

/// Asks once, but for what does no harm twice and found the connection closed that was left from before.
async fn request(ask: &Ask, client: &Client) -> Result<Response<Incoming>, Failure> {
    let mut closed = 0;
    loop {
        let mut request = Request::new(ask.body.body());
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = ask.uri.clone();
        *request.headers_mut() = ask.headers.clone();
        if let Some(proxy) = &ask.proxy {
            proxy.address(&ask.uri, request.headers_mut());
        }
        let connection = capture_connection(&mut request);
        let answered = client.request(request).await;
        let mut known = Extensions::new();
        if let Some(connection) = connection.connection_metadata().as_ref() {
            connection.get_extras(&mut known);
        }
        let uses = known.get::<Uses>();
        let failure = match answered {
            Ok(answer) => {
                uses.inspect(|uses| uses.add());
                return Ok(answer);
            }
            Err(error) => failure(&error),
        };
        closed += 1;
        let was_left = uses.is_some_and(Uses::are_some) && failure.kind == "closed";
        let can_repeat = ask.method.is_idempotent() && ask.body.supply().is_none();
        if !was_left || !can_repeat || closed > MOST_CLOSED {
            return Err(failure);
        }
    }
}

/// Where an answer sends whoever asked, if what was sent can be had again or is not asked for there.
fn leads_to(answer: &Response<Incoming>, ask: &Ask) -> Option<Result<Uri, Failure>> {
    let status = answer.status().as_u16();
    let leads = matches!(status, 301 | 302 | 303 | 307 | 308)
        && (ask.body.supply().is_none() || becomes_get(status, &ask.method));
    let location = answer.headers().get(LOCATION).filter(|_| leads)?;
    Some(url::join(&ask.uri, location.as_bytes()))
}

/// The next request, which carries no secrets to others and no body where none is asked for.
fn go_there(ask: &mut Ask, status: u16, next: Uri) {
    if becomes_get(status, &ask.method) {
        ask.method = Method::GET;
        ask.body = Content::Whole(Bytes::new());
        for name in [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING] {
            ask.headers.remove(name);
        }
    }
    let origin = |uri: &Uri| (uri.scheme().cloned(), uri.authority().cloned());
    if origin(&ask.uri) != origin(&next) {
        for name in [AUTHORIZATION, COOKIE, HOST] {
            ask.headers.remove(name);
        }
    }
    ask.uri = next;
}

fn becomes_get(status: u16, method: &Method) -> bool {
    status == 303 && *method != Method::HEAD || status < 303 && *method == Method::POST
}

/// Takes the answer for the page, as much as it may hold.
async fn receive(answer: Response<Incoming>, ask: &Ask, come: &Come) -> Result<(), Failure> {
    let (parts, mut body) = answer.into_parts();
    let head =
        Head { status: parts.status.as_u16(), version: parts.version, headers: parts.headers, uri: ask.uri.clone() };
    {
        let mut state = come.state.lock();
        state.head = Some(head);
        if ask.in_pieces {
            state.tell();
        }
    }
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(|error| failure(&error))?.into_data() else { continue };
        if ask.in_pieces {
            while come.state.lock().bytes > AHEAD {
                come.taken.notified().await;
            }
        } else if come.state.lock().bytes + piece.len() > LARGEST || come.held.bytes() + piece.len() > ask.most {
            return Err(Failure::new("too large", "the answer is larger than the page may hold"));
        }
        let mut state = come.state.lock();
        state.bytes += piece.len();
        come.held.add(piece.len());
        state.pieces.push_back(piece);
        if ask.in_pieces {
            state.tell();
        }
    }
    Ok(())
}
