#!/bin/bash
# mlua 0.12.2 with its vendored LuaJIT (luajit-src 210.7.4), on Linux 6.3 or newer.
# One would expect: where the system lets no process execute memory that it has written (SELinux without execmem, systemd's
# MemoryDenyWriteExecute, PR_SET_MDWE), LuaJIT interprets, or the call of Lua fails.
# What happens: at the first loop that it would compile LuaJIT calls exit(1), with nothing on the standard error output, for mlua
# sets no panic function; Rust's destructors do not run, and no error reaches the caller. With jit.off() all is well.
# Who is hurt: a server with LuaJIT inside loses each of its processes at its first busy page, and no log says why.
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
libc = "0.2"
mlua = { version = "=0.12.2", features = ["luajit", "vendored"] }
luajit-src = "=210.7.4"
[workspace]
TOML
cat >src/main.rs <<'RUST'
fn main() {
    const PR_SET_MDWE: i32 = 65;
    if unsafe { libc::prctl(PR_SET_MDWE, 1, 0, 0, 0) } != 0 {
        println!("this system has no PR_SET_MDWE");
        return;
    }
    let lua = mlua::Lua::new();
    if std::env::args().nth(1).as_deref() == Some("off") {
        lua.load("jit.off()").exec().unwrap();
    }
    println!("before");
    let sum = lua.load("local sum = 0 for i = 1, 1000 do sum = sum + i end return sum").eval::<u32>();
    println!("after: {sum:?}");
}
RUST
cargo build --quiet
program=${CARGO_TARGET_DIR:-target}/debug/finding
for mode in on off; do
    status=0
    "$program" $mode >out 2>err || status=$?
    echo "jit $mode: status $status, on the standard error output $(wc -c <err) bytes"
    cat out
done | tee told
cat >expected <<'OUT'
jit on: status 1, on the standard error output 0 bytes
before
jit off: status 0, on the standard error output 0 bytes
before
after: Ok(500500)
OUT
diff expected told
