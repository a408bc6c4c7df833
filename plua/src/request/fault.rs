//! From what Lua raised to an [`Error`]: which of the active calls the message speaks of, and what they were.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use mlua::{Table, Value};

use crate::error::{Error, ErrorKind, Fact, Frame, Place, shortened};
use crate::limits::time_limit::Call;

/// The calls a state's own code listed: `{ source, line, name, what }` each, innermost first.
#[must_use]
pub fn frames(list: &Value, page: &Path) -> Vec<Frame> {
    let Value::Table(list) = list else { return Vec::new() };
    folded(list.sequence_values::<Table>().flatten().filter_map(|frame| self::frame(&frame, page)))
}

/// The local variables of the innermost call that stand beside that list, as names and values in turn.
#[must_use]
pub fn locals(list: &Value) -> Vec<Fact> {
    let Value::Table(list) = list else { return Vec::new() };
    let Ok(locals) = list.raw_get::<Table>("locals") else { return Vec::new() };
    let texts: Vec<String> =
        locals.sequence_values::<mlua::LuaString>().flatten().map(|text| text.to_string_lossy()).collect();
    texts.chunks_exact(2).map(|pair| Fact { name: pair[0].clone(), value: pair[1].clone() }).collect()
}

/// What Lua raised, without the calls of the engine's own that mlua lists behind it.
#[must_use]
pub fn first_line(error: &mlua::Error) -> String {
    let message = error.to_string();
    message.lines().next().unwrap_or_default().trim_start_matches("runtime error: ").to_owned()
}

/// Recursion is one frame that says how often.
fn folded(frames: impl Iterator<Item = Frame>) -> Vec<Frame> {
    let mut folded: Vec<(Frame, usize)> = Vec::new();
    for frame in frames {
        match folded.last_mut() {
            Some((last, times)) if *last == frame => *times += 1,
            _ => folded.push((frame, 1)),
        }
    }
    let told = |(mut frame, times): (Frame, usize)| {
        if times > 1 {
            frame.what += &format!(" ({times} times)");
        }
        frame
    };
    folded.into_iter().map(told).collect()
}

fn frame(frame: &Table, page: &Path) -> Option<Frame> {
    let text = |index| frame.raw_get::<mlua::LuaString>(index).ok();
    let (source, name, what) = (text(1)?, text(3)?, text(4)?);
    Some(named(&source.as_bytes(), frame.raw_get(2).ok()?, &name.as_bytes(), &what.as_bytes(), page))
}

/// The calls that were active when the time limit struck, without the engine's own.
#[must_use]
pub fn stopped_frames(calls: &[Call], page: &Path) -> Vec<Frame> {
    let calls = calls.iter().filter(|call| call.source != b"=plua" && call.line > 0);
    folded(calls.map(|call| named(&call.source, call.line, &call.name, &call.what, page)))
}

fn named(source: &[u8], line: u32, name: &[u8], what: &[u8], page: &Path) -> Frame {
    let (source, name) = (shortened(source), shortened(name));
    let file = String::from_utf8_lossy(source.strip_prefix(b"@").unwrap_or(source)).into_owned();
    let told = match (what, name) {
        (b"main", _) if Path::new(&file) == page => "main page".to_string(),
        (b"main", _) => "file".to_string(),
        (_, b"") => "a function".to_string(),
        (_, name) => format!("function '{}'", String::from_utf8_lossy(name)),
    };
    Frame { what: told, at: Some((file, line)), is_file: what == b"main" }
}

/// The message without a place in the state's own code: PUC Lua puts it before what a function of its own raises that this
/// code called for the page.
fn without_own_place(message: &str) -> &str {
    let rest = message.strip_prefix("plua:").map(|rest| rest.trim_start_matches(|digit: char| digit.is_ascii_digit()));
    rest.and_then(|rest| rest.strip_prefix(": ")).unwrap_or(message)
}

/// The error a message and its frames make. `source` gives the source of a loaded file.
///
/// Lua puts `file:line: ` before a message, the file shortened; that is taken off when one of the calls is at
/// that line of a file so named, and the error is then there. Otherwise it is where the innermost call is.
#[must_use]
pub fn error<'s>(message: &[u8], frames: Vec<Frame>, source: impl Fn(&Path) -> Option<&'s [u8]>) -> Error {
    let text = without_own_place(&String::from_utf8_lossy(message)).to_string();
    let named = frames.iter().filter_map(|frame| frame.at.as_ref()).find_map(|(file, line)| {
        let rest = strip_name(&text, file)?.strip_prefix(':')?.strip_prefix(&line.to_string())?.strip_prefix(": ")?;
        Some((file.clone(), *line, rest.to_string()))
    });
    let (at, text) = match named {
        Some((file, line, rest)) => (Some((file, line)), rest),
        None => (frames.iter().find_map(|frame| frame.at.clone()), text),
    };
    let mut error = Error::new(ErrorKind::Runtime, text);
    error.place = at.map(|(file, line)| {
        let path = Path::new(OsStr::from_bytes(file.as_bytes()));
        Box::new(Place::new(path, line, source(path).unwrap_or_default()))
    });
    error.frames = frames;
    error
}

/// What follows the name of a file as Lua shortens it: whole, or `...` and its end.
fn strip_name<'m>(message: &'m str, file: &str) -> Option<&'m str> {
    if let Some(rest) = message.strip_prefix(file) {
        return Some(rest);
    }
    let shortened = message.strip_prefix("...")?;
    (1..file.len())
        .filter(|start| file.is_char_boundary(*start))
        .find_map(|start| shortened.strip_prefix(&file[start..]).filter(|rest| rest.starts_with(':')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32) -> Frame {
        let file = "/srv/www/a-site-with-a-long-name/documents/and/more/folders/page.plua";
        Frame { what: "main page".into(), at: Some((file.into(), line)), is_file: true }
    }

    #[test]
    fn the_place_lua_names_is_taken_from_the_message_only_when_a_call_is_there() {
        for (message, text, line) in [
            ("...-name/documents/and/more/folders/page.plua:7: broken", "broken", 7),
            ("x:1: y", "x:1: y", 3),
            (
                "...-name/documents/and/more/folders/page.plua:9: odd",
                "...-name/documents/and/more/folders/page.plua:9: odd",
                3,
            ),
            ("plain", "plain", 3),
        ] {
            let error = error(message.as_bytes(), vec![at(3), at(7)], |_| None);
            assert_eq!((error.message.as_str(), error.place.unwrap().line), (text, line));
        }
    }
}
