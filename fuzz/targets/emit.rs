//! Pages as Lua sees them: a chunk has the lines of its page, no byte of a text is ever Lua, and a page is one function, and
//! has functions that are kept, only if it is Lua.

#![no_main]

use std::cell::OnceCell;

use libfuzzer_sys::fuzz_target;
use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, LuaOptions, StdLib, Table};
use plua::language::emit::{as_function, emit, keeping};
use plua::language::page::{Kind, Segment, Syntax, split};

/// The shape of a function, and that of each inside it: how many instructions, from which line to which. Puts its
/// strings into a table.
const SHAPE: &str = r#"
local util = require("jit.util")
local info, constant = util.funcinfo, util.funck
local function shape(code, strings)
  local about = info(code)
  local text = about.bytecodes .. ":" .. about.linedefined .. "-" .. about.lastlinedefined
  for i = 1, about.gcconsts do
    local value = constant(code, -i)
    if type(value) == "string" then
      strings[value] = true
    elseif type(value) == "proto" then
      text = text .. "(" .. shape(value, strings) .. ")"
    end
  end
  return text
end
return shape
"#;

thread_local! {
    static LUA: OnceCell<(Lua, Function)> = const { OnceCell::new() };
}

/// The line of a compiler's message.
fn line(error: &mlua::Error) -> String {
    match error {
        mlua::Error::SyntaxError { message, .. } => message.split(": ").next().unwrap_or_default().to_owned(),
        other => panic!("{other}"),
    }
}

fn compiled(lua: &Lua, source: &[u8]) -> Result<Function, mlua::Error> {
    lua.load(source).set_name("=page").set_mode(ChunkMode::Text).into_function()
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

fn check(lua: &Lua, shape: &Function, page: &[u8], syntax: Syntax) {
    let own = emit(page, syntax);
    assert_eq!(newlines(&own.source), newlines(page));
    assert!(own.texts.is_empty());
    let segments = split(page, syntax);
    let mut other = page.to_vec();
    for text in segments.iter().filter(|segment| segment.kind == Kind::Text) {
        // Letters whose place in the page tells them apart, for Lua keeps equal texts once.
        for (at, byte) in text.outer.clone().zip(&mut other[text.outer.clone()]) {
            if !matches!(*byte, b'\n' | b'\r') {
                *byte = b'A' + (at % 26) as u8;
            }
        }
    }
    let kinds = |segments: &[Segment]| -> Vec<_> { segments.iter().map(|s| (s.kind, s.outer.clone())).collect() };
    let function = compiled(lua, &own.source);
    if let Some(keeping) = own.functions_to_keep().and_then(|functions| keeping(&functions)) {
        assert_eq!(newlines(&keeping), newlines(page));
        // Lua may refuse it where it takes the page: a function that is kept can be declared only once.
        let keeping = compiled(lua, &keeping);
        assert!(keeping.is_err() || function.is_ok(), "{keeping:?} keeping functions, {function:?} without");
    }
    if let Some(whole) = as_function(&own.source).filter(|_| own.is_fit_for_function()) {
        assert_eq!(newlines(&whole), newlines(page));
        let whole = compiled(lua, &whole);
        // There are no other arguments that it could name.
        let may_refuse = own.source.windows(3).skip(b"local __plua=...".len()).any(|bytes| bytes == b"...");
        assert!(
            whole.is_ok() == function.is_ok() || may_refuse && whole.is_err(),
            "{whole:?} as a function, {function:?} as a chunk"
        );
    }
    // What text follows decides whether a quote opens a string: another text may make another page.
    if kinds(&segments) == kinds(&split(&other, syntax)) {
        match (&function, compiled(lua, &emit(&other, syntax).source)) {
            (Ok(function), Ok(other)) => assert_eq!(shape_of(lua, shape, function).0, shape_of(lua, shape, &other).0),
            (Err(error), Err(other)) => assert_eq!(line(error), line(&other)),
            (own, other) => panic!("{own:?} with its texts, {other:?} with others"),
        }
    }
    let Ok(function) = function else { return };
    check_texts(lua, page, &segments, &shape_of(lua, shape, &function).1);
    if !page.contains(&b'\r') {
        let error = compiled(lua, &[&own.source[..], b"@"].concat()).expect_err("a stray @ compiles");
        assert_eq!(line(&error), format!("page:{}", newlines(page) + 1));
    }
}

/// The shape of a compiled page, and its strings.
fn shape_of(lua: &Lua, shape: &Function, function: &Function) -> (String, Table) {
    let strings = lua.create_table().unwrap();
    (shape.call((function, &strings)).unwrap(), strings)
}

/// Each text is one whole string of the compiled page.
fn check_texts(lua: &Lua, page: &[u8], segments: &[Segment], strings: &Table) {
    for text in segments.iter().filter(|segment| segment.kind == Kind::Text) {
        let text = &page[text.outer.clone()];
        let found: bool = strings.raw_get::<Option<bool>>(lua.create_string(text).unwrap()).unwrap().unwrap_or(false);
        assert!(found, "{:?} is no string of the page", String::from_utf8_lossy(text));
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((flags, page)) = input.split_first() else { return };
    let syntax = Syntax { short_hand: flags & 1 != 0, auto_escape: flags & 2 != 0, marks: None };
    LUA.with(|lua| {
        let (lua, shape) = lua.get_or_init(|| {
            let lua = Lua::new_with(StdLib::ALL_SAFE, LuaOptions::new()).unwrap();
            let shape = lua.load(SHAPE).eval().unwrap();
            (lua, shape)
        });
        check(lua, shape, page, syntax);
    });
});
