//! Detached metadata: the signatures in it are slices of it, one behind the other.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ostree_seal_trust::commit;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(signatures) = commit::signatures(bytes) {
        assert!(signatures.iter().map(|signature| signature.len()).sum::<usize>() <= bytes.len());
    }
});
