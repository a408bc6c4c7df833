//! Page functions for secrets: random bytes, passwords, comparison that takes the same time for every guess.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use mlua::Value;
use subtle::ConstantTimeEq;

use super::{Arguments, Native};

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

pub fn install(native: &Native<'_>) -> mlua::Result<()> {
    native.add("randomBytes", |lua, _, arguments| {
        let mut bytes = vec![0; arguments.whole(1, 0, MOST_RANDOM_BYTES)? as usize];
        getrandom::fill(&mut bytes).map_err(|error| format!("no random bytes: {error}"))?;
        lua.create_string(bytes).map(Value::String).map_err(|error| error.to_string())
    })?;
    // random_seed() -> a whole number that nobody can guess
    native.add_plain("random_seed", |_, ()| Ok((getrandom::u64().map_err(mlua::Error::external)? >> 11) as f64))?;
    native.add("hashEquals", |_, _, arguments| {
        Ok(bool::from(arguments.string(1)?.as_bytes().ct_eq(&*arguments.string(2)?.as_bytes())))
    })?;
    native.add("passwordHash", |_, _, arguments| {
        let password = arguments.string(1)?.as_bytes();
        let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, cost(&arguments)?);
        hasher.hash_password(&password).map(|hash| hash.to_string()).map_err(|error| error.to_string())
    })?;
    native.add("passwordVerify", |_, _, arguments| {
        let password = arguments.string(1)?.as_bytes();
        let hash = arguments.string(2)?.as_bytes();
        Ok(std::str::from_utf8(&hash).is_ok_and(|hash| verify(&password, hash)))
    })
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
fn verify(password: &[u8], hash: &str) -> bool {
    if hash.starts_with("$2") {
        let cost = hash.get(4..6).and_then(|cost| cost.parse::<u32>().ok());
        return cost.is_some_and(|cost| cost <= MOST_BCRYPT_COST) && bcrypt::verify(password, hash).unwrap_or(false);
    }
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    let affordable = Params::try_from(&hash)
        .is_ok_and(|cost| cost.m_cost() <= MOST_MEMORY && cost.t_cost() <= MOST_PASSES && cost.p_cost() <= MOST_LANES);
    affordable && Argon2::default().verify_password(password, &hash).is_ok()
}
