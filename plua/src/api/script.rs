//! Page functions about the script itself: time, waiting, errors.

use std::time::{SystemTime, UNIX_EPOCH};

use mlua::{Lua, LuaString, Table};

use super::Native;
use crate::limits::c_stack;
use crate::limits::time_limit::Reason;
use crate::request::visit::Visit;

pub fn install(native: &Native<'_>) -> mlua::Result<()> {
    native.add("clock", |lua, _, _| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        time(lua, now.as_secs() as i64, i64::from(now.subsec_nanos()))
    })?;
    native.add("compileTime", |lua, visit, _| {
        let received = visit.exchange.request().received;
        time(lua, received.div_euclid(1_000_000), received.rem_euclid(1_000_000) * 1000)
    })?;
    native.add("showErrors", |_, visit, arguments| {
        visit.show_errors = arguments.boolean(1)?;
        Ok(())
    })?;
    let slot = native.slot.clone();
    native.add_plain("has_limit", move |_, ()| {
        let limited = |visit: &Visit| visit.limits.stop_pages();
        Ok(slot.try_lock().is_none_or(|visit| visit.as_deref().is_none_or(limited)))
    })?;
    // seconds_left() -> until the page must have ended; 0 when that is over, and the page is stopped; nothing without a limit
    let (slot, limit) = (native.slot.clone(), native.limit.clone());
    native.add_plain("seconds_left", move |_, ()| {
        let visit = slot.try_lock();
        let left = visit.as_ref().and_then(|visit| visit.as_ref()?.time_left());
        if left.is_some_and(|left| left.is_zero()) {
            limit.look();
        }
        Ok(left.map(|left| left.as_secs_f64()))
    })?;
    // sets_hook() -> whether the page may: no limit needs the hook
    let slot = native.slot.clone();
    native.add_plain("sets_hook", move |_, ()| {
        let mut visit = slot.try_lock();
        let visit = visit.as_mut().and_then(|visit| visit.as_deref_mut()).filter(|visit| !visit.limits.stop_pages());
        Ok(visit.map(|visit| visit.sets_hook = true).is_some())
    })?;
    // give_up(what) after a page that has changed what all requests of the state have in common
    let slot = native.slot.clone();
    native.add_plain("give_up", move |_, what: LuaString| {
        if let Some(visit) = slot.try_lock().as_mut().and_then(|visit| visit.as_deref_mut()) {
            visit.changed.get_or_insert_with(|| what.to_string_lossy().into());
        }
        Ok(())
    })?;
    // ends_later() -> true, or false and why not: functions of the page's are to run when it has ended
    native.add("ends_later", |_, visit, _| {
        visit.ends_later = true;
        Ok(())
    })?;
    // go_over_memory() -> whether the page has a memory limit; it is stopped at its next step then
    let (slot, limit) = (native.slot.clone(), native.limit.clone());
    native.add_plain("go_over_memory", move |_, ()| {
        let limited = slot.try_lock().is_some_and(|visit| visit.as_ref().is_some_and(|visit| visit.limits.memory > 0));
        if limited {
            limit.go_over(Reason::Memory);
        }
        Ok(limited)
    })?;
    native.add_plain("is_stack_half_used", |_, ()| Ok(c_stack::is_half_used()))
}

fn time(lua: &Lua, seconds: i64, nanoseconds: i64) -> Result<Table, String> {
    lua.create_table_from([("seconds", seconds), ("nanoseconds", nanoseconds)]).map_err(|error| error.to_string())
}
