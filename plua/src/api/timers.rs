//! Work that is done without its request, for the state's own code: timers.lua has the functions, this says when they are due.

use std::time::Duration;

use super::{Native, answer, refuse};
use crate::request::timers::Timers;

pub fn install(native: &Native<'_>, timers: &Timers) -> mlua::Result<()> {
    // new_timer(name, seconds, is_repeated) -> true and its number, or false and why there is none
    let (of_state, slot) = (timers.clone(), native.slot.clone());
    native.add_plain("new_timer", move |lua, (name, seconds, is_repeated): (String, f64, bool)| {
        if let Some(visit) = slot.try_lock().as_ref().and_then(|visit| visit.as_deref())
            && visit.exchange.background().is_none()
        {
            return refuse(lua, &format!("{name}: nothing runs here without a request"));
        }
        let added = of_state.lock().add(Duration::from_secs_f64(seconds), is_repeated);
        answer(lua, added.map_err(|problem| format!("{name}: {problem}")))
    })?;
    // cancel_timer(number)
    let of_state = timers.clone();
    native.add_plain("cancel_timer", move |_, number: u64| {
        of_state.lock().remove(number);
        Ok(())
    })
}
