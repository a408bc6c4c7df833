//! The table of page functions: from it come the functions pages find, their manual and their tests.

/// One row of the table of page functions.
pub struct PageFunction {
    /// Its global name. One that begins with `plua.` is only there; all others are in the table `plua` as well.
    pub name: &'static str,
    /// Arguments and results, as the manual writes them.
    pub signature: &'static str,
    /// One line.
    pub help: &'static str,
    /// Where it is written.
    pub written: Written,
}

/// The parameters of a signature, each with whether it can be left out.
#[must_use]
pub fn parameters(signature: &str) -> Vec<(&str, bool)> {
    let call = signature.split(" -> ").next().unwrap_or_default();
    let list = call.split_once('(').map_or("", |(_, list)| list.trim_end_matches(')'));
    let mut is_optional = false;
    let mut parameters = Vec::new();
    for piece in list.split(',') {
        is_optional |= piece.trim_start().starts_with('[');
        let name = piece.trim_matches(|mark| " []".contains(mark)).split(" or ").next().unwrap_or_default();
        if !name.is_empty() {
            parameters.push((name, is_optional));
        }
        is_optional |= piece.trim_end().ends_with('[');
    }
    parameters
}

/// Where a page function is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// In the state's own Lua code.
    InLua,
    /// In Rust, under the same name, with that many results (0 to 3).
    InRust(u8),
}

use Written::{InLua, InRust};

