//! The page function `plua.connect` and what its sockets do, as sockets.lua calls it: each call goes as far as it can without
//! waiting, and gives 0 and its results, the number of the event that is to be waited for, or -1 and why not.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mlua::{AnyUserData, Lua, UserData, Value};

use super::{Arguments, Native};
use crate::limits::bell::Bell;
use crate::limits::memory_limit::Room;
use crate::network::address::Target;
use crate::network::buffer::Pattern;
use crate::network::idle::Key;
use crate::network::opening::{Opening, Server};
use crate::network::socket::{Broken, Socket, Turn};
use crate::network::tls::Wish;
use crate::network::{Attempt, Failure, Network};
use crate::request::visit::Visit;

/// Seconds a page waits for a server where it does not say otherwise.
pub(super) const PATIENCE: f64 = 30.0;

/// The longest time a page may name, in seconds.
const LONGEST: f64 = 86_400.0;

/// The longest address: names and paths are shorter.
const LONGEST_ADDRESS: usize = 1024;

/// Bytes of a file of certificates at most.
const LARGEST_CA: u64 = 1 << 20;

/// The results of a call: 0, an event or -1, and what comes with it.
type Told = (i64, Value, Value, f64);

impl UserData for Socket {}

pub fn install(native: &Native<'_>) -> mlua::Result<()> {
    // connect(address, options) -> 0, socket, nil, seconds | event, socket, addresses, seconds | -1, message, kind
    let network = native.network.clone();
    native.add("plua.connect", move |lua, visit, arguments| {
        let address = arguments.short_text(1, LONGEST_ADDRESS)?;
        let address = String::from_utf8(address).map_err(|_| arguments.bad(1, "host:port or unix:/path expected"))?;
        let options = Options::read(visit, &arguments)?;
        match connect(visit, &network, &address, &options, &arguments)? {
            Ok((event, socket)) => {
                let left = socket.addresses_left();
                let socket = lua.create_userdata(socket).map_err(|error| error.to_string())?;
                Ok((event, Value::UserData(socket), Value::Number(left as f64), options.timeout))
            }
            Err(failure) => refused(lua, &failure),
        }
    })?;
    // open(socket, is_late) -> 0 | event, addresses | -1, message, kind
    let network = native.network.clone();
    native.add("socket.open", move |lua, visit, arguments| {
        let socket = socket(&arguments)?;
        match socket.open(arguments.is_true(2), &network, bell(visit)) {
            Ok(Attempt::Done(())) => Ok(done(Value::Nil)),
            Ok(Attempt::Wait(event)) => {
                Ok((event.into(), Value::Number(socket.addresses_left() as f64), Value::Nil, 0.0))
            }
            Err(failure) => refused(lua, &failure),
        }
    })?;
    // send(socket, text, sent) -> 0, bytes | event, sent | -1, message
    let network = native.network.clone();
    native.add("socket.send", move |lua, visit, arguments| {
        let (socket, text) = (socket(&arguments)?, arguments.bytes(2)?);
        let mut sent = (arguments.number(3)? as usize).min(text.len());
        match socket.send(&text, &mut sent, &network, bell(visit)) {
            Ok(Attempt::Done(())) => Ok(done(Value::Number(text.len() as f64))),
            Ok(Attempt::Wait(event)) => Ok((event.into(), Value::Number(sent as f64), Value::Nil, 0.0)),
            Err(message) => Ok((-1, text_of(lua, &message)?, Value::Nil, 0.0)),
        }
    })?;
    // receive(socket, is_again, is_alone, what, number or delimiter, inclusive, most) -> 0, data, is_last | event | -1, message, partial
    let (network, limit) = (native.network.clone(), native.limit.clone());
    native.add("socket.receive", move |lua, visit, arguments| {
        let (socket, room, bell) = (socket(&arguments)?, Room::new(lua, &limit), bell(visit));
        let give = |bytes: &[u8]| room.copy(bytes);
        let received = match socket.is_datagrams() {
            true => socket.receive_datagram(&network, bell, give),
            false => {
                let turn = Turn { is_again: arguments.is_true(2), is_alone: arguments.is_true(3) };
                socket.receive(&pattern(&arguments)?, turn, (&network, bell, room), give)?
            }
        };
        match received {
            Ok(Attempt::Done((data, is_last))) => Ok((0, data?, Value::Boolean(is_last), 0.0)),
            Ok(Attempt::Wait(event)) => Ok((i64::from(event), Value::Nil, Value::Nil, 0.0)),
            Err(Broken { message, partial }) => {
                Ok((-1, text_of(lua, &message)?, partial.transpose()?.unwrap_or(Value::Nil), 0.0))
            }
        }
    })?;
    // give_up(socket) -> what was received, or nothing
    let limit = native.limit.clone();
    native.add("socket.give_up", move |lua, _, arguments| {
        let room = Room::new(lua, &limit);
        socket(&arguments)?.give_up(|bytes| room.copy(bytes)).transpose()
    })?;
    // keep(socket, seconds, size) -> nothing, or why not
    let network = native.network.clone();
    native.add("socket.keep", move |_, _, arguments| {
        let (seconds, most) = (arguments.number(2)?, arguments.number(3)? as usize);
        let time = Duration::try_from_secs_f64(seconds.min(LONGEST)).unwrap_or_default();
        Ok(socket(&arguments)?.keep(time, most, &network).err())
    })?;
    native.add("socket.uses", |_, _, arguments| Ok(socket(&arguments)?.uses()))?;
    native.add("socket.close", |_, _, arguments| {
        let socket = socket(&arguments)?;
        let was_open = socket.uses().is_some();
        socket.close();
        Ok(was_open)
    })
}

