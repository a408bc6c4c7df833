//! What a request's page waits for when it has nothing left to do: its bell, and when it goes on in any case.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::limits::bell::Bell;

/// Made when the page waits for the first time.
#[derive(Default)]
pub struct Waits {
    /// Rung for each event that the page waits for.
    pub bell: Arc<Bell>,
    /// When it goes on though nothing has come; none where it waits for an event alone.
    pub until: Option<Instant>,
    /// The event that is to come when the client leaves, if the page has asked for that.
    pub client_gone: Option<u32>,
    /// What it had left of its time when it gave its thread up; none without a limit.
    pub time_left: Option<Duration>,
    /// Since when it has none; none while it has one.
    pub parked_since: Option<Instant>,
    /// How long it had none before that.
    pub parked: Duration,
}
