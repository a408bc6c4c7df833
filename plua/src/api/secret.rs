//! Page functions for secrets: random bytes, passwords, comparison that takes the same time for every guess.

use std::time::Instant;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use mlua::Value;
use subtle::{Choice, ConstantTimeEq};

use super::{Arguments, Native};
use crate::limits::memory_limit::Room;

/// Most random bytes one call gives.
const MOST_RANDOM_BYTES: u32 = 1 << 20;

/// Most memory one password may take, in KiB: a hash that asks for more could stop the server.
const MOST_MEMORY: u32 = 1 << 18;

/// Most passes over that memory.
const MOST_PASSES: u32 = 16;

/// Most lanes of that memory.
const MOST_LANES: u32 = 16;

/// Most doublings of bcrypt's work: each one more takes twice as long, this one seconds, 31 days.
const MOST_BCRYPT_COST: u32 = 16;

/// What PHP makes hashes with; it takes some hundredths of a second.
const LITTLE_BCRYPT_COST: u32 = 10;

pub fn install(native: &Native<'_>) -> mlua::Result<()> {
    native.add("randomBytes", |lua, _, arguments| {
        let mut bytes = vec![0; arguments.whole(1, 0, MOST_RANDOM_BYTES)? as usize];
        getrandom::fill(&mut bytes).map_err(|error| format!("no random bytes: {error}"))?;
        lua.create_string(bytes).map(Value::String).map_err(|error| error.to_string())
    })?;
    // random_seed() -> a whole number that nobody can guess
    native.add_plain("random_seed", |_, ()| Ok((getrandom::u64().map_err(mlua::Error::external)? >> 11) as f64))?;
    let limit = native.limit.clone();
    native.add("hashEquals", move |lua, _, arguments| {
        let (one, other) = (arguments.string(1)?.as_bytes(), arguments.string(2)?.as_bytes());
        let (mut is_equal, mut at) = (Choice::from(u8::from(one.len() == other.len())), 0);
        Room::new(lua, &limit).pieces(&one, |piece| {
            let beside = other.get(at..at + piece.len()).unwrap_or(piece);
            (is_equal, at) = (is_equal & piece.ct_eq(beside), at + piece.len());
        })?;
        Ok(bool::from(is_equal))
    })?;
    let limit = native.limit.clone();
    native.add("passwordHash", move |lua, _, arguments| {
        let password = arguments.string(1)?.as_bytes();
        let cost = cost(&arguments)?;
        afford(Room::new(lua, &limit), &cost, "passwordHash")?;
        let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, cost);
        hasher.hash_password(&password).map(|hash| hash.to_string()).map_err(|error| error.to_string())
    })?;
    let limit = native.limit.clone();
    native.add("passwordVerify", move |lua, _, arguments| {
        let password = arguments.string(1)?.as_bytes();
        let hash = arguments.string(2)?.as_bytes();
        match std::str::from_utf8(&hash) {
            Ok(hash) => verify(Room::new(lua, &limit), &password, hash),
            Err(_) => Ok(false),
        }
    })
}

/// KiB that Argon2 may take without being asked, and its passes over them: what it takes for a page that chooses nothing.
const LITTLE_MEMORY: u32 = Params::DEFAULT_M_COST;
const LITTLE_WORK: u64 = LITTLE_MEMORY as u64 * Params::DEFAULT_T_COST as u64;

/// The work by which the time of more is foretold, and bcrypt's: some milliseconds.
const SAMPLE_MEMORY: u32 = 2048;
const SAMPLE_BCRYPT_COST: u32 = 5;

/// Whether a page has memory and time for a hash of this cost. Nothing ends one before it is done, so its time is foretold, from
/// less work.
///
/// # Errors
/// That it has not.
fn afford(room: Room<'_>, cost: &Params, function: &str) -> Result<(), String> {
    if cost.m_cost() > LITTLE_MEMORY {
        room.ask(cost.m_cost() as usize * 1024)?;
    }
    let work = u64::from(cost.m_cost()) * u64::from(cost.t_cost());
    afford_time(room, work.div_ceil(u64::from(SAMPLE_MEMORY)), work > LITTLE_WORK, function, || {
        let sample = Params::new(SAMPLE_MEMORY, 1, 1, None).map_err(|error| error.to_string())?;
        let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, sample);
        hasher.hash_password(b"sample").map(drop).map_err(|error| error.to_string())
    })
}

/// Whether a page has time for so many times the work of a sample, where that is much.
fn afford_time(
    room: Room<'_>,
    times: u64,
    is_much: bool,
    function: &str,
    sample: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    room.look()?;
    let Some(left) = room.time_left().filter(|_| is_much) else { return Ok(()) };
    let begun = Instant::now();
    sample()?;
    match begun.elapsed().saturating_mul(u32::try_from(times).unwrap_or(u32::MAX)) > left {
        true => Err(format!("{function} would take longer than the page may (pLuaTimeout)")),
        false => Ok(()),
    }
}

/// The cost the second argument chooses: `{memory = KiB, passes =, lanes =}`.
fn cost(arguments: &Arguments) -> Result<Params, String> {
    let (mut memory, mut passes, mut lanes) = (Params::DEFAULT_M_COST, Params::DEFAULT_T_COST, Params::DEFAULT_P_COST);
    if let Some(options) = arguments.options(2)? {
        for (name, value) in options {
            let (chosen, least, most) = match name.as_str() {
                "memory" => (&mut memory, 8, MOST_MEMORY),
                "passes" => (&mut passes, 1, MOST_PASSES),
                "lanes" => (&mut lanes, 1, MOST_LANES),
                _ => return Err(arguments.bad(2, &format!("no option is called '{name}'"))),
            };
            *chosen = Arguments::number_of(&value)
                .filter(|number| number.fract() == 0.0 && (f64::from(least)..=f64::from(most)).contains(number))
                .ok_or_else(|| arguments.bad(2, &format!("{name} is a whole number from {least} to {most}")))?
                as u32;
        }
    }
    Params::new(memory, passes, lanes, None).map_err(|error| arguments.bad(2, &error.to_string()))
}

/// Whether a hash, of Argon2 or of bcrypt as PHP made it, is of that password. A hash of neither kind is of none.
///
/// # Errors
/// That a page has no time or memory for it.
fn verify(room: Room<'_>, password: &[u8], hash: &str) -> Result<bool, String> {
    const NAME: &str = "passwordVerify";
    if hash.starts_with("$2") {
        let cost = hash.get(4..6).and_then(|cost| cost.parse::<u32>().ok());
        let Some(cost) = cost.filter(|cost| *cost <= MOST_BCRYPT_COST) else { return Ok(false) };
        let times = 1 << cost.saturating_sub(SAMPLE_BCRYPT_COST);
        afford_time(room, times, cost > LITTLE_BCRYPT_COST, NAME, || {
            bcrypt::hash("sample", SAMPLE_BCRYPT_COST).map(drop).map_err(|error| error.to_string())
        })?;
        return Ok(bcrypt::verify(password, hash).unwrap_or(false));
    }
    let Ok(hash) = PasswordHash::new(hash) else { return Ok(false) };
    let is_affordable =
        |cost: &Params| cost.m_cost() <= MOST_MEMORY && cost.t_cost() <= MOST_PASSES && cost.p_cost() <= MOST_LANES;
    let Some(cost) = Params::try_from(&hash).ok().filter(is_affordable) else { return Ok(false) };
    afford(room, &cost, NAME)?;
    Ok(Argon2::default().verify_password(password, &hash).is_ok())
}
