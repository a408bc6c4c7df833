//! Pages run in a bare Lua, with the least slot table that emitted Lua needs.

use mlua::chunk::ChunkMode;
use mlua::{Function, Table};
use plua::language::emit::{GROUP, emit};
use plua::language::page::Syntax;

/// Short tags on, escaping off: what pages get unless they are told otherwise.
pub const SHORT: Syntax = Syntax { short_hand: true, auto_escape: false, marks: None };

const SLOT: &str = r#"
    local pieces = {}
    local function text(...)
        local values = {...}
        for i = 1, select('#', ...) do values[i] = tostring(values[i]) end
        return table.concat(values)
    end
    local function html(...)
        return (text(...):gsub("[<>&]", { ["<"] = "&lt;", [">"] = "&gt;", ["&"] = "&amp;" }))
    end
    local out = { put = function(_, piece) pieces[#pieces + 1] = piece end }
    echo = function(...) out:put(text(...)) end
    
    local function put(value) out:put(value) end
    local function echo(following, ...) out:put(text(...)) out:put(following) end
    local function escape(following, ...) out:put(html(...)) out:put(following) end
    return { put = put, echo = echo, escape = escape }, function() return table.concat(pieces) end
"#;

/// What a page prints, or why it does not compile or run.
pub fn run(page: &[u8], syntax: Syntax) -> mlua::Result<Vec<u8>> {
    let emitted = emit(page, syntax);
    let lua = mlua::Lua::new();
    let (slot, output): (Table, Function) = lua.load(SLOT).eval()?;
    let groups = lua.create_table()?;
    for texts in emitted.texts.chunks(GROUP) {
        let group = lua.create_table()?;
        for text in texts {
            group.push(lua.create_string(&page[text.clone()])?)?;
        }
        groups.push(group)?;
    }
    lua.load(emitted.source).set_name("=page").set_mode(ChunkMode::Text).call::<()>((slot, groups))?;
    let printed: mlua::LuaString = output.call(())?;
    Ok(printed.as_bytes().to_vec())
}
