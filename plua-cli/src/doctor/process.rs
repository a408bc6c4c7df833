//! The httpd that runs now: what its surroundings allow it.

use std::fs;
use std::path::Path;

use private_httpd::Installation;

use super::Finding;

/// Descriptors that a server of thousands of connections wants.
const DESCRIPTORS: u64 = 8192;

/// Adds what there is to tell of the oldest process of this httpd, if one runs.
pub(crate) fn findings(installation: &Installation, findings: &mut Vec<Finding>) {
    let Some(id) = running(installation.program()) else {
        findings.push(Finding::note(
            "process",
            "no httpd runs now",
            "sudo systemctl start apache2, where pages are to be served",
        ));
        return;
    };
    let folder = Path::new("/proc").join(id.to_string());
    let limits = fs::read_to_string(folder.join("limits")).unwrap_or_default();
    let soft = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    match soft("Max open files") {
        Some(files) if files < DESCRIPTORS => findings.push(Finding::note(
            "descriptors",
            format!("httpd may have {files} files and connections open: each page that waits takes two"),
            format!("LimitNOFILE={DESCRIPTORS} in systemctl edit apache2"),
        )),
        Some(files) => findings.push(Finding::fine("descriptors", format!("{files} files and connections"))),
        None => {}
    }
    if let Some(bytes) = soft("Max stack size").filter(|bytes| *bytes < 1024 * 1024) {
        findings.push(Finding::note(
            "stack",
            format!("threads have {} KB of stack: deep calls in pages end early", bytes / 1024),
            "ulimit -s 8192 where httpd is started, and no smaller ThreadStackSize",
        ));
    }
    // Only its own user and root may see it.
    if let Ok(environment) = fs::read(folder.join("environ")) {
        let has_arenas = environment.split(|byte| *byte == 0).any(|one| one.starts_with(b"MALLOC_ARENA_MAX="));
        if !has_arenas {
            findings.push(Finding::note(
                "memory",
                "MALLOC_ARENA_MAX is not set: the C library keeps freed memory for each of its arenas",
                "export MALLOC_ARENA_MAX=2 in /etc/apache2/envvars, where memory is short",
            ));
        }
    }
}

/// The process of this program with the lowest number: the parent of the others.
fn running(program: &Path) -> Option<u32> {
    let name = program.file_name()?.to_str()?;
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_it = |id: &u32| fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|comm| comm.trim_end() == name);
    ids.filter(is_it).min()
}
