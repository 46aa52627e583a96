//! The example, run.

#![allow(clippy::unwrap_used, reason = "a test")]

use ed25519_dalek::{Signer as _, SigningKey};
use ostree_seal_trust::note::{Statement, signature_line};
use ostree_seal_trust::policy::KeyFile;
use ostree_seal_trust::vkey::Vkey;

#[allow(dead_code, reason = "its main is not called")]
#[path = "../examples/verify.rs"]
mod example;

#[test]
fn the_example_verifies_a_note_against_keys_and_a_digest() {
    let digest = "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95";
    let pair = SigningKey::from_bytes(&[7; 32]);
    let key = Vkey::new("example.com/release", pair.verifying_key().as_bytes()).unwrap();
    let product = "example.com/os".parse().unwrap();
    let text = Statement { product, image: digest.parse().unwrap(), index: 1, commit: None }.to_string();
    let line = signature_line(key.id(), &pair.sign(text.as_bytes()).to_bytes());
    let verify = |digest: &str, key: &str| {
        let file =
            KeyFile { path: "trusted.d/release.vkey".to_owned(), content: Ok(key.as_bytes().to_vec()) };
        example::verify(digest, format!("{text}\n{line}").into_bytes(), vec![file])
    };
    let proof = verify(digest, &key.to_string()).unwrap();
    assert_eq!(proof.claim().signers, [key.id().clone()]);

    let refused = verify(&digest.replace('3', "4"), &key.to_string()).unwrap_err().to_string();
    assert!(refused.starts_with("the signed digest is 3d248c"), "{refused}");
    let other = Vkey::new("example.com/other", SigningKey::from_bytes(&[8; 32]).verifying_key().as_bytes());
    let refused = verify(digest, &other.unwrap().to_string()).unwrap_err().to_string();
    assert!(refused.starts_with("0 of 1 trusted keys signed the note"), "{refused}");
}
