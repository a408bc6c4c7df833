//! Pages where the system lets no process run code that it has written itself.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod site;

use plua::state::compiling;
use site::page;

/// Has the system refuse this process, for as long as it lives, memory that it has written and would execute; whether
/// the system can (Linux 6.3).
fn forbid_written_code() -> bool {
    const PR_SET_MDWE: libc::c_int = 65;
    const PR_MDWE_REFUSE_EXEC_GAIN: libc::c_ulong = 1;
    // SAFETY: the call takes numbers and changes only what this process may ask for later.
    unsafe { libc::prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) == 0 }
}

#[test]
fn loops_run_and_the_administrator_is_told_where_luajit_may_not_compile() {
    if !forbid_written_code() {
        eprintln!("skipped: this system has no PR_SET_MDWE");
        return;
    }
    let seen =
        page("<? if jit then jit.on() end local sum = 0 for i = 1, 100000 do sum = sum + i % 7 end echo(sum) ?>");
    assert_eq!((seen.status, seen.text().as_str()), (200, "300000"), "{:?}", seen.log);
    let warning = compiling::warning().unwrap_or_default();
    assert_eq!(warning.contains("httpd_execmem"), cfg!(feature = "luajit"), "{warning}");
}
