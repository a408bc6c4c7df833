//! What `os.date` and `os.time` of hosts with a time zone of their own ask of it.

use mlua::{BString, LuaString};

use super::Native;
use crate::limits::memory_limit::Room;
use crate::settings::Settings;
use crate::settings::time_zone::{Shown, Written};

pub fn install(native: &Native<'_>, settings: &Settings) -> mlua::Result<()> {
    let Some(zone) = settings.time_zone() else { return Ok(()) };
    let of_fields = zone.clone();
    // shown_time(seconds) -> year, month, day, hour, minute, second, day of the week and of the year, both from 1, whether it is
    // summer time | nothing for a time too far away
    native.add_plain("shown_time", move |_, seconds: f64| {
        let shown = of_fields.shown(seconds as i64);
        Ok(shown.map(|Shown { time, is_summer }| {
            let (date, clock) = (time.date(), time.time());
            let day_of_week = date.weekday().to_sunday_zero_offset() + 1;
            vec![
                i64::from(date.year()),
                date.month().into(),
                date.day().into(),
                clock.hour().into(),
                clock.minute().into(),
                clock.second().into(),
                day_of_week.into(),
                date.day_of_year().into(),
                is_summer.into(),
            ]
        }))
    })?;
    let (of_format, limit) = (zone.clone(), native.limit.clone());
    // written_time(format, seconds) -> text | nothing for a time too far away
    native.add_plain("written_time", move |lua, (format, seconds): (LuaString, f64)| {
        let room = Room::new(lua, &limit);
        let written = of_format.format(&format.as_bytes(), seconds as i64, |bytes| room.ask(bytes));
        Ok(written.map_err(mlua::Error::runtime)?.map(BString::from))
    })?;
    let of_written = zone.clone();
    // time_of(year, month, day, seconds of the day, whether it is meant as summer time or nil) -> seconds | nothing for a time
    // too far away
    native.add_plain("time_of", move |_, (year, month, day, second, is_summer): (f64, f64, f64, f64, Option<bool>)| {
        let [year, month, day, second] = [year, month, day, second].map(|number| number as i64);
        Ok(of_written.seconds(&Written { year, month, day, second, is_summer }))
    })
}
