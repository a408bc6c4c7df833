//! The states of a host, lent to one request at a time.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::mem;
use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::sched_getcpu;
use parking_lot::Mutex;
use scoreboard::Gauge;

use crate::cache::{ChunkCache, MOST_BYTES};
use crate::error::{Error, ErrorKind};
use crate::limits::bell::Bell;
use crate::limits::time_limit::{WaitingThread, Watchdog};
use crate::network::Network;
use crate::reactor::Reactor;
use crate::reactor::background::Background;
use crate::settings::connect::Connect;
use crate::settings::{Globals, Settings};
use crate::shared::Stores;
use crate::state::State;
use crate::state::own_code::OwnCode;
use crate::state::seats::{SeatLists, Seats, Turn, Waiter};

/// The settings hosts must have in common to share a pool.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shape {
    states: u32,
    sites: NonZeroUsize,
    runs: u32,
    files: usize,
    memory_limit: u32,
    ignored_libraries: Vec<&'static str>,
    package_path: Option<String>,
    package_cpath: Option<String>,
    base_folders: Vec<PathBuf>,
    sandbox: bool,
    connect: Connect,
    init: Option<String>,
    globals: Globals,
    revalidate: Duration,
    time_zone: Option<String>,
    stores: Stores,
}

impl Shape {
    /// That of a host with these settings and stores.
    #[must_use]
    pub fn new(settings: &Settings, stores: &Stores) -> Shape {
        Shape {
            states: settings.states(),
            sites: settings.sites(),
            runs: settings.runs(),
            files: settings.files(),
            memory_limit: settings.limits().memory,
            ignored_libraries: settings.ignored_libraries().to_vec(),
            package_path: settings.package_path().map(str::to_string),
            package_cpath: settings.package_cpath().map(str::to_string),
            base_folders: settings.base_folders().to_vec(),
            sandbox: settings.sandbox(),
            connect: settings.connect().clone(),
            init: settings.init().map(str::to_string),
            globals: settings.globals(),
            revalidate: settings.revalidate(),
            time_zone: settings.time_zone().map(|zone| zone.name().to_string()),
            stores: stores.clone(),
        }
    }
}

/// The states of one host and the compiled files they share. States are made when first needed.
///
/// A request takes a state from its processor's shelf and puts it back there, so that requests on different processors
/// write to no memory in common; the queue is for what a shelf cannot settle.
pub struct HostPool {
    number: u64,
    me: Weak<HostPool>,
    /// Goes with the pool, for those that it cannot reach.
    alive: Arc<()>,
    settings: Settings,
    cache: Arc<ChunkCache>,
    watchdog: Arc<OnceLock<Watchdog>>,
    /// What its pages say to other servers, and share.
    network: Arc<Network>,
    reactor: Arc<Reactor>,
    /// What does the work of its pages that belongs to no request.
    background: Arc<Background>,
    stores: Stores,
    own_code: Arc<OwnCode>,
    first_state: OnceLock<u64>,
    processors: usize,
    /// Bytes that a state holds at first, once one has counted them.
    fresh: OnceLock<usize>,
    shelves: OnceLock<Box<[Shelf]>>,
    /// States that exist or are being made. Changed only by who holds the queue.
    made: AtomicU32,
    /// The length of the queue, for who does not hold it.
    waiting: AtomicUsize,
    queue: Mutex<VecDeque<Arc<Waiter>>>,
    /// Pages that wait in its states without a thread.
    parked: Arc<Gauge>,
    /// Where it counts, if that is wanted.
    counts: Option<scoreboard::Host>,
    /// How often compiled files had been given up on demand when it looked last.
    resets: AtomicU32,
    /// States that take no new page, and end with the last that waits in them.
    #[expect(clippy::vec_box, reason = "a state goes from here to whoever goes on with a page, and back")]
    retired: Mutex<Vec<Box<State>>>,
    seats: Seats,
}

/// Free states that a processor ran last. The one used last is lent first: its memory is in the caches. Each shelf has
/// lines of the caches to itself.
#[derive(Default)]
#[repr(align(128))]
#[expect(clippy::vec_box, reason = "a state is large, and goes from hand to hand with each request")]
struct Shelf(Mutex<Vec<Box<State>>>);

