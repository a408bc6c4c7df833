//! Query strings: any bytes are read as the URL standard does.

#![no_main]

use fuzz::fields;
use libfuzzer_sys::fuzz_target;
use plua::fuzzing::query_pairs;

fuzz_target!(|query: &[u8]| {
    assert!(query_pairs(query).eq(fields(query)));
});
