//! What one large string of a page takes beyond the memory limit; alone in its program, for the peak is the whole process's.

#![cfg(feature = "luajit")]

mod site;

use site::{Site, memory};

#[test]
fn a_string_larger_than_the_memory_limit_takes_little_beyond_it() {
    const LIMIT: usize = 64 << 10;
    let page = "<? local long = ('x'):rep(60e6) echo(#long .. ('y'):rep(60e6)) ?>";
    let site = Site::new(&format!("pLuaMemoryLimit {LIMIT}"), &[("page.plua", page), ("fine.plua", "fine")]);
    assert_eq!(site.get("fine.plua").text(), "fine");
    let before = memory("VmRSS");
    let seen = site.get("page.plua");
    assert!(seen.status == 500 && seen.log[0].starts_with("Memory limit: "), "{:?}", seen.log);
    let grown = memory("VmHWM") - before;
    assert!(grown < LIMIT + (32 << 10), "{grown} KB");
}