/// So many pages may wait in a state before one in which fewer do is taken, or another one made.
const FEW: u32 = 64;

impl Shelf {
    /// The one used last, unless more pages wait in it than that.
    fn take(&self, guests: u32) -> Option<Box<State>> {
        let mut states = self.0.lock();
        states.pop_if(|state| state.guests() <= guests)
    }

    fn put(&self, state: Box<State>) {
        let mut states = self.0.lock();
        // Those in which many wait are taken last, and in turn.
        let at = if state.guests() > FEW { 0 } else { states.len() };
        states.insert(at, state);
    }
}

/// A state on loan, or a place in the line of those that wait for one.
pub enum Lent<'p> {
    /// It is there.
    Now(StateGuard<'p>),
    /// It will be.
    Later(PlaceInLine),
}

/// A place in the line for a state, held without a thread. Dropping it leaves the line.
#[must_use]
pub struct PlaceInLine {
    pool: Arc<HostPool>,
    waiter: Arc<Waiter>,
    until: Instant,
    wait: Duration,
}

impl PlaceInLine {
    /// What is rung when its turn has come, and when it waits no longer.
    #[must_use]
    pub fn waits_for(&self) -> (&Arc<Bell>, Instant) {
        (&self.waiter.bell, self.until)
    }

    /// Whether its turn has come, or it waits no longer.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.waiter.turn.lock().is_some() || self.until <= Instant::now()
    }

    /// Leaves the line: with the state if the turn has come.
    ///
    /// # Errors
    /// As [`HostPool::lend`] says.
    pub fn take<'p>(&self, pool: &'p HostPool) -> Result<StateGuard<'p>, Error> {
        let turn = pool.leave_line(&self.waiter).ok_or_else(|| pool.no_state(self.wait))?;
        pool.guard(turn)
    }
}

impl Drop for PlaceInLine {
    fn drop(&mut self) {
        if let Some(turn) = self.pool.leave_line(&self.waiter) {
            // It goes to the next one.
            self.pool.give_back(match turn {
                Turn::Take(state) => Some(state),
                Turn::Make => None,
            });
        }
    }
}

/// A thread's own state, and what goes with its pool.
struct Own {
    state: Box<State>,
    alive: Weak<()>,
}

enum Joined {
    Turn(Turn),
    /// For so long.
    Line(Arc<Waiter>, Duration),
}

thread_local! {
    /// Where `pLuaStates 0` gives each thread its own: by the pool's number.
    static OWN: RefCell<HashMap<u64, Own>> = RefCell::default();
}

/// Processors of the machine, or what its administrator leaves of them. Asking reads files, so it is asked once.
#[must_use]
pub fn processors() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| thread::available_parallelism().map_or(1, NonZeroUsize::get))
}

fn next_number() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    NUMBER.fetch_add(1, Relaxed)
}

impl HostPool {
    /// A pool without states.
    #[must_use]
    pub fn new(
        settings: &Settings,
        watchdog: Arc<OnceLock<Watchdog>>,
        reactor: Arc<Reactor>,
        background: Arc<Background>,
        own_code: Arc<OwnCode>,
        stores: Stores,
        counts: Option<scoreboard::Host>,
    ) -> Arc<HostPool> {
        let files = NonZeroUsize::new(settings.files()).unwrap_or(NonZeroUsize::MIN);
        Arc::new_cyclic(|me| HostPool {
            number: next_number(),
            me: me.clone(),
            reactor: reactor.clone(),
            background,
            alive: Arc::default(),
            settings: settings.clone(),
            cache: Arc::new(ChunkCache::new(files, MOST_BYTES, counts)),
            watchdog,
            network: Arc::new(Network::new(settings.connect().clone(), reactor)),
            stores,
            own_code,
            first_state: OnceLock::new(),
            processors: processors(),
            fresh: OnceLock::new(),
            shelves: OnceLock::new(),
            made: AtomicU32::new(0),
            waiting: AtomicUsize::new(0),
            queue: Mutex::default(),
            parked: Arc::new(Gauge::new(counts.map(scoreboard::Host::pool))),
            counts,
            resets: AtomicU32::new(counts.map_or(0, |counts| counts.board().resets())),
            retired: Mutex::default(),
            seats: Seats::default(),
        })
    }

