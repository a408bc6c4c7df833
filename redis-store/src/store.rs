//! A store: the keys with one beginning on a Redis, and what can be done with them.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use shared_store::{Condition, Information, LONGEST_KEY, Number, Refusal};
use tokio::time::{Instant, sleep};

use crate::problem::Problem;
use crate::request::{Doer, INCREMENT, KEEP_HELD, PERSIST, PUT_HELD, RELEASE, Request, TAKE};
use crate::server::Server;
use crate::value::{Kept, decode, encode};

/// Bytes of a key and its value at most.
pub const LARGEST: usize = 64 << 20;

/// Keys that a server looks at for one batch.
const AT_A_TIME: &str = "1000";

/// What is done with a key, or with the store. Values are as [`encode`] makes them.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Gives what is under the key, if it has no more bytes than that: [`Reply::Kept`].
    Get(usize),
    /// Puts a value, for a time if one is given: [`Reply::Truth`], whether its condition was met.
    Put(Vec<u8>, Option<Duration>, Condition),
    /// Puts a value, for a time if one is given, while a lock of another key is held with these bytes: [`Reply::Truth`], whether it is.
    /// In a cluster both keys have the same letters in braces.
    PutHeld(Vec<u8>, Option<Duration>, Vec<u8>, Vec<u8>),
    /// Takes away what is there: [`Reply::Truth`], whether something was.
    Delete,
    /// Lets a lock that is held with these bytes stay for the first time, again and again until the second one is over:
    /// [`Reply::Truth`], whether it was held to the end. Whoever drops this leaves the lock what is left of the first time.
    KeepHeld(Vec<u8>, Duration, Duration),
    /// Takes away a lock that is held with these bytes: [`Reply::Truth`], whether it was.
    Release(Vec<u8>),
    /// Adds the first number; where none is, begins with the second, for a time if one is given: [`Reply::Sum`].
    Increment(Number, Option<Number>, Option<Duration>),
    /// Tells how long it stays: [`Reply::Lifetime`].
    Lifetime,
    /// Lets it stay for so long, or for ever: [`Reply::Truth`], whether it is there.
    Expire(Option<Duration>),
    /// Adds an item to a list, at its end or before its first one: [`Reply::Count`], the items then.
    Push(Vec<u8>, bool),
    /// Takes the item at an end, the last or the first, if it has no more bytes than that: [`Reply::Kept`].
    Take(bool, usize),
    /// Counts the items of a list: [`Reply::Count`].
    Length,
    /// Lists keys, from a place on that an earlier batch has told: [`Reply::Keys`]. One may be in several batches.
    Keys(Option<(usize, u64)>),
    /// Takes all away that is there when it begins: [`Reply::Nothing`].
    Clear,
    /// Tells of the server: [`Reply::Information`].
    Inform,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// What was found.
    Kept(Kept),
    /// Whether.
    Truth(bool),
    /// How many.
    Count(usize),
    /// The sum, where there is a number now.
    Sum(Option<Number>),
    /// How long something stays: nothing within is for ever.
    Lifetime(Option<Option<Duration>>),
    /// Some keys, and where the next ones are; nothing at the end.
    Keys(Vec<Vec<u8>>, Option<(usize, u64)>),
    /// What the server tells of itself, of a cluster what its servers tell together.
    Information(Information),
    /// It is done.
    Nothing,
}

/// A store. Keys are those of its own beginning, which nobody finds with another one.
#[derive(Clone)]
pub struct Store {
    server: Arc<Server>,
    prefix: Arc<str>,
}

impl Store {
    /// Of the keys that begin so. The letters of patterns are not in a prefix, nor is one the beginning of another.
    #[must_use]
    pub fn new(server: Arc<Server>, prefix: &str) -> Store {
        Store { server, prefix: prefix.into() }
    }

