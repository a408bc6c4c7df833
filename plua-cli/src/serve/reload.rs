//! Open browser tabs that load their page again when a file changes.
//!
//! Each page gets a script that listens to a page of ours, which waits without a thread at a socket of this program's.

use std::error::Error;
use std::fs;
use std::io::Write;
use std::mem;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;

/// Modules of httpd's that it needs.
pub(crate) const MODULES: &[&str] = &["filter", "substitute"];

/// Where the script is.
pub(crate) const ADDRESS: &str = "/.plua/reload.js";

/// The script in each page, and where it listens.
pub(crate) const CONFIGURATION: &str = "\
Alias /.plua/ \"${ROOT}/reload/\"
<Directory \"${ROOT}/reload\">
    Require all granted
    pLuaWaitLimit 0
</Directory>
AddOutputFilterByType SUBSTITUTE text/html
SubstituteMaxLineLength 16m
Substitute \"s|</body>|<script src=\\\"/.plua/reload.js\\\"></script></body>|in\"
";

/// Each change loads a tab's page again once at most, and one that came while the page was on its way is told when the script begins
/// to listen. The clock of a browser that runs for days may differ from ours, so it counts only for a tab that knows of no change.
const SCRIPT: &str = "\
new EventSource('/.plua/reload.plua').addEventListener('change', event => {
  const last = sessionStorage.getItem('plua change')
  if (event.data === last) return
  sessionStorage.setItem('plua change', event.data)
  if (last || Number(event.data) > performance.timeOrigin) location.reload()
})
";

/// Tells the browser of each line that comes: when the last change was, in milliseconds since 1970.
const PAGE: &str = "\
<? local folder = getEnv()['Working-Directory']
   local socket = assert(plua.connect('unix:' .. folder .. '/socket', { timeout = 3600 }))
   local events = plua.events()
   events:send({ retry = 1 })
   for time in function() return (socket:receive('*l')) end do events:send({ event = 'change', data = time }) end ?>
";

/// What is part of a page as a browser shows it. Files that pages write themselves are not, or each request would be a change.
const KINDS: &[&str] = &["plua", "lua", "html", "htm", "css", "js", "mjs", "svg"];

/// Changes that come so close are one: editors write a file in several steps.
const PAUSE: Duration = Duration::from_millis(50);

/// The pages that listen, and when the last change was.
#[derive(Default)]
struct Listening {
    pages: Vec<UnixStream>,
    changed: u128,
}

impl Listening {
    /// Tells one page, if it is there still.
    fn tell(&self, mut page: &UnixStream) -> bool {
        page.write_all(format!("{}\n", self.changed).as_bytes()).is_ok()
    }
}

/// Watches until it is dropped.
pub(crate) struct Reload {
    _watcher: RecommendedWatcher,
}

impl Reload {
    /// Watches the folder `dir` for the pages of the server in `root`.
    pub(crate) fn start(dir: &Path, root: &Path) -> Result<Reload, Box<dyn Error>> {
        let folder = root.join("reload");
        fs::create_dir_all(&folder)?;
        // Pages run as another account where root has started the server.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
        fs::write(folder.join("reload.js"), SCRIPT)?;
        fs::write(folder.join("reload.plua"), PAGE)?;
        let listener = UnixListener::bind(folder.join("socket"))?;
        fs::set_permissions(folder.join("socket"), fs::Permissions::from_mode(0o666))?;
        let listening = Arc::<Mutex<Listening>>::default();
        let also = listening.clone();
        thread::spawn(move || {
            for page in listener.incoming().flatten() {
                let mut listening = also.lock();
                if listening.tell(&page) {
                    listening.pages.push(page);
                }
            }
        });
        let (changed, changes) = channel();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| is_change(&event)) {
                let _ = changed.send(());
            }
        })?;
        watcher
            .watch(dir, RecursiveMode::Recursive)
            .map_err(|error| format!("cannot watch {}: {error}", dir.display()))?;
        thread::spawn(move || tell(&changes, &listening));
        Ok(Reload { _watcher: watcher })
    }
}

/// Tells all pages of each change. Those that are gone take no more.
fn tell(changes: &Receiver<()>, listening: &Mutex<Listening>) {
    while changes.recv().is_ok() {
        thread::sleep(PAUSE);
        while changes.try_recv().is_ok() {}
        let mut listening = listening.lock();
        listening.changed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let pages = mem::take(&mut listening.pages);
        let left = pages.into_iter().filter(|page| listening.tell(page)).collect();
        listening.pages = left;
    }
}

fn is_change(event: &notify::Event) -> bool {
    let is_shown = |path: &Path| path.extension().is_some_and(|extension| KINDS.iter().any(|kind| extension == *kind));
    let is_hidden = |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    !event.kind.is_access() && event.paths.iter().any(|path| is_shown(path) && !is_hidden(path))
}
