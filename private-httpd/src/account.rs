//! The account httpd's children run as when root starts it, and what that account may read.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::{Uid, User, geteuid};

/// A user and a group, by number: the owner of a mounted folder often has no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// The user's number.
    pub user: u32,
    /// The group's number.
    pub group: u32,
}

impl Account {
    /// The account distributions give to httpd, else `nobody`.
    #[must_use]
    pub fn unprivileged() -> Self {
        ["www-data", "apache", "www", "nobody"]
            .into_iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map_or(Self { user: 65_534, group: 65_534 }, |user| Self {
                user: user.uid.as_raw(),
                group: user.gid.as_raw(),
            })
    }

    /// The owner of a file or folder; none if it cannot be looked at.
    #[must_use]
    pub fn owner_of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|found| Self { user: found.uid(), group: found.gid() })
    }

    /// The user's name, or its number after a `#` as httpd writes it.
    #[must_use]
    pub fn name(self) -> String {
        match User::from_uid(Uid::from_raw(self.user)) {
            Ok(Some(user)) => user.name,
            _ => format!("#{}", self.user),
        }
    }

    /// Whether the system has a name for it. All of httpd runs as an account without one, the parent too.
    #[must_use]
    pub fn has_name(self) -> bool {
        matches!(User::from_uid(Uid::from_raw(self.user)), Ok(Some(_)))
    }

    /// Whether this account can list a folder and pass through it. Asked by trying it, so that access lists and every
    /// parent folder count; only root may ask for another account, and others get `false`.
    #[must_use]
    pub fn can_read(self, folder: &Path) -> bool {
        let mut probe = Command::new("/bin/sh");
        probe.args(["-c", r#"[ -r "$1" ] && [ -x "$1" ]"#, "sh"]).arg(folder).current_dir("/");
        probe.uid(self.user).gid(self.group).stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    }
}

/// Whether this process is root, for whom httpd's children change to another account.
#[must_use]
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// The capability that lets an unprivileged httpd read what root can read, if this process has one to hand on:
/// `dac_read_search`, or in a container without it `dac_override`, which may also write.
#[must_use]
pub fn reading_capability() -> Option<&'static str> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let set = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    let usable = set("CapPrm:")? & set("CapBnd:")?;
    [(2, "dac_read_search"), (1, "dac_override")]
        .into_iter()
        .find(|(bit, _)| usable >> bit & 1 == 1)
        .map(|(_, name)| name)
}
