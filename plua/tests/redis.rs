//! Pages that speak with a real Redis themselves.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

#[path = "../../tests/redis_server/mod.rs"]
mod redis_server;
mod site;

use redis_server::Redis;
use site::{Site, wait};

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
    let Some(redis) = Redis::start(&[]) else { return };
    let page = PAGE.replace("SOCKET", &redis.socket().display().to_string());
    for mode in ["", "pLuaGlobals request\n", "pLuaSandbox On\npLuaConnect any\n"] {
        let site = Site::new(&format!("pLuaStates 1\n{mode}"), &[("page.plua", &page)]);
        for uses in 0..3 {
            let seen = site.get("page.plua");
            assert_eq!(seen.text(), format!("+OK 6000 ::nil *-1 {uses}"), "{mode}: {:?}", seen.log);
        }
    }
}
