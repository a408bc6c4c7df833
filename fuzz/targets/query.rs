//! Query strings: any bytes are read as the URL standard does.

#![no_main]

use fuzz::fields;
use libfuzzer_sys::fuzz_target;
use plua::fuzzing::Fields;

fuzz_target!(|query: &[u8]| {
    let expected = fields(query);
    let decoded = Fields::decode(query, expected.len()).unwrap();
    assert!(decoded.iter().eq(expected.iter().map(|(name, value)| (&**name, &**value))));
});
