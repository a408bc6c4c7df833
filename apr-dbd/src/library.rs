//! Libraries that drivers were linked with, and functions in them.

use std::ffi::c_void;
use std::ptr;

/// Declares `Interface`: functions of a library under their names without a prefix, which comes first, with what the
/// library is called.
macro_rules! interface {
    ($prefix:literal, $called:literal; $($name:ident($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions used here, under their names without the prefix.
        #[allow(non_snake_case, reason = "functions are called as their libraries call them")]
        pub(crate) struct Interface {
            $(pub(crate) $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        static FOUND: std::sync::OnceLock<Result<Interface, String>> = std::sync::OnceLock::new();

        impl Interface {
            /// The functions of the library that the driver in whose memory `driver` lies uses. They are looked for once, and
            /// `prepare` has the library ready for all its users then.
            ///
            /// # Errors
            /// A sentence that says what the library lacks, and what `prepare` says.
            ///
            /// # Safety
            /// `driver` is the record of APR's driver of this library, loaded to stay.
            pub(crate) unsafe fn of(
                driver: *const std::ffi::c_void,
                prepare: impl FnOnce(&Interface, *mut std::ffi::c_void) -> Result<(), String>,
            ) -> Result<&'static Interface, String> {
                let found = FOUND.get_or_init(|| {
                    // SAFETY: the caller's promise.
                    let library = unsafe { $crate::library::library(driver) };
                    // SAFETY: as above: the driver was linked with it.
                    let interface = unsafe { Interface::find(library) }?;
                    prepare(&interface, library).map(|()| interface)
                });
                found.as_ref().map_err(Clone::clone)
            }

            /// # Safety
            /// `library` comes from `dlopen` and is never closed, and its functions of these names are those meant here.
            unsafe fn find(library: *mut std::ffi::c_void) -> Result<Interface, String> {
                Ok(Interface {
                    $($name: {
                        let name = concat!($prefix, stringify!($name), "\0");
                        // SAFETY: the name ends with a NUL. No library changes the signature of a function.
                        unsafe {
                            let function = libc::dlsym(library, name.as_ptr().cast());
                            if function.is_null() {
                                let name = name.trim_end_matches('\0');
                                return Err(format!(concat!("the library of ", $called, " has no {}"), name));
                            }
                            std::mem::transmute::<
                                *mut std::ffi::c_void,
                                unsafe extern "C" fn($($argument),*) $(-> $result)?,
                            >(function)
                        }
                    },)*
                })
            }
        }
    };
}

pub(crate) use interface;

/// The library in whose memory a driver's record lies, in which names of the libraries it was linked with are found too.
///
/// # Safety
/// `driver` is a driver's record, loaded to stay.
pub(crate) unsafe fn library(driver: *const c_void) -> *mut c_void {
    // SAFETY: the record of facts is written before it is read. Opening what is loaded already runs no code of it; it
    // is never closed.
    unsafe {
        let mut facts: libc::Dl_info = std::mem::zeroed();
        let mut library = ptr::null_mut();
        if libc::dladdr(driver, &raw mut facts) != 0 && !facts.dli_fname.is_null() {
            library = libc::dlopen(facts.dli_fname, libc::RTLD_NOW | libc::RTLD_NOLOAD);
        }
        if library.is_null() {
            // The driver is part of the program itself.
            library = libc::dlopen(ptr::null(), libc::RTLD_NOW);
        }
        library
    }
}