    /// What it is on.
    #[must_use]
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// How its keys begin.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Does something, with a key where it is of one.
    ///
    /// # Errors
    /// Why it was not done, or that it is not known whether it was.
    pub async fn perform(&self, key: &[u8], act: Act) -> Result<Reply, Problem> {
        if key.len() > LONGEST_KEY {
            return Err(Problem::Refused(Refusal::LongKey));
        }
        let request = |doer| Request::of_key(doer, &[self.prefix.as_bytes(), key].concat());
        let command = |name| request(Doer::Command(name));
        match act {
            Act::Get(most) => self.get(&command, most).await,
            Act::Put(value, lifetime, condition) => {
                check_size(key, &value)?;
                let mut request = command("SET").with(value);
                if let Some(lifetime) = lifetime {
                    request = request.with("PX").with(milliseconds(lifetime));
                }
                request = match condition {
                    Condition::Always => request,
                    Condition::IfMissing => request.with("NX"),
                    Condition::IfThere => request.with("XX"),
                };
                self.server.ask(&request).await.map(|answer| Reply::Truth(answer != Value::Nil))
            }
            Act::PutHeld(value, lifetime, lock, token) => {
                check_size(key, &value)?;
                let request = request(Doer::Script(&PUT_HELD)).and_key(&[self.prefix.as_bytes(), &lock].concat());
                self.truth(request.with(value).with(lifetime.map(milliseconds).unwrap_or_default()).with(token)).await
            }
            Act::KeepHeld(token, lifetime, most) => {
                let request = request(Doer::Script(&KEEP_HELD)).with(token).with(milliseconds(lifetime));
                let end = Instant::now() + most;
                while Instant::now() < end {
                    // A server that is not there may be back before the time is over.
                    if let Ok(Value::Int(0)) = self.server.ask(&request).await {
                        return Ok(Reply::Truth(false));
                    }
                    sleep(lifetime / 3).await;
                }
                Ok(Reply::Truth(true))
            }
            Act::Release(token) => self.truth(request(Doer::Script(&RELEASE)).with(token)).await,
            Act::Delete => self.truth(command("DEL")).await,
            Act::Increment(by, initial, lifetime) => {
                let number = |number| encode(shared_store::Value::Number(number));
                let request = request(Doer::Script(&INCREMENT)).with(number(by));
                let request = request.with(initial.map(number).unwrap_or_default());
                let request = request.with(lifetime.map(milliseconds).unwrap_or_default());
                match self.server.ask(&request).await.map_err(is_list)? {
                    Value::BulkString(bytes) => match decode(bytes) {
                        Kept::Number(sum) => Ok(Reply::Sum(Some(sum))),
                        _ => Err(self.torn()),
                    },
                    Value::Nil => Ok(Reply::Sum(None)),
                    Value::Int(_) => Err(Problem::Refused(Refusal::NotANumber)),
                    _ => Err(self.torn()),
                }
            }
            Act::Lifetime => Ok(Reply::Lifetime(match self.number(&command("PTTL")).await? {
                -2 => None,
                -1 => Some(None),
                left => Some(Some(Duration::from_millis(left.unsigned_abs()))),
            })),
            Act::Expire(None) => self.truth(request(Doer::Script(&PERSIST))).await,
            Act::Expire(Some(lifetime)) => self.truth(command("PEXPIRE").with(milliseconds(lifetime))).await,
            Act::Push(value, at_end) => {
                check_size(key, &value)?;
                self.count(command(if at_end { "RPUSH" } else { "LPUSH" }).with(value)).await
            }
            Act::Take(at_end, most) => {
                let request = request(Doer::Script(&TAKE)).with(if at_end { "-1" } else { "0" });
                // With the letter before it.
                match self.server.ask(&request.with(most.saturating_add(1).to_string())).await? {
                    Value::Nil => Ok(Reply::Kept(Kept::Missing)),
                    Value::Int(length) => Ok(Reply::Kept(Kept::Longer(usize::try_from(length).unwrap_or(0)))),
                    Value::BulkString(bytes) => Ok(Reply::Kept(decode(bytes))),
                    _ => Err(self.torn()),
                }
            }
            Act::Length => self.count(command("LLEN")).await,
            Act::Keys(from) => self.keys(from.unwrap_or((0, 0))).await.map(|(keys, next)| Reply::Keys(keys, next)),
            Act::Clear => self.clear().await.map(|()| Reply::Nothing),
            Act::Inform => self.information().await.map(Reply::Information),
        }
    }