    pub(super) fn weak(&self) -> Weak<HostPool> {
        self.me.clone()
    }

    pub(super) fn reactor(&self) -> &Reactor {
        &self.reactor
    }

    pub(super) fn background(&self) -> &Arc<Background> {
        &self.background
    }

    /// A state on loan. When all are out it waits for one, at most `wait`, in the order of asking. With no time to
    /// wait given it makes one more: for a page inside the answer of another, whose state is out until this one ends.
    ///
    /// # Errors
    /// [`ErrorKind::NoState`] when none came free, [`ErrorKind::Internal`] when none could be made, and what
    /// `pLuaInit` failed with.
    pub fn lend(&self, wait: Option<Duration>) -> Result<StateGuard<'_>, Error> {
        let turn = match self.settings.states() {
            0 => self.own(),
            most => self.turn(most, wait)?,
        };
        self.guard(turn)
    }

    /// A state that this processor has at hand, and that nobody waits for.
    ///
    /// # Errors
    /// As [`lend_or_line_up`](HostPool::lend_or_line_up).
    pub fn lend_at_once(&self) -> Option<Result<StateGuard<'_>, Error>> {
        let turn = match self.settings.states() {
            0 => self.own(),
            _ => self.take_at_hand()?,
        };
        Some(self.guard(turn))
    }

    fn take_at_hand(&self) -> Option<Turn> {
        // Who waits already comes first.
        let is_free = self.waiting.load(Relaxed) == 0;
        if is_free { self.shelf().take(FEW).map(Turn::Take) } else { None }
    }

    /// A state on loan as [`lend`](HostPool::lend) gives it; where all are out, a place in the line for so long.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when none could be made, and what `pLuaInit` failed with.
    pub fn lend_or_line_up(self: &Arc<HostPool>, wait: Duration) -> Result<Lent<'_>, Error> {
        let joined = match self.settings.states() {
            0 => Joined::Turn(self.own()),
            most => self.join(most, Some(wait)),
        };
        match joined {
            Joined::Turn(turn) => self.guard(turn).map(Lent::Now),
            Joined::Line(waiter, wait) => {
                let until = Instant::now() + wait;
                Ok(Lent::Later(PlaceInLine { pool: self.clone(), waiter, until, wait }))
            }
        }
    }

    fn guard(&self, turn: Turn) -> Result<StateGuard<'_>, Error> {
        // Before a state is made, so that the right to make one comes back whatever happens.
        let mut guard = StateGuard { pool: self, state: None };
        guard.state = Some(match turn {
            Turn::Take(state) if !self.is_reset(&state) && !state.is_outdated(self.settings.revalidate()) => state,
            // It goes with all it has made of a module that is changed now.
            Turn::Take(outdated) => {
                self.retire(outdated);
                self.make()?
            }
            Turn::Make => self.make()?,
        });
        Ok(guard)
    }

    /// Whether a state has what was compiled before that was given up on demand.
    #[inline]
    fn is_reset(&self, state: &State) -> bool {
        let Some(counts) = self.counts else { return false };
        let resets = counts.board().resets();
        if self.resets.load(Relaxed) != resets && self.resets.swap(resets, Relaxed) != resets {
            self.cache.clear();
        }
        !state.is_as_of(resets)
    }

    /// This thread's own. One is made only with those of closed pools gone.
    fn own(&self) -> Turn {
        if let Some(own) = OWN.with_borrow_mut(|own| own.remove(&self.number)) {
            return Turn::Take(own.state);
        }
        let is_closed = |_: &u64, own: &mut Own| own.alive.strong_count() == 0;
        let closed: Vec<_> = OWN.with_borrow_mut(|own| own.extract_if(is_closed).collect());
        // What their finalizers do may come here again.
        drop(closed);
        Turn::Make
    }

    fn turn(&self, most: u32, wait: Option<Duration>) -> Result<Turn, Error> {
        let (waiter, wait) = match self.join(most, wait) {
            Joined::Turn(turn) => return Ok(turn),
            Joined::Line(waiter, wait) => (waiter, wait),
        };
        waiter.bell.wait_until(Some(Instant::now() + wait));
        self.leave_line(&waiter).ok_or_else(|| self.no_state(wait))
    }

    /// A turn at once, or a place in the line.
    fn join(&self, most: u32, wait: Option<Duration>) -> Joined {
        if let Some(turn) = self.take_at_hand() {
            return Joined::Turn(turn);
        }
        let mut queue = self.queue.lock();
        if queue.is_empty()
            && let Some(state) = self.take_free(FEW)
        {
            return Joined::Turn(Turn::Take(state));
        }
        let made = self.made.load(Relaxed);
        if made >= most
            && queue.is_empty()
            && let Some(crowded) = self.take_free(u32::MAX)
        {
            return Joined::Turn(Turn::Take(crowded));
        }
        let wait = match wait {
            Some(wait) if made >= most => wait,
            _ => {
                self.made.store(made + 1, Relaxed);
                return Joined::Turn(Turn::Make);
            }
        };
        let waiter = Arc::new(Waiter::default());
        queue.push_back(waiter.clone());
        self.note_waiting(queue.len());
        // A state may have come back since, to a shelf whose user saw nobody wait.
        self.hand_over(&mut queue);
        Joined::Line(waiter, wait)
    }

    /// Takes a waiter out of the line, with its turn if that has come.
    fn leave_line(&self, waiter: &Arc<Waiter>) -> Option<Turn> {
        // Nobody hands over to a waiter that is no longer in the queue, so this settles the race with a late turn.
        let mut queue = self.queue.lock();
        queue.retain(|other| !Arc::ptr_eq(other, waiter));
        self.note_waiting(queue.len());
        drop(queue);
        waiter.turn.lock().take()
    }

    fn no_state(&self, wait: Duration) -> Error {
        let most = self.settings.states();
        let message = format!("all {most} states were busy for {} s (pLuaStates, pLuaStateWait)", wait.as_secs_f64());
        Error::new(ErrorKind::NoState, message)
    }

    fn note_waiting(&self, requests: usize) {
        self.waiting.store(requests, Relaxed);
        if let Some(seat) = self.parked.seat() {
            seat.set_waiting(requests);
        }
    }

    /// Counts a request that was given no state, for that reason.
    pub fn count_refused(&self, kind: ErrorKind) {
        if let Some(counts) = self.counts {
            counts.count_refused();
            counts.count_error(kind as usize);
        }
    }

    /// The shelves, this thread's processor's first.
    fn shelves(&self) -> impl Iterator<Item = &Shelf> {
        let shelves = self.shelves.get_or_init(|| (0..self.processors).map(|_| Shelf::default()).collect());
        let (before, from_here) = shelves.split_at(sched_getcpu().unwrap_or(0) % shelves.len());
        from_here.iter().chain(before)
    }

    fn shelf(&self) -> &Shelf {
        match self.shelves().next() {
            Some(shelf) => shelf,
            None => unreachable!("there is a processor"),
        }
    }

    /// A free state in which no more pages wait than that.
    fn take_free(&self, guests: u32) -> Option<Box<State>> {
        self.shelves().find_map(|shelf| shelf.take(guests))
    }

    /// The state of that number, if nobody uses it.
    fn take_seated(&self, number: u64) -> Option<Box<State>> {
        let take = |shelf: &Mutex<Vec<Box<State>>>| {
            let mut shelf = shelf.lock();
            shelf.iter().position(|state| state.number() == number).map(|at| shelf.remove(at))
        };
        self.shelves().find_map(|shelf| take(&shelf.0)).or_else(|| take(&self.retired))
    }

    /// Gives free states to who waits.
    fn hand_over(&self, queue: &mut VecDeque<Arc<Waiter>>) {
        while !queue.is_empty()
            && let Some(state) = self.take_free(u32::MAX)
        {
            self.call_next(queue, Turn::Take(state));
        }
    }

    fn call_next(&self, queue: &mut VecDeque<Arc<Waiter>>, turn: Turn) {
        if let Some(waiter) = queue.pop_front() {
            self.note_waiting(queue.len());
            *waiter.turn.lock() = Some(turn);
            waiter.bell.call();
        }
    }

    // What making one takes on the stack, a page need not stand on.
    #[inline(never)]
    fn make(&self) -> Result<Box<State>, Error> {
        let watchdog = self.watchdog()?;
        let number = next_number();
        self.first_state.get_or_init(|| number);
        let mut state = State::new(
            number,
            &self.settings,
            self.cache.clone(),
            watchdog,
            &self.network,
            &self.stores,
            &self.own_code,
        )?;
        state.initialise(&self.settings, &self.fresh)?;
        state.count_parked_in(&self.parked);
        state.count_in(self.counts, self.resets.load(Relaxed));
        Ok(Box::new(state))
    }

    fn watchdog(&self) -> Result<&Watchdog, Error> {
        if let Some(watchdog) = self.watchdog.get() {
            return Ok(watchdog);
        }
        let started = Watchdog::start()
            .map_err(|error| Error::new(ErrorKind::Internal, format!("no thread for the time limit: {error}")))?;
        Ok(self.watchdog.get_or_init(|| started))
    }

    /// This thread begins to wait for its client, which the server's stop ends.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] where the system gives no thread to see to that.
    pub fn waiting(&self) -> Result<WaitingThread, Error> {
        self.watchdog().map(Watchdog::waiting)
    }

    /// Stops the pages that run in the pools that share this one's watchdog.
    pub fn end_pages(&self) {
        if let Some(watchdog) = self.watchdog.get() {
            watchdog.end_pages();
        }
    }

    /// Whether the state of that number was the first one made here.
    #[must_use]
    pub fn is_first(&self, number: u64) -> bool {
        self.first_state.get() == Some(&number)
    }

    /// Takes a state back from a loan, if it is fit to be lent again.
    pub(super) fn take_back(&self, mut state: Box<State>, is_fit: bool) {
        self.forget_gone(&mut state);
        for scheduled in state.take_scheduled() {
            self.schedule(scheduled);
        }
        let had_right = !state.is_retired();
        if state.tenants() == 0 {
            if had_right {
                self.give_back(Some(state).filter(|_| is_fit));
            }
            return;
        }
        if !is_fit {
            state.retire();
        }
        if state.is_retired() && had_right {
            self.give_back(None);
        }
        self.seat_next(state);
    }

    /// Takes a state out of use, which ends when no page waits in it. The right to one stays with the caller.
    fn retire(&self, mut state: Box<State>) {
        self.forget_gone(&mut state);
        if state.tenants() > 0 {
            state.retire();
            self.seat_next(state);
        }
    }

    /// Hands a state in which pages wait to the first of them that may go on, or puts it where it is found.
    fn seat_next(&self, state: Box<State>) {
        let number = state.number();
        if let Some(waiter) = self.next_for(number) {
            *waiter.turn.lock() = Some(Turn::Take(state));
            return waiter.bell.call();
        }
        if state.is_retired() {
            self.retired.lock().push(state);
        } else {
            self.give_back(Some(state));
        }
        // Who lines up after this look sees the state, for he looks once more after he is counted.
        self.look_at_seats(number);
    }

    /// Takes the first out of the line that waits for the state of that number.
    fn next_for(&self, number: u64) -> Option<Arc<Waiter>> {
        if self.seats.is_empty() {
            return None;
        }
        self.seats.change(|lists| {
            let at = lists.line.iter().position(|(of, _)| *of == number)?;
            lists.line.remove(at).map(|(_, waiter)| waiter)
        })
    }

    /// Forgets the pages that waited in a state and whose requests are gone.
    fn forget_gone(&self, state: &mut State) {
        if state.guests() == 0 || self.seats.is_empty() {
            return;
        }
        let number = state.number();
        let gone: Vec<_> = self.seats.change(|lists| lists.gone.extract_if(.., |(of, _)| *of == number).collect());
        for (_, guest) in gone {
            state.forget_guest(guest);
        }
    }

    /// Does what is wanted of the state of that number, if nobody uses it.
    pub(super) fn look_at_seats(&self, number: u64) {
        let is_wanted = |lists: &mut SeatLists| {
            lists.line.iter().any(|(of, _)| *of == number) || lists.gone.iter().any(|(of, _)| *of == number)
        };
        if !self.seats.is_empty()
            && self.seats.change(is_wanted)
            && let Some(state) = self.take_seated(number)
        {
            self.take_back(state, true);
        }
    }

    /// Takes a waiter out of the line for its state, with that if its turn has come.
    pub(super) fn leave_seat(&self, waiter: &Arc<Waiter>) -> Option<Box<State>> {
        self.seats.leave(waiter)
    }

    /// Notes that the request is gone of a page that waits in the state of that number.
    pub(super) fn note_gone(&self, state: u64, guest: u64) {
        self.parked.fetch_sub(1, Relaxed);
        self.seats.change(|lists| lists.gone.push((state, guest)));
    }

    /// A loan of a state that was taken for a page in it.
    pub(super) fn guard_of(&self, state: Box<State>) -> StateGuard<'_> {
        StateGuard { pool: self, state: Some(state) }
    }

    /// The state of that number, or a place in the line for it.
    pub(super) fn seat(&self, number: u64) -> Result<Box<State>, Arc<Waiter>> {
        if let Some(state) = self.take_seated(number) {
            return Ok(state);
        }
        let waiter = Arc::new(Waiter::default());
        self.seats.change(|lists| lists.line.push_back((number, waiter.clone())));
        // It may have come back since.
        match self.take_seated(number) {
            Some(state) => match self.seats.leave(&waiter) {
                // There is but one of that number.
                Some(_) => unreachable!("a state is in one place"),
                None => Ok(state),
            },
            None => Err(waiter),
        }
    }

    /// Takes a state back, or the right to make one in place of a state that is gone.
    fn give_back(&self, state: Option<Box<State>>) {
        if self.settings.states() == 0 {
            if let Some(state) = state {
                OWN.with_borrow_mut(|own| own.insert(self.number, Own { state, alive: Arc::downgrade(&self.alive) }));
            }
            return;
        }
        // A page inside another's answer has made one more.
        let is_one_more = self.made.load(Relaxed) > self.settings.states();
        if let Some(state) = state
            && (!is_one_more || state.tenants() > 0)
        {
            self.shelf().put(state);
            // Who begins to wait after this look sees the state, for it looks at the shelves after it is counted.
            if self.waiting.load(Relaxed) > 0 {
                self.hand_over(&mut self.queue.lock());
            }
            return;
        }
        let mut queue = self.queue.lock();
        let made = self.made.load(Relaxed);
        if made > self.settings.states() || queue.is_empty() {
            self.made.store(made - 1, Relaxed);
        } else {
            self.call_next(&mut queue, Turn::Make);
        }
    }
}

/// A state on loan. Dropping it gives the state back, or destroys it when it is spoiled or has served its runs.
#[must_use]
pub struct StateGuard<'p> {
    pool: &'p HostPool,
    state: Option<Box<State>>,
}

impl StateGuard<'_> {
    /// Takes the state out of the loan. The right to it comes back with it.
    pub(super) fn keep(mut self) -> Option<Box<State>> {
        let state = self.state.take();
        mem::forget(self);
        state
    }
}

impl Drop for StateGuard<'_> {
    fn drop(&mut self) {
        let Some(mut state) = self.state.take() else { return self.pool.give_back(None) };
        if thread::panicking() {
            state.mark_broken();
        }
        let runs = self.pool.settings.runs();
        let is_fit = !state.is_spoiled() && (runs == 0 || state.runs() < runs);
        self.pool.take_back(state, is_fit);
    }
}

impl Deref for StateGuard<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        match &self.state {
            Some(state) => state,
            None => unreachable!("only drop takes the state"),
        }
    }
}

impl DerefMut for StateGuard<'_> {
    fn deref_mut(&mut self) -> &mut State {
        match &mut self.state {
            Some(state) => state,
            None => unreachable!("only drop takes the state"),
        }
    }
}
