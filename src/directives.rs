//! The directives of mod_plua as httpd sees them: its command table, made from the engine's one table.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;

use plua::error::injection;
use plua::settings::{DIRECTIVES, Directive, Scope, Settings};

use crate::child::Server;
use crate::ffi;

/// What a directory's lines say; nothing when a panic kept them from being put together: its requests are refused.
pub(crate) type Directory = Option<Arc<Settings>>;

/// httpd's command table: a row for each directive in the engine's order, and the empty one that ends it.
#[repr(transparent)]
pub(crate) struct Commands([ffi::command_rec; DIRECTIVES.len() + 1]);

// SAFETY: nobody writes to the table, and its pointers are to constants.
unsafe impl Sync for Commands {}

/// Takes one line of configuration: null, or a sentence.
pub(crate) type Set =
    unsafe extern "C" fn(*mut ffi::cmd_parms, *mut c_void, c_int, *const *mut c_char) -> *const c_char;

impl Commands {
    /// The table whose every directive is set by that function.
    pub(crate) const fn new(set: Set) -> Commands {
        let mut rows = [row(ptr::null(), set, ptr::null(), 0, ptr::null()); DIRECTIVES.len() + 1];
        let mut index = 0;
        while index < DIRECTIVES.len() {
            let directive = &DIRECTIVES[index];
            let places = match directive.scope {
                // httpd refuses these in <Directory> and its like; <VirtualHost> is for `apply` to refuse.
                Scope::Process | Scope::Host => ffi::RSRC_CONF,
                Scope::Limit | Scope::Directory | Scope::Guard => ffi::RSRC_CONF | ffi::ACCESS_CONF | ffi::OR_OPTIONS,
            };
            rows[index] = row(directive.name.as_ptr(), set, directive, places as c_int, directive.help.as_ptr());
            index += 1;
        }
        Commands(rows)
    }

    /// The row httpd starts from.
    pub(crate) const fn first(&'static self) -> *const ffi::command_rec {
        self.0.as_ptr()
    }
}

const fn row(
    name: *const c_char,
    set: Set,
    directive: *const Directive,
    places: c_int,
    help: *const c_char,
) -> ffi::command_rec {
    ffi::command_rec {
        name,
        func: ffi::cmd_func { take_argv: Some(set) },
        cmd_data: directive.cast::<c_void>().cast_mut(),
        req_override: places,
        args_how: ffi::TAKE_ARGV,
        errmsg: help,
    }
}

/// Sets one line of configuration, in the settings of the server or of the directory it stands in.
///
/// # Errors
/// A sentence for the administrator; httpd puts file and line before it.
///
/// # Safety
/// `command` is httpd's live record for this line, of a row of [`Commands`]; `directory` is what `create_directory`
/// made, or null; the `count` pointers at `values` are to C strings.
pub(crate) unsafe fn apply(
    command: *mut ffi::cmd_parms,
    directory: *mut c_void,
    count: c_int,
    values: *const *mut c_char,
) -> Result<(), String> {
    injection::panic_at("directive");
    // SAFETY: the row is one of ours, so its data is a row of the engine's table, which is a constant.
    let directive = unsafe { &*(*(*command).cmd).cmd_data.cast::<Directive>() };
    let name = directive.name.to_string_lossy();
    // SAFETY: the record is live; outside of <Directory>, .htaccess and their like it names no path.
    let in_directory = !unsafe { (*command).path }.is_null();
    let settings = match directive.scope {
        scope if scope == Scope::Directory || scope == Scope::Guard || scope == Scope::Limit && in_directory => {
            // SAFETY: made by `create_directory` or null; configuration is read by one thread.
            match unsafe { directory.cast::<Directory>().as_mut() } {
                Some(Some(settings)) => Arc::make_mut(settings),
                _ => ptr::null_mut(),
            }
        }
        _ => {
            if directive.scope == Scope::Process {
                // SAFETY: the record is live; the answer is null or a sentence in its pool.
                let refusal = unsafe { ffi::ap_check_cmd_context(command, ffi::GLOBAL_ONLY) };
                if !refusal.is_null() {
                    // SAFETY: as above.
                    let refusal = unsafe { CStr::from_ptr(refusal) }.to_string_lossy();
                    return Err(format!("{refusal}: it holds for the whole process, so give it in the main server"));
                }
            }
            // SAFETY: the server of the line is live, and its record is what `create_server` made or null.
            let server = unsafe { Server::of((*command).server) };
            // SAFETY: a place inside a live record; nothing is read.
            server.map_or(ptr::null_mut(), |server| unsafe { &raw mut (*server.as_ptr()).settings })
        }
    };
    // SAFETY: in a record made by `create_directory` or `create_server`; configuration is read by one thread.
    let Some(settings) = (unsafe { settings.as_mut() }) else {
        return Err(format!("{name}: httpd has no record to keep it in"));
    };
    let mut texts = Vec::new();
    for index in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY: the caller vouches for `count` C strings.
        let value = unsafe { CStr::from_ptr(*values.add(index)) };
        texts.push(value.to_str().map_err(|_| {
            format!("{name}: '{}' is not UTF-8: save the configuration file as UTF-8", value.to_string_lossy())
        })?);
    }
    directive.set(settings, &texts).map_err(|sentence| format!("{name}: {sentence}"))?;
    // SAFETY: the record is live; the answer is null or a sentence in its pool.
    let in_htaccess = || !unsafe { ffi::ap_check_cmd_context(command, ffi::NOT_IN_HTACCESS) }.is_null();
    if directive.scope == Scope::Guard && settings.engine() && in_htaccess() {
        return Err(format!("{name}: a .htaccess can only switch it Off; On is for the server's own configuration"));
    }
    Ok(())
}
