//! The cookies of a request: any header gives its pairs in order, each trimmed, and nothing else.

#![no_main]

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use fuzz::Sent;
use libfuzzer_sys::fuzz_target;
use plua::fuzzing::{Visit, VisitSettings, received_cookies};
use plua::settings::Settings;

static SETTINGS: LazyLock<Arc<Settings>> = LazyLock::new(Arc::default);

fuzz_target!(|input: &[u8]| {
    let headers = input.split(|byte| *byte == b'\n').map(|header| ("cookie", header.to_vec())).collect();
    let exchange = Sent { headers, ..Sent::default() }.into_exchange();
    let cookies = received_cookies(&Visit::new(exchange, PathBuf::new(), VisitSettings::new(&SETTINGS, &SETTINGS)));
    for (name, value) in &cookies {
        assert!(!name.contains(&b'=') && !name.contains(&b';') && !value.contains(&b';'));
        assert!(name.trim_ascii() == name && value.trim_ascii() == value);
    }
    // What they are made of is read as the same again.
    let written: Vec<u8> =
        cookies.iter().flat_map(|(name, value)| [b" ", &name[..], b" =\t", value, b";"].concat()).collect();
    let exchange = Sent { headers: vec![("Cookie", written)], ..Sent::default() }.into_exchange();
    assert!(
        cookies == received_cookies(&Visit::new(exchange, PathBuf::new(), VisitSettings::new(&SETTINGS, &SETTINGS)))
    );
    let pairs = input.split(|byte| matches!(byte, b';' | b'\n')).filter(|pair| pair.contains(&b'='));
    assert_eq!(cookies.len(), pairs.count());
});
