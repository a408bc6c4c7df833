//! Builds the forwarding library that gives C modules the Lua functions linked into this crate.

use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// One stub in assembly: a jump through the entry of the table at this byte offset.
type Stub = fn(usize) -> String;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rustc-check-cfg=cfg(c_forwarding)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=c-api");

    let Some(stub) = stub_for_target() else { return Ok(()) };
    let Some(lua) = ["luajit", "lua54", "lua51"]
        .into_iter()
        .find(|lua| env::var_os(format!("CARGO_FEATURE_{}", lua.to_uppercase())).is_some())
    else {
        return Ok(());
    };
    let list = fs::read_to_string(format!("c-api/{lua}.txt"))?;
    let names: Vec<&str> = list.lines().collect();

    let folder = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let stubs = stubs(&names, stub);
    // The table's name says what it holds, so that it is never filled in another build's order.
    let table = format!("plua_forward_table_{:016x}", fingerprint(&stubs));
    let library = folder.join("libplua-forward.so");
    link(&folder, &library, &with_table(&stubs, &table, names.len()))?;
    fs::write(folder.join("c_api.rs"), declarations(&names, &table, &library))?;
    println!("cargo::rustc-cfg=c_forwarding");
    Ok(())
}

/// How the target jumps; `None` where C modules are not supported.
fn stub_for_target() -> Option<Stub> {
    let target = |key: &str| env::var(format!("CARGO_CFG_TARGET_{key}")).unwrap_or_default();
    if target("OS") != "linux" || target("POINTER_WIDTH") != "64" {
        return None;
    }
    match target("ARCH").as_str() {
        // `endbr64` and `bti c` mark a place an indirect call may land on.
        "x86_64" => Some(|offset| format!("\tendbr64\n\tjmp *.Ltable+{offset}(%rip)\n")),
        // x16 is the register a call may lose on its way, so no argument is touched.
        "aarch64" => Some(|offset| {
            format!("\thint #34\n\tadrp x16, .Ltable+{offset}\n\tldr x16, [x16, #:lo12:.Ltable+{offset}]\n\tbr x16\n")
        }),
        _ => None,
    }
}

fn stubs(names: &[&str], stub: Stub) -> String {
    let mut text = String::from("\t.text\n");
    for (index, name) in names.iter().enumerate() {
        let _ = write!(
            text,
            "\t.globl {name}\n\t.type {name}, %function\n\t.balign 16\n{name}:\n{}\t.size {name}, .-{name}\n",
            stub(index * 8)
        );
    }
    text
}

fn with_table(stubs: &str, table: &str, entries: usize) -> String {
    let size = entries * 8;
    let mut text = String::from(stubs);
    // The stubs use a local label: a name that other libraries see could be taken from one of them.
    text.push_str("\t.bss\n\t.balign 8\n.Ltable:\n");
    for name in [table, "plua_forwarder"] {
        let _ = write!(text, "\t.globl {name}\n\t.type {name}, %object\n\t.size {name}, {size}\n{name}:\n");
    }
    let _ = write!(text, "\t.zero {size}\n\t.section .note.GNU-stack,\"\",%progbits\n");
    text
}

fn link(folder: &Path, library: &Path, assembly: &str) -> Result<(), Box<dyn Error>> {
    let source = folder.join("forward.s");
    fs::write(&source, assembly)?;
    let status = cc::Build::new()
        .pic(true)
        .debug(false)
        .try_get_compiler()?
        .to_command()
        .args(["-shared", "-nostdlib", "-Wl,-soname,libplua-forward.so", "-o"])
        .args([library, &source])
        .status()?;
    if status.success() { Ok(()) } else { Err(format!("linking {} failed: {status}", library.display()).into()) }
}

fn declarations(names: &[&str], table: &str, library: &Path) -> String {
    let count = names.len();
    let mut text = String::from("unsafe extern \"C\" {\n");
    names.iter().for_each(|name| text.push_str(&format!("    fn {name}();\n")));
    let _ =
        write!(text, "}}\n/// Names of the C API, in the order of the table.\nstatic NAMES: [&CStr; {count}] = [\n");
    names.iter().for_each(|name| text.push_str(&format!("    c\"{name}\",\n")));
    let _ = write!(text, "];\n/// The functions of those names linked into this crate.\nstatic ADDRESSES: Table = [\n");
    names.iter().for_each(|name| text.push_str(&format!("    {name},\n")));
    let _ = write!(
        text,
        "];\n/// What a forwarding library holds: one address for each name.\n\
         type Table = [unsafe extern \"C\" fn(); {count}];\n\
         /// The name a forwarding library of exactly these stubs gives its table.\n\
         const TABLE: &CStr = c\"{table}\";\n\
         /// The forwarding library.\n\
         static LIBRARY: &[u8] = include_bytes!({library:?});\n"
    );
    text
}

/// The FNV-1a hash: equal for equal stubs on every compiler.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