/// What a page may say of a connection beside its address.
struct Options {
    timeout: f64,
    tls: Option<Wish>,
}

impl Options {
    fn read(visit: &Visit, arguments: &Arguments) -> Result<Options, String> {
        let mut options = Options { timeout: PATIENCE, tls: None };
        for (name, value) in arguments.options(2)?.unwrap_or_default() {
            match (name.as_str(), &value) {
                ("timeout", value) => options.timeout = timeout(value).map_err(|what| arguments.bad(2, &what))?,
                ("tls", Value::Boolean(false)) => options.tls = None,
                ("tls", Value::Boolean(true)) => options.tls = Some(Wish::default()),
                ("tls", Value::Table(table)) => {
                    let mut wish = Wish::default();
                    for field in table.pairs::<String, Value>() {
                        let (name, value) = field.map_err(|_| arguments.bad(2, "options of tls have names"))?;
                        tls_option(visit, &mut wish, &name, &value).map_err(|what| arguments.bad(2, &what))?;
                    }
                    options.tls = Some(wish);
                }
                ("tls", _) => return Err(arguments.bad(2, "tls: true, or a table of its options")),
                _ => return Err(arguments.bad(2, &format!("no option '{name}': there are timeout and tls"))),
            }
        }
        Ok(options)
    }
}

/// Seconds that a page has named.
pub(super) fn timeout(value: &Value) -> Result<f64, String> {
    let seconds = Arguments::number_of(value).filter(|seconds| *seconds > 0.0);
    seconds.map(|seconds| seconds.min(LONGEST)).ok_or_else(|| "timeout: seconds above 0 expected".into())
}

/// Takes one option of TLS.
pub(super) fn tls_option(visit: &Visit, wish: &mut Wish, name: &str, value: &Value) -> Result<(), String> {
    match (name, value) {
        ("verify", Value::Boolean(verify)) => wish.verify = *verify,
        ("verify", _) => return Err("verify: true or false expected".into()),
        ("server_name", Value::String(name)) => wish.server_name = Some(name.to_string_lossy()),
        ("server_name", _) => return Err("server_name: a name expected".into()),
        ("ca", Value::String(ca)) => wish.ca = Some(certificates(visit, &ca.as_bytes())?),
        ("ca", _) => return Err("ca: a file, or certificates in PEM expected".into()),
        _ => return Err(format!("no option '{name}' of tls: there are verify, server_name and ca")),
    }
    Ok(())
}

/// Certificates in PEM, from a file or as they are.
fn certificates(visit: &Visit, given: &[u8]) -> Result<Arc<[u8]>, String> {
    if given.starts_with(b"-----BEGIN") {
        return Ok(given.into());
    }
    let name = String::from_utf8_lossy(given);
    let path = visit.reach(name.as_ref()).map_err(|problem| format!("ca: {problem}"))?;
    let mut text = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(LARGEST_CA).read_to_end(&mut text));
    read.map_err(|error| format!("ca: {name}: {error}"))?;
    Ok(text.into())
}

