//! What pages do with stores on a Redis, as shared.lua calls it: each function gives true and its results, false and why not, or
//! nothing, the event that comes when there is an answer, and what to ask for it then.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use mlua::{IntoLuaMulti, Lua, LuaString, MultiValue, Table, UserData, Value};
use parking_lot::Mutex;
use redis_store::{Act, Kept, Problem, Reply};
use shared_store::{Found, Number};

use super::arguments::Arguments;
use super::store_call::{Call, NO_STORE, lifetime, list_of, number, of_store, told, value_of};
use super::{Plain, answer, refuse};
use crate::limits::memory_limit::{PIECE, Room};
use crate::network::words;
use crate::reactor::Reactor;
use crate::request::visit::Visit;
use crate::shared::redis::{self, Asked, OnRedis};
use crate::shared::{Kind, Named, Stores, Use, compiled};

/// What a page waits for.
struct Pending {
    number: usize,
    key: Vec<u8>,
    act: Repeat,
    asked: Mutex<Option<Asked>>,
}

impl UserData for Pending {}

/// What is asked again where the answer is longer than there was room for.
#[derive(Clone, Copy)]
enum Repeat {
    Get,
    Take(bool),
    Never,
}

impl Repeat {
    fn of(act: &Act) -> Repeat {
        match act {
            Act::Get(_) => Repeat::Get,
            Act::Take(at_end, _) => Repeat::Take(*at_end),
            _ => Repeat::Never,
        }
    }

    fn act(self, most: usize) -> Option<Act> {
        match self {
            Repeat::Get => Some(Act::Get(most)),
            Repeat::Take(at_end) => Some(Act::Take(at_end, most)),
            Repeat::Never => None,
        }
    }
}

/// Asks for the pages of a state.
#[derive(Clone)]
struct Asker {
    plain: Plain,
    stores: Stores,
    reactor: Arc<Reactor>,
}

/// The functions, by the names that those of stores in memory have, and the numbers of the stores. Nothing where no store is on a
/// Redis.
///
/// # Errors
/// Lua's, when memory runs out.
pub fn functions(lua: &Lua, plain: &Plain, stores: &Stores, reactor: &Arc<Reactor>) -> mlua::Result<Option<Table>> {
    let on_redis = |named: &Named| matches!(named.kind, Kind::Redis(_));
    let numbers = stores.iter().enumerate().filter(|(_, named)| on_redis(named)).map(|(number, _)| (number, true));
    let numbers = lua.create_table_from(numbers)?;
    if numbers.is_empty() {
        return Ok(None);
    }
    let asker = Asker { plain: plain.clone(), stores: stores.clone(), reactor: reactor.clone() };
    let functions = lua.create_table()?;
    let add = Add { lua, asker: &asker, functions: &functions };
    add.function("put", |call, (value, number, seconds, condition): (Value, Option<f64>, Option<f64>, i32)| {
        Ok(Act::Put(bytes(call, &value, number)?, lifetime(seconds), compiled::condition(condition)))
    })?;
    type Held = (Value, Option<f64>, Option<f64>, LuaString, LuaString);
    add.function("put_held", |call, (value, number, seconds, lock, token): Held| {
        Ok(Act::PutHeld(bytes(call, &value, number)?, lifetime(seconds), lock.as_bytes().to_vec(), token_of(&token)))
    })?;
    type Sum = (Value, Option<f64>, Value, Option<f64>, Option<f64>);
    add.function("increment", |_, (by, by_double, initial, initial_double, seconds): Sum| {
        let by = number(&by, by_double).unwrap_or(Number::Float(1.0));
        Ok(Act::Increment(by, number(&initial, initial_double), lifetime(seconds)))
    })?;
    add.function("push", |call, (value, number, at_end): (Value, Option<f64>, bool)| {
        Ok(Act::Push(bytes(call, &value, number)?, at_end))
    })?;
    // keep_held(store, lock, token, lease, most) -> what has to be kept for that
    let own = asker.clone();
    type Lease = (usize, LuaString, LuaString, f64, f64);
    let keep_held =
        plain.function(lua, "shared.keep_held", move |lua, (number, lock, token, lease, most): Lease| {
            let (lease, most) = (Duration::from_secs_f64(lease), Duration::from_secs_f64(most));
            own.keep(lua, number, &lock.as_bytes(), Act::KeepHeld(token_of(&token), lease, most))
        })?;
    functions.raw_set("keep_held", keep_held)?;
    // No number of these has a sign of its zero, which is lost on the way to a value of Rust's.
    add.of_key("get", |_| Act::Get(PIECE))?;
    add.of_key("delete", |_| Act::Delete)?;
    add.of_key("release", |given| Act::Release(given.string(2).map(token_of).unwrap_or_default()))?;
    add.of_key("lifetime", |_| Act::Lifetime)?;
    add.of_key("expire", |given| Act::Expire(lifetime(given.number(2).ok())))?;
    add.of_key("take", |given| Act::Take(given.is_true(2), PIECE))?;
    add.of_key("length", |_| Act::Length)?;
    add.of_store("clear", |_| Act::Clear)?;
    add.of_store("keys", |given| {
        // No number of Lua's has as many bits as a cursor.
        let cursor = given.text(2).ok().and_then(|cursor| String::from_utf8(cursor).ok()?.parse().ok());
        Act::Keys(given.number(1).ok().map(|server| server as usize).zip(cursor))
    })?;
    add.of_store("information", |_| Act::Inform)?;
    let all = lua.create_table_from([("functions", functions), ("numbers", numbers)])?;
    // finish(asked) -> as the function that has asked
    let own = asker.clone();
    let finish = plain.function(lua, "shared.finish", move |lua, asked: mlua::UserDataRef<Pending>| {
        let come = asked.asked.lock().take().and_then(|asked| asked.take());
        own.finish(lua, asked.number, &asked.key, asked.act, come)
    })?;
    all.raw_set("finish", finish)?;
    // abandon(asked): nobody waits for it any more
    let abandon = plain.function(lua, "shared.abandon", |_, asked: mlua::UserDataRef<Pending>| {
        drop(asked.asked.lock().take());
        Ok(())
    })?;
    all.raw_set("abandon", abandon)?;
    Ok(Some(all))
}

