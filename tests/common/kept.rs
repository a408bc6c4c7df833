//! A page that is kept whole, and how a test sees where its answer came from.

use super::{Response, Server, Setup, httpd};

/// Stores for the pages, and for a count of how often they run.
pub const STORES: &str = "pLuaShared cache 4M\npLuaShared log 64K\n";

/// A header of answers to requests that httpd has mapped to a file: those that are sent before have none.
pub const MAPPED: &str = "SetEnv mapped 1\nHeader set X-Mapped yes env=mapped\n";

/// A page that counts how often it has run, and is kept as the query says.
pub const PAGE: (&str, &str) = (
    "page.plua",
    "<? local q = parseGet() setContentType('text/plain') \
     local makes = plua.cachePage(tonumber(q.ttl or 100), { users = q.users ~= nil, key = q.key, vary = q.vary and { q.vary } }) \
     local n = plua.shared.log:incr('runs', 1, 0) sleep(tonumber(q.takes or 0)) \
     if q.cookie then setCookie('a', 'b') end if q.header then header(q.header, q.value) end \
     if q.status then setReturnCode(tonumber(q.status)) end \
     if q.fails and n % 2 == 0 then error('it fails') end if q.flush then flush() end \
     if q.personal then header('Cache-Control', 'private') end ?>run <?= n ?><?= ('.'):rep(tonumber(q.long or 0)) ?>",
);

/// A page that says how often the others have run.
pub const RUNS: (&str, &str) = ("runs.plua", "<?= plua.shared.log:get('runs') or 0 ?>");

pub fn setup(lines: &str) -> Setup {
    httpd().lines(&format!("{STORES}{MAPPED}{lines}")).pages(&[PAGE, RUNS])
}

pub fn runs(server: &Server) -> String {
    server.get("/runs.plua").text()
}

pub fn ask(server: &Server, path: &str, headers: &[(&str, &str)]) -> Response {
    server.request("GET", path, headers, b"")
}

/// Whether an answer was sent before httpd mapped its request.
pub fn is_quick(answer: &Response) -> bool {
    answer.header("X-Mapped").is_none()
}

/// The text of the second answer of two, and whether that was sent before its request was mapped.
pub fn second(server: &Server, path: &str, headers: &[(&str, &str)]) -> (String, bool) {
    let first = ask(server, path, headers);
    assert!(first.status == 200 && !is_quick(&first), "{path}: {first:?}");
    let second = ask(server, path, headers);
    assert_eq!(second.status, 200, "{path}: {second:?}");
    let same = second.text() == first.text();
    (if same { "kept" } else { "made" }.to_owned(), is_quick(&second))
}

pub const QUICK: (&str, bool) = ("kept", true);
pub const MAPPED_AND_KEPT: (&str, bool) = ("kept", false);
pub const NOT_KEPT: (&str, bool) = ("made", false);

#[track_caller]
pub fn expect(server: &Server, path: &str, headers: &[(&str, &str)], expected: (&str, bool)) {
    let (text, is_quick) = second(server, path, headers);
    assert_eq!((text.as_str(), is_quick), expected, "{path}");
}
