//! Processes that share a store, as others of the machine see them.

use std::path::Path;

/// Whether the process of this number is known to be gone: not where the system tells nothing of processes.
#[must_use]
pub fn is_gone(process: u32) -> bool {
    let processes = Path::new("/proc");
    processes.join("self").exists() && !processes.join(process.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use std::process::{self, Command};

    use super::*;

    #[test]
    fn a_process_is_gone_when_it_has_ended() {
        assert!(!is_gone(process::id()));
        let mut ended = Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        assert!(is_gone(ended.id()));
    }
}