/// A value of Lua's as it is kept.
fn bytes(call: &Call<'_>, value: &Value, double: Option<f64>) -> Result<Vec<u8>, String> {
    if let Value::String(text) = value {
        call.room.ask(text.as_bytes().len())?;
    }
    call.with(value, double, |value| Ok(redis_store::encode(value)))
}

/// Says what is with the server. By its last word a page that ends with that is known to have no session.
fn away(lua: &Lua, named: &Named, sentence: &str) -> mlua::Result<MultiValue> {
    let of_sessions = if named.used == Use::Sessions { " (pLuaSession)" } else { "" };
    refuse(lua, &of_store(named, format_args!("{sentence}{of_sessions}")))
}

/// What the owner of a lock has put there.
fn token_of(token: &LuaString) -> Vec<u8> {
    redis_store::encode(shared_store::Value::Bytes(&token.as_bytes()))
}

impl Asker {
    fn redis(&self, number: usize) -> Option<(&Named, &OnRedis)> {
        self.stores.get(number).and_then(|named| match &named.kind {
            Kind::Redis(redis) => Some((named, redis)),
            Kind::Memory(_) => None,
        })
    }

    /// Gives `body` the request of the page that runs, where that is not with another function.
    fn with_visit<R>(&self, body: impl FnOnce(&mut Visit) -> R) -> Option<R> {
        let mut slot = self.plain.slot.try_lock()?;
        slot.as_deref_mut().map(body)
    }

    /// Begins to do something for the page that runs. Where none does, or one is within a function of Rust's, it is done when this
    /// comes back. So is what is done with sessions: no light thread of the page is to find one that another is changing.
    fn begin(&self, lua: &Lua, number: usize, key: &[u8], act: Act) -> mlua::Result<MultiValue> {
        let Some((named, on_redis)) = self.redis(number) else { return refuse(lua, NO_STORE) };
        let limit = &self.plain.limit;
        if let Some(refusal) = limit.refusal() {
            return refuse(lua, &refusal.to_string_lossy());
        }
        let of_page = self.with_visit(|visit| {
            let opened = visit.opened.get_or_insert_default();
            (opened.is_full(), opened.held.clone(), visit.waits.get_or_insert_default().bell.clone())
        });
        let waits = of_page.is_some() && named.used != Use::Sessions;
        let (is_full, held, bell) = if waits { of_page.unwrap_or_default() } else { Default::default() };
        if is_full {
            return refuse(lua, &of_store(named, "the page waits for too much at one time"));
        }
        let weight = redis::weight(&act);
        if weight.max(held.bytes()) > PIECE
            && let Err(problem) = Room::new(lua, limit).ask(held.bytes().saturating_add(weight))
        {
            return refuse(lua, problem);
        }
        let repeat = Repeat::of(&act);
        let (event, asked) = match on_redis.begin(key, act, &held, &self.reactor, &bell) {
            Ok(begun) => begun,
            Err(error) => return refuse(lua, &of_store(named, words(&error))),
        };
        if waits {
            self.with_visit(|visit| visit.opened.get_or_insert_default().add(asked.ends()));
            let pending = Pending { number, key: key.to_vec(), act: repeat, asked: Mutex::new(Some(asked)) };
            return (Value::Nil, event, lua.create_userdata(pending)?).into_lua_multi(lua);
        }
        {
            let _waiting = limit.waiting();
            limit.wait(&bell, limit.until());
        }
        self.finish(lua, number, key, repeat, asked.take())
    }

    /// Begins to do something that goes on beside the page, at the longest until its end.
    fn keep(&self, lua: &Lua, number: usize, key: &[u8], act: Act) -> mlua::Result<MultiValue> {
        let Some((named, on_redis)) = self.redis(number) else { return refuse(lua, NO_STORE) };
        match on_redis.begin(key, act, &Arc::default(), &self.reactor, &Arc::default()) {
            Ok((_, asked)) => {
                self.with_visit(|visit| visit.opened.get_or_insert_default().add(asked.ends()));
                let pending = Pending { number, key: key.to_vec(), act: Repeat::Never, asked: Mutex::new(Some(asked)) };
                answer(lua, lua.create_userdata(pending).map_err(|error| error.to_string()))
            }
            Err(error) => refuse(lua, &of_store(named, words(&error))),
        }
    }

