#!/bin/bash
# mlua 0.12.2 with its vendored LuaJIT (luajit-src 210.7.4), full_moon 3.0.0 with its feature "luajit", the parser under StyLua
# 2.6.0 and selene.
# One would expect: what LuaJIT compiles, a parser for LuaJIT parses, and so the formatter and the linter above it.
# What happens: this LuaJIT compiles a ?? b, a?.b, a ? b : c, x += 1, const, continue and |x| -> x * 2; full_moon refuses all of them,
# and 0x1p4, which LuaJIT has had for years. It takes goto and 1LL.
# Who is hurt: who writes for the LuaJIT of today finds his files neither formatted nor linted, and the message blames his code.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"
[dependencies]
mlua = { version = "=0.12.2", features = ["luajit", "vendored"] }
luajit-src = "=210.7.4"
full_moon = { version = "=3.0.0", default-features = false, features = ["luajit"] }
[workspace]
TOML
cat >src/main.rs <<'RUST'
use full_moon::{parse_fallible, LuaVersion};

fn main() {
    let lua = mlua::Lua::new();
    for code in [
        "goto done ::done:: return 1LL",
        "return 0x1p4",
        "return nil ?? 5",
        "local a = nil return a?.b",
        "return true ? 1 : 2",
        "local x = 1 x += 1 return x",
        "const x = 1 return x",
        "for i = 1, 3 do if i < 3 then continue end end return 1",
        "local f = |x| -> x * 2 return f(4)",
    ] {
        let compiles = if lua.load(code).into_function().is_ok() { "compiles" } else { "refuses" };
        let parses = if parse_fallible(code, LuaVersion::luajit()).errors().is_empty() { "parses" } else { "refuses" };
        println!("LuaJIT {compiles}, full_moon {parses}: {code}");
    }
}
RUST
cargo run --quiet >out
cat out
cat >expected <<'OUT'
LuaJIT compiles, full_moon parses: goto done ::done:: return 1LL
LuaJIT compiles, full_moon refuses: return 0x1p4
LuaJIT compiles, full_moon refuses: return nil ?? 5
LuaJIT compiles, full_moon refuses: local a = nil return a?.b
LuaJIT compiles, full_moon refuses: return true ? 1 : 2
LuaJIT compiles, full_moon refuses: local x = 1 x += 1 return x
LuaJIT compiles, full_moon refuses: const x = 1 return x
LuaJIT compiles, full_moon refuses: for i = 1, 3 do if i < 3 then continue end end return 1
LuaJIT compiles, full_moon refuses: local f = |x| -> x * 2 return f(4)
OUT
diff expected out
