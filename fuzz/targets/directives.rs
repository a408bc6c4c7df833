//! Directives: any value is taken or refused with a sentence, and what is taken can be taken again and inherited.

#![no_main]

use libfuzzer_sys::fuzz_target;
use plua::settings::{DIRECTIVES, Settings};

fuzz_target!(|input: &[u8]| {
    let Some((row, text)) = input.split_first() else { return };
    let row = &DIRECTIVES[usize::from(*row) % DIRECTIVES.len()];
    let text = String::from_utf8_lossy(text);
    // Values as httpd gives them, each a C string; what follows a line break stands in an outer place.
    let mut places = text.split('\n').map(|line| line.split('\0').collect::<Vec<_>>());
    let mut settings = Settings::default();
    let inner = places.next().unwrap_or_default();
    match row.set(&mut settings, &inner) {
        Err(sentence) => assert!(!sentence.is_empty()),
        Ok(()) => {
            let once = settings.clone();
            assert!(row.set(&mut settings, &inner).is_ok() && settings == once);
            assert!(Settings::default().merged(&once) == once && once.merged(&Settings::default()) == once);
            let mut outer = Settings::default();
            if places.next().is_some_and(|values| row.set(&mut outer, &values).is_ok()) {
                let both = outer.merged(&once);
                assert!(both.merged(&once) == both);
            }
            // Reading them must not panic.
            let _ = (once.state_wait(), once.upload_folder());
            let _ = (once.states(), once.runs(), once.files(), once.ignored_libraries(), once.log_level());
            let _ = (once.prepend(), once.append(), once.init(), once.is_raw(b"a.lua"));
        }
    }
});