    /// What has come of it, as Lua is told.
    fn finish(
        &self,
        lua: &Lua,
        number: usize,
        key: &[u8],
        repeat: Repeat,
        come: Option<Result<Reply, Problem>>,
    ) -> mlua::Result<MultiValue> {
        let Some((named, _)) = self.redis(number) else { return refuse(lua, NO_STORE) };
        let call = Call { lua, room: Room::new(lua, &self.plain.limit), named, key: Cow::Borrowed(key) };
        let reply = match come {
            Some(Ok(reply)) => reply,
            Some(Err(Problem::Refused(refusal))) => return refuse(lua, &call.refusal(&refusal.to_string())),
            Some(Err(Problem::Server(sentence))) => return away(lua, named, &sentence),
            None => return away(lua, named, "the answer was not waited for"),
        };
        match reply {
            Reply::Kept(Kept::Longer(length)) => match repeat.act(length) {
                Some(act) => self.begin(lua, number, key, act),
                None => refuse(lua, &of_store(named, "nothing was asked for")),
            },
            Reply::Kept(kept) => answer(lua, found(&call, kept)),
            Reply::Truth(truth) => answer(lua, Ok(truth)),
            Reply::Count(count) => answer(lua, Ok(count)),
            Reply::Sum(sum) => answer(lua, Ok(sum.map_or(Value::Nil, value_of))),
            Reply::Lifetime(None) => answer(lua, Ok(Value::Nil)),
            Reply::Lifetime(Some(None)) => answer(lua, Ok(true)),
            Reply::Lifetime(Some(Some(left))) => answer(lua, Ok(left.as_secs_f64())),
            Reply::Keys(keys, next) => {
                let (server, cursor) = next.unzip();
                let keys = list_of(lua, call.room, &keys);
                answer(lua, keys.map(|keys| (keys, server, cursor.map(|cursor| cursor.to_string()))))
            }
            Reply::Information(information) => answer(lua, told(lua, information)),
            Reply::Nothing => answer(lua, Ok(())),
        }
    }
}

/// What was found, as a value of Lua's.
fn found(call: &Call<'_>, kept: Kept) -> Result<Value, String> {
    match kept {
        Kept::Missing | Kept::Longer(_) => Ok(Value::Nil),
        Kept::Boolean(truth) => Ok(Value::Boolean(truth)),
        Kept::Number(number) => Ok(value_of(number)),
        Kept::Bytes(bytes) => call.value(Ok(Found::Bytes), &bytes),
        Kept::Encoded(bytes) => call.value(Ok(Found::Encoded), &bytes),
        Kept::Foreign => Err(call.refusal("what is there was not put by a page")),
    }
}

struct Add<'a> {
    lua: &'a Lua,
    asker: &'a Asker,
    functions: &'a Table,
}

impl Add<'_> {
    /// Adds a function that takes a store's number, a key and other arguments.
    fn function<A: mlua::FromLuaMulti>(
        &self,
        name: &'static str,
        act: impl Fn(&Call<'_>, A) -> Result<Act, String> + Send + 'static,
    ) -> mlua::Result<()> {
        let asker = self.asker.clone();
        let body = move |lua: &Lua, (number, key, arguments): (usize, LuaString, A)| {
            let Some((named, _)) = asker.redis(number) else { return refuse(lua, NO_STORE) };
            let key = key.as_bytes();
            let call = Call { lua, room: Room::new(lua, &asker.plain.limit), named, key: Cow::Borrowed(&key) };
            match act(&call, arguments) {
                Ok(act) => asker.begin(lua, number, &key, act),
                Err(problem) => refuse(lua, &problem),
            }
        };
        self.functions.raw_set(name, self.asker.plain.function(self.lua, name, body)?)
    }

    /// Adds one that takes a store's number, a key and others, which stand behind it.
    fn of_key(&self, name: &'static str, act: fn(&Arguments) -> Act) -> mlua::Result<()> {
        self.erased(name, act, true)
    }

    /// Adds one that takes a store's number and others.
    fn of_store(&self, name: &'static str, act: fn(&Arguments) -> Act) -> mlua::Result<()> {
        self.erased(name, act, false)
    }

    /// All of these are one to the compiler.
    fn erased(&self, name: &'static str, act: fn(&Arguments) -> Act, is_of_key: bool) -> mlua::Result<()> {
        let asker = self.asker.clone();
        let body = move |lua: &Lua, (number, given): (usize, MultiValue)| {
            let given = Arguments::new(name, given);
            let key = if is_of_key { given.text(1) } else { Ok(Vec::new()) };
            match key {
                Ok(key) => asker.begin(lua, number, &key, act(&given)),
                Err(problem) => refuse(lua, &problem),
            }
        };
        self.functions.raw_set(name, self.asker.plain.function(self.lua, name, body)?)
    }
}
