//! Pages and a real Redis, started here in a folder of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use std::env;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use site::Site;
use tempfile::TempDir;

/// Ends with the test.
struct Redis {
    process: Child,
    folder: TempDir,
}

impl Redis {
    /// None where there is none on this machine, which is a failure where all must be there.
    fn start() -> Option<Redis> {
        let folder = tempfile::tempdir().unwrap();
        let started = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(folder.path().join("redis.sock"))
            .current_dir(&folder)
            .stdout(Stdio::null())
            .spawn();
        let Ok(process) = started else {
            assert!(env::var_os("PLUA_REQUIRE_HTTPD").is_none(), "redis-server is missing: scripts/deps test");
            return None;
        };
        let redis = Redis { process, folder };
        let socket = redis.folder.path().join("redis.sock");
        site::wait::until("redis", Duration::from_secs(20), || UnixStream::connect(&socket).is_ok());
        Some(redis)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const PAGE: &str = "<?
    local redis = assert(plua.connect('unix:SOCKET'))
    local function ask(...)
        local words = { ... }
        local text = { '*', #words, '\\r\\n' }
        for _, word in ipairs(words) do text[#text + 1] = '$' .. #word .. '\\r\\n' .. word .. '\\r\\n' end
        assert(redis:send(text))
    end
    local function answer()
        local line = assert(redis:receive())
        local size = line:match('^%$(%-?%d+)')
        if not size then return line end
        local value = tonumber(size) >= 0 and redis:receive(tonumber(size)) or nil
        if value then redis:receive(2) end
        return value
    end
    ask('SET', 'key', ('value '):rep(1000)) echo(answer(), ' ')
    ask('GET', 'key') echo(#answer(), ' ')
    ask('INCR', 'count') ask('INCR', 'count') ask('GET', 'none') echo(answer():match('^:') , answer():match('^:'), tostring(answer()), ' ')
    ask('BLPOP', 'list', '0.05') echo(answer(), ' ', redis:reusedTimes())
    redis:keepalive(10) ?>";

#[test]
fn a_page_talks_with_redis_and_leaves_the_connection_to_the_next() {
    let Some(redis) = Redis::start() else { return };
    let page = PAGE.replace("SOCKET", &redis.folder.path().join("redis.sock").display().to_string());
    for mode in ["", "pLuaGlobals request\n", "pLuaSandbox On\npLuaConnect any\n"] {
        let site = Site::new(&format!("pLuaStates 1\n{mode}"), &[("page.plua", &page)]);
        for uses in 0..3 {
            let seen = site.get("page.plua");
            assert_eq!(seen.text(), format!("+OK 6000 ::nil *-1 {uses}"), "{mode}: {:?}", seen.log);
        }
    }
}
