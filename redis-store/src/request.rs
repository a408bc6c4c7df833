//! What a server is asked for: a command or a script, its key and its arguments.

use std::sync::LazyLock;

use data_encoding::HEXLOWER;
use redis::Cmd;
use sha1::{Digest, Sha1};

/// A script of one key, which a server keeps by its digest.
pub(crate) struct Script {
    source: &'static str,
    digest: LazyLock<String>,
}

impl Script {
    const fn new(source: &'static str, digest: LazyLock<String>) -> Script {
        Script { source, digest }
    }
}

macro_rules! script {
    ($file:literal) => {
        Script::new(include_str!($file), LazyLock::new(|| HEXLOWER.encode(&Sha1::digest(include_str!($file)))))
    };
}

/// Adds to a number.
pub(crate) static INCREMENT: Script = script!("increment.lua");

/// Takes an item of a list.
pub(crate) static TAKE: Script = script!("take.lua");

/// Lets a value stay for ever.
pub(crate) static PERSIST: Script = script!("persist.lua");

/// Puts a value while a lock is held.
pub(crate) static PUT_HELD: Script = script!("put_held.lua");

/// Lets a lock stay.
pub(crate) static KEEP_HELD: Script = script!("keep_held.lua");

/// Gives a lock back.
pub(crate) static RELEASE: Script = script!("release.lua");

/// What does it.
pub(crate) enum Doer {
    /// One of the server's commands.
    Command(&'static str),
    /// One of ours.
    Script(&'static Script),
}

/// One request.
pub(crate) struct Request {
    doer: Doer,
    /// The key, where it is of one.
    pub key: Option<Vec<u8>>,
    /// Another one of a script, which the same server of a cluster has.
    other_key: Option<Vec<u8>>,
    arguments: Vec<Vec<u8>>,
}

impl Request {
    /// Of a key.
    pub(crate) fn of_key(doer: Doer, key: &[u8]) -> Request {
        Request { doer, key: Some(key.into()), other_key: None, arguments: Vec::new() }
    }

    /// Of no key.
    pub(crate) fn of_server(command: &'static str) -> Request {
        Request { doer: Doer::Command(command), key: None, other_key: None, arguments: Vec::new() }
    }

    /// With another key, between the first one and the arguments.
    pub(crate) fn and_key(mut self, key: &[u8]) -> Request {
        self.other_key = Some(key.into());
        self
    }

    /// With another argument.
    pub(crate) fn with(mut self, argument: impl Into<Vec<u8>>) -> Request {
        self.arguments.push(argument.into());
        self
    }

    /// Whether a server may have to be told the script.
    pub(crate) fn is_script(&self) -> bool {
        matches!(self.doer, Doer::Script(_))
    }

    /// As the crate sends it; a script by its digest, or with its source.
    pub(crate) fn command(&self, with_source: bool) -> Cmd {
        let mut command = match self.doer {
            Doer::Command(name) => redis::cmd(name),
            Doer::Script(script) => {
                let mut command = redis::cmd(if with_source { "EVAL" } else { "EVALSHA" });
                command.arg(if with_source { script.source } else { script.digest.as_str() });
                command.arg(1 + usize::from(self.other_key.is_some()));
                command
            }
        };
        for argument in self.key.iter().chain(&self.other_key).chain(&self.arguments) {
            command.arg(argument.as_slice());
        }
        command
    }
}
