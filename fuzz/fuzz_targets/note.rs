//! A note that is read says what its text says, in the one spelling that is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ostree_seal_trust::note::{Note, Statement};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(note) = Note::parse(bytes) {
        assert_eq!(note.statement.to_string(), note.text);
        assert_eq!(Statement::parse(note.text).as_ref(), Ok(&note.statement));
        assert!(bytes.starts_with(note.text.as_bytes()) && !note.signatures.is_empty());
    }
});
