//! A commit object, and everything that the check asks of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ostree_seal_trust::commit::SignedCommit;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(commit) = SignedCommit::parse(bytes) {
        let _ = (commit.parent(), commit.digest(), commit.product(), commit.index());
        let _ = commit.is_container_import();
    }
});