/// The socket with the event that it waits for, or 0; or why there is none. An error is the page's own.
fn connect(
    visit: &mut Visit,
    network: &Network,
    address: &str,
    options: &Options,
    arguments: &Arguments,
) -> Result<Result<(i64, Socket), Failure>, String> {
    if visit.opened.get_or_insert_default().is_full() {
        return Ok(Err(Failure::new("limit", "the page has too many connections open")));
    }
    let server = match server(visit, network, address).map_err(|what| arguments.bad(1, &what))? {
        Ok(server) => server,
        Err(failure) => return Ok(Err(failure)),
    };
    let opened = visit.opened.get_or_insert_default();
    let held = opened.held.clone();
    let key = Key { server: address.to_ascii_lowercase(), tls: options.tls.clone() };
    if let Some(kept) = network.idle.take(&key) {
        let socket = Socket::kept(kept, key, held);
        opened.add(socket.ends());
        return Ok(Ok((0, socket)));
    }
    let is_datagrams = matches!(server, Server::Datagrams(_));
    if is_datagrams && options.tls.is_some() {
        return Err(arguments.bad(2, "tls: not for datagrams"));
    }
    let socket = Socket::opening(Opening::new(server, options.tls.clone()), key, held, is_datagrams);
    opened.add(socket.ends());
    Ok(match socket.open(false, network, bell(visit)) {
        Ok(Attempt::Done(())) => Ok((0, socket)),
        Ok(Attempt::Wait(event)) => Ok((event.into(), socket)),
        Err(failure) => Err(failure),
    })
}

/// What an address leads to, if pages may connect there.
fn server(visit: &Visit, network: &Network, address: &str) -> Result<Result<Server, Failure>, String> {
    if let Some(name) = address.strip_prefix("unix:") {
        if name.is_empty() || name.contains('\0') {
            return Err("host:port or unix:/path expected".into());
        }
        let checked = visit.reach(Path::new(name)).and_then(|path| {
            let path = path.canonicalize().unwrap_or(path);
            network.connect.check_unix(&path).map(|()| Server::Unix(path))
        });
        return Ok(checked.map_err(|message| Failure::new("refused", message)));
    }
    let (is_datagrams, rest) = match address.strip_prefix("udp:") {
        Some(rest) => (true, rest),
        None => (false, address.strip_prefix("tcp:").unwrap_or(address)),
    };
    let target = Target::parse(rest)?;
    Ok(match network.connect.check_host(&target.host, target.port) {
        Ok(()) if is_datagrams => Ok(Server::Datagrams(target)),
        Ok(()) => Ok(Server::Host(target)),
        Err(message) => Err(Failure::new("refused", message)),
    })
}

fn pattern(arguments: &Arguments) -> Result<Pattern, String> {
    let most = |position| match arguments.value(position) {
        Value::Nil => Ok(None),
        _ => arguments.number(position).map(|most| Some(most as usize)),
    };
    Ok(match &*arguments.bytes(4)? {
        b"*a" => Pattern::All,
        b"n" => Pattern::Exactly(arguments.number(5)? as usize),
        b"any" => Pattern::Any(arguments.number(5)? as usize),
        b"until" => Pattern::Until { delimiter: arguments.text(5)?, inclusive: arguments.is_true(6), most: most(7)? },
        _ => Pattern::Line,
    })
}

/// The bell of the page that runs.
pub(super) fn bell(visit: &mut Visit) -> &Arc<Bell> {
    &visit.waits.get_or_insert_default().bell
}

fn socket(arguments: &Arguments) -> Result<Socket, String> {
    let socket = arguments.value(1).as_userdata().and_then(|socket: &AnyUserData| socket.borrow::<Socket>().ok());
    socket.map(|socket| socket.clone()).ok_or_else(|| arguments.bad(1, "a socket expected"))
}

fn done(result: Value) -> Told {
    (0, result, Value::Nil, 0.0)
}

fn refused(lua: &Lua, failure: &Failure) -> Result<Told, String> {
    Ok((-1, text_of(lua, &failure.message)?, text_of(lua, failure.kind)?, 0.0))
}

fn text_of(lua: &Lua, text: &str) -> Result<Value, String> {
    lua.create_string(text).map(Value::String).map_err(|error| error.to_string())
}