/// Every function a page finds beside Lua's own.
pub const FUNCTIONS: &[PageFunction] = &[
    PageFunction {
        name: "echo",
        signature: "echo(...)",
        help: "Puts the values into the response, nothing between them.",
        written: InLua,
    },
    PageFunction { name: "print", signature: "print(...)", help: "The same as echo.", written: InLua },
    PageFunction {
        name: "exit",
        signature: "exit()",
        help: "Ends the page and sends what it has put out; no pcall catches it.",
        written: InLua,
    },
    PageFunction {
        name: "plua.atEnd",
        signature: "plua.atEnd(function)",
        help: "Calls the function when the page has ended, whatever ended it: exit(), an error or a limit too.",
        written: InLua,
    },
    PageFunction {
        name: "flush",
        signature: "flush()",
        help: "Sends what is put out so far; status and headers are fixed from then on.",
        written: InLua,
    },
    PageFunction {
        name: "sleep",
        signature: "sleep(seconds)",
        help: "Waits, fractions allowed; never longer than the time limit.",
        written: InLua,
    },
    PageFunction {
        name: "plua.parallel",
        signature: "plua.parallel(...) -> ...",
        help: "Runs functions as light threads; the first result of each, in their order, when all have ended.",
        written: InLua,
    },
    PageFunction {
        name: "plua.spawn",
        signature: "plua.spawn(function, ...) -> thread",
        help: "Runs a function as a light thread, which goes on while others wait; the page ends when all have ended.",
        written: InLua,
    },
    PageFunction {
        name: "plua.wait",
        signature: "plua.wait(thread [, seconds]) -> ...",
        help: "Waits for a light thread and gives its results, or raises its error; nil and \"timeout\" after so long.",
        written: InLua,
    },
    PageFunction {
        name: "plua.kill",
        signature: "plua.kill(thread) -> boolean",
        help: "Ends a light thread where it waits; false if it had ended.",
        written: InLua,
    },
    PageFunction {
        name: "plua.cache",
        signature: "plua.cache(key, seconds, function) -> value",
        help: "The value kept under a key in the store cache, or what the function makes, which is kept for so long.",
        written: InLua,
    },
    PageFunction {
        name: "plua.cachePage",
        signature: "plua.cachePage(seconds [, options]) -> boolean",
        help: "Keeps the whole answer for so long for all visitors of its address; true for the one who makes it, false if it is not kept.",
        written: InLua,
    },
    PageFunction {
        name: "plua.semaphore",
        signature: "plua.semaphore([count]) -> semaphore",
        help: "What light threads wait at: semaphore:wait([seconds]), :post([count]) and :count().",
        written: InLua,
    },
    PageFunction {
        name: "plua.channel",
        signature: "plua.channel([room]) -> channel",
        help: "Hands values from one light thread to another: channel:send(value [, seconds]), :receive([seconds]) and :close().",
        written: InLua,
    },
    PageFunction {
        name: "plua.onAbort",
        signature: "plua.onAbort([function])",
        help: "Ends the page, after the function, as soon as its visitor leaves while it waits without a thread.",
        written: InLua,
    },
    PageFunction {
        name: "plua.after",
        signature: "plua.after(seconds, function, ...) -> timer",
        help: "Calls the function after so long, when the request has ended, without one; timer:cancel() takes it back.",
        written: InLua,
    },
    PageFunction {
        name: "plua.every",
        signature: "plua.every(seconds, function, ...) -> timer",
        help: "The same, again and again with so long between the beginnings, until timer:cancel().",
        written: InLua,
    },
    PageFunction {
        name: "plua.hint",
        signature: "plua.hint(link) -> boolean",
        help: "Tells the browser before the response what it will need (103 Early Hints); whether that could be sent.",
        written: InRust(1),
    },
    PageFunction {
        name: "plua.events",
        signature: "plua.events([options]) -> events",
        help: "Begins a response of server-sent events: events:send(event), :wait(seconds) and :lastId().",
        written: InLua,
    },
    PageFunction {
        name: "plua.connect",
        signature: "plua.connect(address [, options]) -> socket or nil, message, kind",
        help: "Connects to host:port or unix:/path: socket:send(data), :receive([bytes or pattern]), :keepalive() and others.",
        written: InLua,
    },
    PageFunction {
        name: "plua.fetch",
        signature: "plua.fetch(url [, options]) -> response or nil, message, kind",
        help: "Asks a server of HTTP: status, ok, headers, body and json() of its answer.",
        written: InLua,
    },
    PageFunction {
        name: "plua.etag",
        signature: "plua.etag(value) -> boolean",
        help: "Tells the version of the page by a text; false once that has answered the request (304, 412): then return.",
        written: InRust(1),
    },
    PageFunction {
        name: "plua.lastModified",
        signature: "plua.lastModified(seconds) -> boolean",
        help: "The same by the time of its last change, in seconds since 1970.",
        written: InRust(1),
    },
    PageFunction {
        name: "plua.clientGone",
        signature: "plua.clientGone() -> boolean",
        help: "Whether the visitor has left, or closed its side of the connection.",
        written: InRust(1),
    },
    PageFunction {
        name: "header",
        signature: "header(name, value [, append])",
        help: "Sets a response header; with append true adds one more of that name; with value nil removes it.",
        written: InRust(0),
    },
    PageFunction {
        name: "setContentType",
        signature: "setContentType(type)",
        help: "Sets the response's Content-Type; text/html otherwise. Text without a charset gets that of pLuaCharset.",
        written: InRust(0),
    },
    PageFunction {
        name: "setReturnCode",
        signature: "setReturnCode(status)",
        help: "Sets the response's status, 200 to 599; 0 leaves it as it is.",
        written: InRust(0),
    },
    PageFunction {
        name: "httpError",
        signature: "httpError(status)",
        help: "Discards the output in favour of the server's own page (ErrorDocument) for a status from 300 to 599.",
        written: InRust(0),
    },
    PageFunction {
        name: "getEnv",
        signature: "getEnv() -> table",
        help: "Request headers, the server's variables and the facts of request and engine.",
        written: InLua,
    },
    PageFunction {
        name: "plua.requestHeaders",
        signature: "plua.requestHeaders() -> table",
        help: "The request's headers and nothing else; names are found in any spelling.",
        written: InLua,
    },
    PageFunction {
        name: "parseGet",
        signature: "parseGet([options]) -> table",
        help: "The query's fields; a repeated name is an array. {nested = true} makes tables of names with brackets.",
        written: InRust(1),
    },
    PageFunction {
        name: "plua.get",
        signature: "plua.get(name [, default]) -> string or default",
        help: "One field of the query, always text: the last of that name.",
        written: InRust(1),
    },
    PageFunction {
        name: "plua.getAll",
        signature: "plua.getAll(name) -> array",
        help: "The texts of all fields of that name in the query; empty without one.",
        written: InRust(1),
    },
    PageFunction {
        name: "include",
        signature: "include(file [, vars]) -> boolean, ...",
        help: "Runs another page or raw file in this place, with vars as its variables: true and what it returns, or false.",
        written: InLua,
    },
    PageFunction {
        name: "clock",
        signature: "clock() -> {seconds=, nanoseconds=}",
        help: "The time now.",
        written: InRust(1),
    },
    PageFunction {
        name: "compileTime",
        signature: "compileTime() -> {seconds=, nanoseconds=}",
        help: "The time the request was received.",
        written: InRust(1),
    },
    PageFunction {
        name: "showErrors",
        signature: "showErrors(show)",
        help: "Whether this request's visitor sees error reports, whatever pLuaError says.",
        written: InRust(0),
    },
    PageFunction {
        name: "escapeHtml",
        signature: "escapeHtml(text) -> string",
        help: "Text safe in HTML and in quoted attributes, as <?& ?> makes it.",
        written: InRust(1),
    },
    PageFunction {
        name: "escapeUrl",
        signature: "escapeUrl(text) -> string",
        help: "Text safe as a part of a URL: all but letters, digits and -._~ becomes %XX.",
        written: InRust(1),
    },
    PageFunction {
        name: "unescapeUrl",
        signature: "unescapeUrl(text) -> string",
        help: "Undoes escapeUrl; a + stays a +.",
        written: InRust(1),
    },
    PageFunction {
        name: "string.explode",
        signature: "string.explode(text, delimiter) -> table",
        help: "The pieces between the delimiters; an empty last piece is left out.",
        written: InRust(1),
    },
    PageFunction {
        name: "string.encode64",
        signature: "string.encode64(text) -> string",
        help: "Base64, in one line.",
        written: InRust(1),
    },
    PageFunction {
        name: "string.decode64",
        signature: "string.decode64(text) -> string or nil",
        help: "Undoes base64; padding, spaces and line breaks do not matter.",
        written: InRust(1),
    },
    PageFunction {
        name: "string.encode64url",
        signature: "string.encode64url(text) -> string",
        help: "Base64 with the alphabet for URLs, without padding.",
        written: InRust(1),
    },
    PageFunction {
        name: "string.decode64url",
        signature: "string.decode64url(text) -> string or nil",
        help: "Undoes base64 with the alphabet for URLs.",
        written: InRust(1),
    },
    PageFunction {
        name: "string.encodeHex",
        signature: "string.encodeHex(text) -> string",
        help: "Two lower-case hexadecimal digits for each byte.",
        written: InRust(1),
    },
    PageFunction {
        name: "string.decodeHex",
        signature: "string.decodeHex(text) -> string or nil",
        help: "Undoes hexadecimal, in upper or lower case.",
        written: InRust(1),
    },
    PageFunction {
        name: "string.SHA256",
        signature: "string.SHA256(text) -> string",
        help: "SHA-256 in lower-case hexadecimal.",
        written: InRust(1),
    },
    PageFunction {
        name: "string.SHA512",
        signature: "string.SHA512(text) -> string",
        help: "SHA-512 in lower-case hexadecimal.",
        written: InRust(1),
    },
    PageFunction {
        name: "string.SHA1",
        signature: "string.SHA1(text) -> string",
        help: "SHA-1 in lower-case hexadecimal, for old protocols.",
        written: InRust(1),
    },
    PageFunction {
        name: "string.md5",
        signature: "string.md5(text) -> string",
        help: "MD5 in lower-case hexadecimal, for old protocols.",
        written: InRust(1),
    },
    PageFunction {
        name: "string.crc32",
        signature: "string.crc32(text) -> number",
        help: "The CRC-32 of zip and gzip.",
        written: InRust(1),
    },
    PageFunction {
        name: "hmac",
        signature: "hmac(algorithm, key, text [, raw]) -> string",
        help: "Keyed digest by sha256, sha512, sha1 or md5; hexadecimal, or bytes with raw true.",
        written: InRust(1),
    },
    PageFunction {
        name: "randomBytes",
        signature: "randomBytes(count) -> string",
        help: "Bytes nobody can guess, 1048576 at most.",
        written: InRust(1),
    },
    PageFunction {
        name: "hashEquals",
        signature: "hashEquals(one, other) -> boolean",
        help: "Whether two texts are the same, in a time that does not tell where they differ.",
        written: InRust(1),
    },
    PageFunction {
        name: "passwordHash",
        signature: "passwordHash(password [, options]) -> string",
        help: "Argon2id hash to keep; options memory (KiB), passes and lanes set its cost.",
        written: InRust(1),
    },
    PageFunction {
        name: "passwordVerify",
        signature: "passwordVerify(password, hash) -> boolean",
        help: "Whether a hash of Argon2 or bcrypt is of that password.",
        written: InRust(1),
    },
    PageFunction {
        name: "httpDate",
        signature: "httpDate([seconds]) -> string",
        help: "A time in seconds since 1970, or now, as HTTP headers write it.",
        written: InRust(1),
    },
    PageFunction {
        name: "parseHttpDate",
        signature: "parseHttpDate(text) -> number or nil",
        help: "Seconds since 1970 of a date in an HTTP header.",
        written: InRust(1),
    },
    PageFunction {
        name: "json.encode",
        signature: "json.encode(value) -> string",
        help: "JSON of a value, members sorted by name, safe in a script element.",
        written: InRust(1),
    },
    PageFunction {
        name: "json.decode",
        signature: "json.decode(text) -> value or nil, message",
        help: "The value of a JSON text; null is json.null.",
        written: InLua,
    },
    PageFunction {
        name: "json.array",
        signature: "json.array([table]) -> table",
        help: "Marks a table as an array, so that it is [] in JSON even when empty.",
        written: InLua,
    },
    PageFunction {
        name: "file.exists",
        signature: "file.exists(path) -> boolean",
        help: "Whether a file or folder is there and can be read.",
        written: InRust(1),
    },
    PageFunction {
        name: "file.stat",
        signature: "file.stat(path) -> table or nil",
        help: "size, created, modified and accessed (seconds since 1970) and mode.",
        written: InRust(1),
    },
    PageFunction {
        name: "file.rename",
        signature: "file.rename(from, to) -> boolean",
        help: "Gives a file another name; whether that worked.",
        written: InRust(1),
    },
    PageFunction {
        name: "file.unlink",
        signature: "file.unlink(path) -> boolean",
        help: "Removes a file; whether that worked.",
        written: InRust(1),
    },
    PageFunction {
        name: "file.send",
        signature: "file.send(path) -> bytes or false",
        help: "Puts a file into the response in this place, alone as httpd sends files; false if it cannot be read.",
        written: InLua,
    },
    PageFunction {
        name: "getCookie",
        signature: "getCookie(name) -> string or nil",
        help: "A cookie of the request, as it came.",
        written: InRust(1),
    },
    PageFunction {
        name: "getCookies",
        signature: "getCookies() -> table",
        help: "All cookies of the request by name, percent-decoded.",
        written: InRust(1),
    },
    PageFunction {
        name: "setCookie",
        signature: "setCookie(name, value [, seconds [, path]])",
        help: "Sends a cookie as given, for so many seconds or the browser's session; setCookie{name=, value=, ...} encodes it.",
        written: InRust(0),
    },
    PageFunction {
        name: "redirect",
        signature: "redirect(address [, status])",
        help: "Ends the page and sends the visitor elsewhere; 302, or 301, 303, 307 or 308.",
        written: InLua,
    },
    PageFunction {
        name: "parsePost",
        signature: "parsePost([options]) -> table",
        help: "The fields of a form, whatever the method; a repeated name is an array, a file {name, contents}. Options as in parseGet.",
        written: InRust(1),
    },
    PageFunction {
        name: "plua.post",
        signature: "plua.post(name [, default]) -> string or default",
        help: "One field of a form, always text: the last of that name that is no file.",
        written: InRust(1),
    },
    PageFunction {
        name: "plua.postAll",
        signature: "plua.postAll(name) -> array",
        help: "The texts of all fields of that name in a form; empty without one.",
        written: InRust(1),
    },
    PageFunction {
        name: "uploads",
        signature: "uploads() -> array",
        help: "The files of a form: field, name, type, size, path, :save(file), :read().",
        written: InLua,
    },
    PageFunction {
        name: "getRequestBody",
        signature: "getRequestBody([file]) -> body, size",
        help: "The request's body, or nil without one; with a file writes it there and returns the size, or false.",
        written: InLua,
    },
    PageFunction {
        name: "plua.bodyPieces",
        signature: "plua.bodyPieces([bytes]) -> iterator",
        help: "For a loop over the request's body in pieces of 65536 bytes, or as many as given.",
        written: InLua,
    },
    PageFunction {
        name: "getJson",
        signature: "getJson() -> value or nil, message",
        help: "The value of a JSON body, as json.decode gives it.",
        written: InLua,
    },
    PageFunction {
        name: "include_once",
        signature: "include_once(file [, vars]) -> boolean, ...",
        help: "The same, unless the request has included that file already: then only true.",
        written: InLua,
    },
    PageFunction {
        name: "render",
        signature: "render(file [, vars]) -> string",
        help: "Runs a file as include does and returns what it puts out; raises an error if it fails.",
        written: InLua,
    },
    PageFunction {
        name: "plua.compile",
        signature: "plua.compile(text [, name]) -> function or nil, message",
        help: "Makes a page from text a function, which takes variables as render does; the same text is compiled once.",
        written: InLua,
    },
    PageFunction {
        name: "plua.thisFile",
        signature: "plua.thisFile() -> string or nil",
        help: "The absolute path of the file that the calling code is in.",
        written: InLua,
    },
    PageFunction {
        name: "capture",
        signature: "capture(function, ...) -> string",
        help: "Calls the function and returns what it puts out.",
        written: InLua,
    },
    PageFunction {
        name: "ob_start",
        signature: "ob_start() -> true",
        help: "Opens an output buffer; what the page leaves open is put out at its end.",
        written: InLua,
    },
    PageFunction {
        name: "ob_get_contents",
        signature: "ob_get_contents() -> string or false",
        help: "What the buffer opened last holds; false if none is open.",
        written: InLua,
    },
    PageFunction {
        name: "ob_get_clean",
        signature: "ob_get_clean() -> string or false",
        help: "The same, and closes the buffer.",
        written: InLua,
    },
    PageFunction {
        name: "ob_end_flush",
        signature: "ob_end_flush() -> boolean",
        help: "Closes the buffer opened last and puts out what it holds; false if none is open.",
        written: InLua,
    },
    PageFunction {
        name: "ob_end_clean",
        signature: "ob_end_clean() -> boolean",
        help: "Closes the buffer opened last and throws away what it holds; false if none is open.",
        written: InLua,
    },
    PageFunction {
        name: "ob_get_level",
        signature: "ob_get_level() -> number",
        help: "Open buffers, counted from the capture or block it is called in.",
        written: InLua,
    },
    PageFunction {
        name: "layout",
        signature: "layout(file [, vars])",
        help: "Names the file that puts this page into its content() when it has ended; nil for none.",
        written: InLua,
    },
    PageFunction {
        name: "block",
        signature: "block(name, function or text)",
        help: "Fills a named block for the layout.",
        written: InLua,
    },
    PageFunction {
        name: "startBlock",
        signature: "startBlock(name)",
        help: "Begins a named block; what follows up to endBlock() is its text.",
        written: InLua,
    },
    PageFunction { name: "endBlock", signature: "endBlock()", help: "Ends the block begun last.", written: InLua },
    PageFunction {
        name: "content",
        signature: "content([name [, default]]) -> string",
        help: "In a layout: the page's output, or the block of that name; default or an empty string without one.",
        written: InLua,
    },
    PageFunction {
        name: "dbopen",
        signature: "dbopen(driver, parameters [, options]) -> handle",
        help: "Connects to a database (sqlite3, pgsql, mysql, mod_dbd); nil and a message if it cannot.",
        written: InLua,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_from_signatures() {
        let named = |signature| {
            let marked = |(name, is_optional)| format!("{name}{}", if is_optional { "?" } else { "" });
            parameters(signature).into_iter().map(marked).collect::<Vec<_>>()
        };
        assert_eq!(named("exit()"), [""; 0]);
        assert_eq!(named("echo(...)"), ["..."]);
        assert_eq!(named("header(name, value [, append])"), ["name", "value", "append?"]);
        assert_eq!(named("content([name [, default]]) -> string"), ["name?", "default?"]);
        assert_eq!(named("setCookie(name, value [, seconds [, path]])"), ["name", "value", "seconds?", "path?"]);
        assert_eq!(named("block(name, function or text)"), ["name", "function"]);
    }
}
