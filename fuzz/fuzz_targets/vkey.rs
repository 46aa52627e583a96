//! A key has one spelling.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ostree_seal_trust::vkey::Vkey;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(key) = Vkey::parse(bytes) {
        assert_eq!(key.to_string().as_bytes(), bytes.strip_suffix(b"\n").unwrap_or(bytes));
    }
});
