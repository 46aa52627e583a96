//! A policy is sealed and has keys enough, or says `unsealed`, or is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ostree_seal_trust::policy::{KeyFile, Policy, PolicyFiles};

fuzz_target!(|input: (&[u8], Vec<&[u8]>, Vec<&[u8]>)| {
    let (conf, trusted, revoked) = input;
    let files = |contents: &[&[u8]]| -> Vec<KeyFile> {
        contents
            .iter()
            .map(|content| KeyFile { path: "a.vkey".into(), content: Ok(content.to_vec()) })
            .collect()
    };
    let policy = Policy::parse(&PolicyFiles {
        path: "policy.conf".into(),
        conf: conf.to_vec(),
        trusted: files(&trusted),
        revoked: files(&revoked),
    });
    match policy {
        Ok(Policy::Sealed(policy)) => assert!(policy.trusted().len() >= policy.threshold()),
        Ok(Policy::Unsealed(_)) => assert!(conf.windows(8).any(|window| window == b"unsealed")),
        Err(refusal) => assert!(!refusal.to_string().is_empty()),
    }
});
