//! An nginx of one's own on loopback with ngx_lua, the peer with the same LuaJIT.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Where Debian keeps nginx's modules.
const MODULES: &str = "/usr/lib/nginx/modules";

/// Time it may take to answer, and to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running nginx; dropping it ends it.
pub struct Nginx {
    process: Child,
    port: u16,
    folder: TempDir,
}

impl Nginx {
    /// Starts one worker for each processor, which run `.ngx` files of the document root.
    ///
    /// # Errors
    /// A sentence when nginx or its Lua is not installed, or does not start.
    pub fn start(docroot: &Path) -> Result<Nginx, String> {
        if !Path::new(MODULES).join("ngx_http_lua_module.so").is_file() {
            return Err("nginx with ngx_lua is not installed".to_owned());
        }
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let port = free_port().map_err(|error| error.to_string())?;
        let configuration = folder.path().join("nginx.conf");
        let text = configuration_text(folder.path(), docroot, port);
        fs::write(&configuration, text).map_err(|error| error.to_string())?;
        // Debian's folder for it is not in every user's PATH.
        let program = Some("/usr/sbin/nginx").filter(|program| Path::new(program).is_file()).unwrap_or("nginx");
        let process = Command::new(program)
            .arg("-p")
            .arg(folder.path())
            .arg("-e")
            .arg(folder.path().join("error.log"))
            .arg("-c")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("nginx does not run: {error}"))?;
        let nginx = Nginx { process, port, folder };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if begun.elapsed() > PATIENCE {
                return Err(format!("nginx does not answer: {}", nginx.error_log()));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(nginx)
    }

    /// The port of 127.0.0.1 it answers on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it has logged.
    pub fn error_log(&self) -> String {
        fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.process.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let begun = Instant::now();
        while let Ok(None) = self.process.try_wait() {
            if begun.elapsed() > PATIENCE {
                let _ = self.process.kill();
                let _ = self.process.wait();
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn configuration_text(folder: &Path, docroot: &Path, port: u16) -> String {
    let (folder, docroot) = (folder.display(), docroot.display());
    format!(
        "load_module {MODULES}/ndk_http_module.so;\n\
         load_module {MODULES}/ngx_http_lua_module.so;\n\
         daemon off;\n\
         worker_processes auto;\n\
         pid {folder}/nginx.pid;\n\
         error_log {folder}/error.log warn;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n\
         access_log off;\n\
         lua_shared_dict bench 32m;\n\
         keepalive_requests 1000000000;\n\
         client_body_temp_path {folder}/body;\n\
         proxy_temp_path {folder}/proxy;\n\
         fastcgi_temp_path {folder}/fastcgi;\n\
         uwsgi_temp_path {folder}/uwsgi;\n\
         scgi_temp_path {folder}/scgi;\n\
         default_type text/html;\n\
         server {{\n\
         listen 127.0.0.1:{port};\n\
         root \"{docroot}\";\n\
         location ~ \\.ngx$ {{ content_by_lua_file $document_root$uri; }}\n\
         }}\n\
         }}\n"
    )
}

/// A port of 127.0.0.1 that nobody listens on.
pub fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
