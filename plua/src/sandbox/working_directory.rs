//! The folder a page runs in: its own, although the working directory is otherwise one for all threads.
//!
//! On Linux a thread may leave the directory it shares with the others, for good and without privileges. Where
//! that is refused, as in some containers, pages keep the server's directory; page functions take relative
//! paths from the page's folder either way. `working_directory.lua` decides when a request needs to be there.

use std::cell::RefCell;
use std::path::Path;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::chdir;

enum Own {
    Shared,
    Refused,
    Left,
}

thread_local! {
    static DIRECTORY: RefCell<Own> = const { RefCell::new(Own::Shared) };
}

/// Makes `folder` this thread's working directory.
///
/// The thread may seem to be there already, but a page with `ffi` or lfs can have gone elsewhere: it always asks.
pub fn enter(folder: &Path) {
    DIRECTORY.with_borrow_mut(|own| {
        match own {
            Own::Refused => return,
            Own::Left => {}
            Own::Shared => {
                if unshare(CloneFlags::CLONE_FS).is_err() {
                    *own = Own::Refused;
                    return;
                }
            }
        }
        // A folder that cannot be entered must not leave the thread in another page's.
        *own = Own::Left;
        if chdir(folder).is_err() {
            let _ = chdir("/");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_have_directories_of_their_own() {
        let before = std::env::current_dir().unwrap();
        std::thread::spawn(|| {
            enter(Path::new("/"));
            assert_eq!(std::env::current_dir().unwrap(), Path::new("/"));
            enter(Path::new("/usr"));
            assert_eq!(std::env::current_dir().unwrap(), Path::new("/usr"));
        })
        .join()
        .unwrap();
        assert_eq!(std::env::current_dir().unwrap(), before);
    }
}
