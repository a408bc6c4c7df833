//! How a page waits, for the state's own code: light_threads.lua decides who runs, and this waits when nobody can.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use mlua::{IntoLuaMulti, MultiValue};

use super::{Arguments, IN_FINALIZER, NO_REQUEST, Native, refuse};
use crate::request::visit::Visit;

/// Farther than any page waits, in seconds, and what the system's clock can add.
const FARTHEST: f64 = 1e9;

pub fn install(native: &Native<'_>) -> mlua::Result<()> {
    // seconds_since_start() -> the time, by a clock that nobody sets
    native.add_plain("seconds_since_start", |_, ()| Ok(beginning().elapsed().as_secs_f64()))?;
    // check_sleep(seconds) -> true and for how long, or false and why not
    let slot = native.slot.clone();
    native.add_plain("check_sleep", move |lua, arguments: MultiValue| {
        match slot.try_lock().as_ref().map(|visit| visit.is_some()) {
            Some(true) => {}
            Some(false) => return refuse(lua, NO_REQUEST),
            None => return refuse(lua, IN_FINALIZER),
        }
        match Arguments::new("sleep", arguments).number(1) {
            Ok(seconds) => (true, if seconds < 0.0 { 1.0 } else { seconds }).into_lua_multi(lua),
            Err(message) => refuse(lua, &message),
        }
    })?;
    // will_wait(due): the page waits when it yields, at most until then
    let slot = native.slot.clone();
    native.add_plain("will_wait", move |_, due: Option<f64>| {
        if let Some(visit) = slot.try_lock().as_mut().and_then(|visit| visit.as_deref_mut()) {
            note(visit, due);
        }
        Ok(())
    })?;
    // wait_here(due) -> whether the page's time is over, or its server stops: waits in this thread
    let (slot, limit) = (native.slot.clone(), native.limit.clone());
    native.add_plain("wait_here", move |_, due: Option<f64>| {
        let awaited = slot.try_lock().as_mut().and_then(|visit| visit.as_deref_mut()).and_then(|visit| {
            note(visit, due);
            visit.awaited().map(|awaited| (awaited, visit.deadline))
        });
        let Some(((bell, until), deadline)) = awaited.filter(|_| limit.refusal().is_none()) else { return Ok(true) };
        limit.wait(&bell, until);
        Ok(deadline.is_some_and(|deadline| deadline.left().is_zero()) || limit.server_stops())
    })?;
    // watch_client() -> true and the number of the event that its leaving is, or false and why not
    native.add("watch_client", |_, visit, _| {
        let waits = visit.waits.get_or_insert_default();
        let event = waits.client_gone.unwrap_or_else(|| waits.bell.event());
        waits.client_gone = Some(event);
        Ok(event)
    })?;
    // rung_events() -> the numbers of the events that have come, or nothing
    let slot = native.slot.clone();
    native.add_plain("rung_events", move |_, ()| {
        let mut visit = slot.try_lock();
        let waits = visit.as_mut().and_then(|visit| visit.as_deref_mut()?.waits.as_deref());
        Ok(waits.map(|waits| waits.bell.take()).filter(|events| !events.is_empty()))
    })
}

/// Notes that the page waits, at most until so many seconds [after the beginning](beginning).
fn note(visit: &mut Visit, due: Option<f64>) {
    let waits = visit.waits.get_or_insert_default();
    waits.until = due.and_then(|due| {
        let due = Duration::try_from_secs_f64(due.clamp(0.0, FARTHEST)).unwrap_or_default();
        beginning().checked_add(due)
    });
}

/// When this process first asked for the time.
fn beginning() -> Instant {
    static BEGINNING: OnceLock<Instant> = OnceLock::new();
    *BEGINNING.get_or_init(Instant::now)
}
