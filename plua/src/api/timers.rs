//! Work that is done without its request, for the state's own code: timers.lua has the functions, this says when they are due.

use std::time::Duration;

use mlua::IntoLuaMulti;

use super::{Native, refuse};
use crate::request::timers::{MOST, Timers};

pub fn install(native: &Native<'_>, timers: &Timers) -> mlua::Result<()> {
    // new_timer(name, seconds, is_repeated) -> true and its number, or false and why there is none
    let (of_state, slot) = (timers.clone(), native.slot.clone());
    native.add_plain("new_timer", move |lua, (name, seconds, is_repeated): (String, f64, bool)| {
        if let Some(visit) = slot.try_lock().as_ref().and_then(|visit| visit.as_deref())
            && visit.exchange.background().is_none()
        {
            return refuse(lua, &format!("{name}: nothing runs here without a request"));
        }
        if !of_state.lock().is_open {
            return refuse(lua, &format!("{name}: a thread's own state has no timers (pLuaStates 0)"));
        }
        match of_state.lock().add(Duration::from_secs_f64(seconds), is_repeated) {
            Some(number) => (true, number).into_lua_multi(lua),
            None => refuse(lua, &format!("{name}: a state has at most {MOST} timers at one time")),
        }
    })?;
    // cancel_timer(number)
    let of_state = timers.clone();
    native.add_plain("cancel_timer", move |_, number: u64| {
        of_state.lock().remove(number);
        Ok(())
    })
}
