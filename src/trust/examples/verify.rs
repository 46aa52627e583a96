//! Verifies an image's digest: `verify DIGEST NOTE KEY.vkey...`, with the digest as `fsverity measure` prints it.

use std::{error::Error, fs};

use ostree_seal_trust::check::{Proof, check};
use ostree_seal_trust::evidence::{Evidence, Subject};
use ostree_seal_trust::policy::{KeyFile, Policy, PolicyFiles};

/// What a policy of these keys says to a note and a digest.
pub(crate) fn verify(digest: &str, note: Vec<u8>, keys: Vec<KeyFile>) -> Result<Proof, Box<dyn Error>> {
    let conf = b"[seal]\nmode = sealed\nproduct = example.com/os\n".to_vec();
    let files = PolicyFiles { path: "policy.conf".to_owned(), conf, trusted: keys, revoked: Vec::new() };
    let Policy::Sealed(policy) = Policy::parse(&files)? else { return Err("nothing is checked".into()) };
    let evidence = Evidence { subject: Subject::Image, note: Some(note), commit: None, parent: None };
    Ok(check(digest.parse()?, &evidence, &policy)?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [digest, note, keys @ ..] = arguments.as_slice() else {
        return Err("DIGEST NOTE KEY.vkey...".into());
    };
    let read = |path: &String| fs::read(path).map_err(|error| error.to_string());
    let keys = keys.iter().map(|path| KeyFile { path: path.clone(), content: read(path) }).collect();
    println!(
        "{:?}",
        verify(digest.strip_prefix("sha256:").unwrap_or(digest), fs::read(note)?, keys)?.claim()
    );
    Ok(())
}
