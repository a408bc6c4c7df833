//! Forms in a body: any bytes are read or refused, a well-formed form is read as sent, and no file stays behind.

#![no_main]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use fuzz::{Sent, fields};
use libfuzzer_sys::fuzz_target;
use mlua::Lua;
use plua::error::ErrorKind;
use plua::fuzzing::{Body, Form, Room, Value};
use plua::limits::time_limit::{TimeLimitHandle, Watchdog};
use plua::settings::{DIRECTIVES, Settings};
use tempfile::TempDir;

thread_local! {
    static LUA: (Lua, TimeLimitHandle) = {
        let lua = Lua::new();
        let limit = Watchdog::start().unwrap().limit(&lua).handle();
        (lua, limit)
    };
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

static SETTINGS: LazyLock<Settings> = LazyLock::new(|| {
    let mut settings = Settings::default();
    let folder = FOLDER.path().to_str().unwrap();
    let lines = [("pLuaFields", "50"), ("pLuaUploads", "5"), ("pLuaUploadSize", "1"), ("pLuaUploadFolder", folder)];
    for (name, value) in lines {
        let row = DIRECTIVES.iter().find(|row| row.name.to_bytes() == name.as_bytes()).unwrap();
        row.set(&mut settings, &[value]).unwrap();
    }
    settings
});

/// The fields of a body, a file's with its content as the value; or why there are none.
fn post(content_type: &[u8], body: &[u8]) -> Result<Fields, ErrorKind> {
    let mut exchange = Sent { method: "POST", body: body.to_vec(), ..Sent::default() }.into_exchange();
    let mut body = Body::read(&mut *exchange, Path::new("/"), None).unwrap();
    let read = LUA.with(|(lua, limit)| {
        Form::read(content_type, &SETTINGS.limits(), FOLDER.path(), Room::new(lua, limit), || Ok(&mut body))
    });
    let mut form = match read {
        Ok(form) => form,
        Err(error) => {
            let kind = error.kind;
            assert!(matches!(kind, ErrorKind::TooLarge | ErrorKind::BadRequest), "{}", error.message);
            return Err(kind);
        }
    };
    assert!(form.fields.count() + form.parts.len() <= 50 && form.uploads.len() <= 5);
    let mut fields: Fields = form.fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    for (name, value) in std::mem::take(&mut form.parts) {
        let value = match value {
            Value::Text(text) => text,
            Value::File(number) => {
                let upload = &mut form.uploads[number];
                let content = upload.read().unwrap();
                assert!(upload.field == name && upload.size == content.len() as u64 && upload.size <= 1024);
                assert!(!upload.base_name().contains(&b'/') && !upload.file_name.contains(&0));
                content
            }
        };
        fields.push((name, value));
    }
    Ok(fields)
}

/// A form whose fields are the lines of the input, each `name=value`; a name that starts with `@` is a file's.
fn well_formed(lines: &[u8]) {
    const BOUNDARY: &[u8] = b"b0undary";
    let mut body = Vec::new();
    let mut sent = Fields::new();
    let mut files = 0;
    for line in lines.split(|byte| *byte == b'\n').take(40) {
        let end = line.iter().position(|byte| *byte == b'=').unwrap_or(line.len());
        let (name, value) = (&line[..end], line.get(end + 1..).unwrap_or_default());
        // A LF in the value, for the input's own ends the line.
        let value: Vec<u8> = value.iter().map(|byte| if *byte == 0x1f { b'\n' } else { *byte }).collect();
        if value.windows(BOUNDARY.len()).any(|part| part == BOUNDARY) {
            return;
        }
        let is_file = name.first() == Some(&b'@') && files < 5;
        files += usize::from(is_file);
        let about = if is_file { &b"; filename=\"f\""[..] } else { b"" };
        let letters = name.iter().copied().filter(u8::is_ascii_alphanumeric);
        let name: Vec<u8> = std::iter::once(b'n').chain(letters).collect();
        body.extend([b"--", BOUNDARY, b"\r\nContent-Disposition: form-data; name=\"", &name, b"\"", about].concat());
        body.extend([b"\r\n\r\n", &value[..], b"\r\n"].concat());
        sent.push((name, value));
    }
    body.extend([b"--", BOUNDARY, b"--\r\n"].concat());
    let fields = post(&[b"multipart/form-data; boundary=", BOUNDARY].concat(), &body);
    let whole: usize = sent.iter().map(|(_, value)| value.len()).sum();
    assert!(fields == Ok(sent) || whole > 1024, "{}", body.escape_ascii());
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    match mode % 4 {
        0 => well_formed(rest),
        1 => {
            let expected = fields(rest);
            let read = post(b"application/x-www-form-urlencoded", rest);
            assert!(read == Ok(expected) || rest.len() > 1024 || fields(rest).len() > 50);
        }
        2 => drop(post(b"multipart/form-data; boundary=b", rest)),
        _ => {
            let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            drop(post(&rest[..end], rest.get(end + 1..).unwrap_or_default()));
        }
    }
    let left = fs::read_dir(FOLDER.path()).map_or(0, Iterator::count);
    assert_eq!(left, 0, "files of a form stayed behind");
});