    async fn get(&self, command: &impl Fn(&'static str) -> Request, most: usize) -> Result<Reply, Problem> {
        // The letter before the value, and a byte more than is wanted.
        let end = most.saturating_add(1).min(LARGEST * 2);
        let request = command("GETRANGE").with("0").with(end.to_string());
        let Value::BulkString(bytes) = self.server.ask(&request).await.map_err(is_list)? else {
            return Err(self.torn());
        };
        if bytes.len() <= end {
            return Ok(Reply::Kept(decode(bytes)));
        }
        let length = self.number(&command("STRLEN")).await?;
        Ok(Reply::Kept(Kept::Longer(usize::try_from(length).unwrap_or(0).saturating_sub(1).max(most + 1))))
    }

    async fn number(&self, request: &Request) -> Result<i64, Problem> {
        match self.server.ask(request).await? {
            Value::Int(number) => Ok(number),
            _ => Err(self.torn()),
        }
    }

    async fn truth(&self, request: Request) -> Result<Reply, Problem> {
        self.number(&request).await.map(|number| Reply::Truth(number > 0))
    }

    async fn count(&self, request: Request) -> Result<Reply, Problem> {
        self.number(&request).await.map(|number| Reply::Count(usize::try_from(number).unwrap_or(0)))
    }

    /// Keys without their prefix, and where the next ones are.
    async fn keys(&self, (number, cursor): (usize, u64)) -> Result<(Vec<Vec<u8>>, Option<(usize, u64)>), Problem> {
        let (found, next) = self.scan(number, cursor).await?;
        Ok((found.into_iter().map(|mut key| key.split_off(self.prefix.len())).collect(), next))
    }

    async fn scan(&self, number: usize, cursor: u64) -> Result<(Vec<Vec<u8>>, Option<(usize, u64)>), Problem> {
        let request = Request::of_server("SCAN").with(cursor.to_string()).with("MATCH");
        let request = request.with(format!("{}*", self.prefix)).with("COUNT").with(AT_A_TIME);
        let Some(answer) = self.server.ask_number(number, &request).await? else { return Ok((Vec::new(), None)) };
        let Value::Array(answer) = answer else { return Err(self.torn()) };
        let (Some(Value::BulkString(next)), Some(Value::Array(keys))) = (answer.first(), answer.get(1)) else {
            return Err(self.torn());
        };
        let next: u64 = std::str::from_utf8(next).ok().and_then(|next| next.parse().ok()).ok_or_else(|| self.torn())?;
        let keys = keys.iter().filter_map(|key| match key {
            Value::BulkString(key) if key.starts_with(self.prefix.as_bytes()) => Some(key.clone()),
            _ => None,
        });
        // There is no more of the servers when there is none of that number.
        Ok((keys.collect(), Some(if next == 0 { (number + 1, 0) } else { (number, next) })))
    }

    async fn clear(&self) -> Result<(), Problem> {
        let mut place = Some((0, 0));
        while let Some((number, cursor)) = place {
            let (keys, next) = self.scan(number, cursor).await?;
            for key in keys {
                self.server.ask(&Request::of_key(Doer::Command("DEL"), &key)).await?;
            }
            place = next;
        }
        Ok(())
    }

    async fn information(&self) -> Result<Information, Problem> {
        let mut all = Information { largest: LARGEST, ..Information::default() };
        for number in 0.. {
            let Some(told) = self.server.ask_number(number, &Request::of_server("INFO")).await? else { break };
            let (Value::BulkString(told), Some(Value::Int(entries))) =
                (told, self.server.ask_number(number, &Request::of_server("DBSIZE")).await?)
            else {
                return Err(self.torn());
            };
            let told = String::from_utf8_lossy(&told);
            let field = |name: &str| {
                let value = told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                value.and_then(|value| value.trim().parse::<u64>().ok()).unwrap_or(0)
            };
            let bytes = |name| usize::try_from(field(name)).unwrap_or(usize::MAX);
            all.size += bytes("maxmemory");
            all.used += bytes("used_memory");
            all.entries += usize::try_from(entries).unwrap_or(0);
            all.evictions += field("evicted_keys");
            all.hits += field("keyspace_hits");
            all.misses += field("keyspace_misses");
        }
        Ok(all)
    }

    /// What nobody is told by a Redis.
    fn torn(&self) -> Problem {
        Problem::of_server(&self.server.address().to_string(), "the server does not answer as a Redis does")
    }
}

fn check_size(key: &[u8], value: &[u8]) -> Result<(), Problem> {
    // Without its letter.
    let needed = key.len() + value.len() - 1;
    match needed <= LARGEST {
        true => Ok(()),
        false => Err(Problem::Refused(Refusal::TooLarge { needed, most: LARGEST })),
    }
}

/// What is no list to functions of lists is one to the others.
fn is_list(problem: Problem) -> Problem {
    match problem {
        Problem::Refused(Refusal::NotAList) => Problem::Refused(Refusal::List),
        problem => problem,
    }
}

fn milliseconds(lifetime: Duration) -> String {
    lifetime.as_nanos().div_ceil(1_000_000).max(1).to_string()
}
