use ostree_seal_trust::note::{Note, Statement};
use ostree_seal_trust::vkey::{Vkey, VkeyError};
use signed_note::{Note as TheirNote, StandardSigner, StandardVerifier, Verifier, VerifierList};

use crate::fixture::{good_note, note, other, release, statement};

/// The key and the two notes of the examples in Go's `sumdb/note`, from which the C2SP format comes.
const GO_VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const GO_TEXT: &str =
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const GO_SIGNATURE: &str =
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";

#[test]
fn verifies_the_signature_of_the_published_example() {
    use base64ct::{Base64, Encoding as _};
    let key = Vkey::parse(GO_VKEY.as_bytes()).unwrap();
    assert_eq!(key.id().to_string(), "PeterNeumann+c74f20a3");
    assert_eq!(key.to_string(), GO_VKEY);
    let signature = Base64::decode_vec(GO_SIGNATURE).unwrap();
    assert_eq!(signature[..4], key.id().hash);
    assert!(key.signed(GO_TEXT.as_bytes(), &signature[4..]));
    assert!(!key.signed(GO_TEXT.trim_end().as_bytes(), &signature[4..]));
}

#[test]
fn the_text_form_is_the_documented_one() {
    let expected = "ostree-seal v1\nproduct example.com/os\nimage fsverity-sha256-4096 \
        1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a\nindex 42\ncommit \
        c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0\n";
    assert_eq!(statement().to_string(), expected);
    assert_eq!(Statement::parse(expected), Ok(statement()));
}

fn verifier(key: &Vkey) -> Box<dyn Verifier> {
    Box::new(StandardVerifier::new(&key.to_string()).unwrap())
}

#[test]
fn another_implementation_verifies_our_notes() {
    let note = good_note(&[&release(), &other()]);
    let theirs = TheirNote::from_bytes(note.as_bytes()).unwrap();
    let keys = VerifierList::new(vec![verifier(&release().vkey), verifier(&other().vkey)]);
    let (verified, unverified) = theirs.verify(&keys).unwrap();
    assert_eq!((verified.len(), unverified.len()), (2, 0));
    let tampered = note.replace("index 42", "index 43");
    assert!(TheirNote::from_bytes(tampered.as_bytes()).unwrap().verify(&keys).is_err());
}

#[test]
fn reads_and_verifies_a_note_that_another_implementation_made() {
    let private = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    let signer = StandardSigner::new(private).unwrap();
    let text = statement().to_string();
    let mut theirs = TheirNote::new(text.as_bytes(), &[]).unwrap();
    theirs.add_sigs(&[&signer]).unwrap();
    let bytes = theirs.to_bytes();
    let ours = Note::parse(&bytes).unwrap();
    assert_eq!(ours.statement, statement());
    let (hash, signature) = ours.signatures[0].body.as_ref().unwrap();
    let key = Vkey::parse(GO_VKEY.as_bytes()).unwrap();
    assert_eq!((ours.signatures[0].name, hash), ("PeterNeumann", &key.id().hash));
    assert!(key.signed(ours.text.as_bytes(), signature));
}

#[test]
fn refuses_every_other_spelling_of_a_key() {
    let (name, rest) = GO_VKEY.split_once('+').unwrap();
    let (hash, base64) = rest.split_once('+').unwrap();
    let cases = [
        (format!("+{hash}+{base64}"), VkeyError::Name),
        (format!("Peter Neumann+{hash}+{base64}"), VkeyError::Name),
        (format!("Peter\u{a0}Neumann+{hash}+{base64}"), VkeyError::Name),
        (format!("{}+{hash}+{base64}", "n".repeat(256)), VkeyError::Name),
        (format!("{name}+{}+{base64}", hash.to_uppercase()), VkeyError::Hash),
        (format!("{name}+{}+{base64}", &hash[1..]), VkeyError::Hash),
        (format!("{name}++{base64}"), VkeyError::Hash),
        (format!("{name}+c74f20a4+{base64}"), VkeyError::OtherHash([0xc7, 0x4f, 0x20, 0xa3])),
        (format!("PeterNeuman+{hash}+{base64}"), VkeyError::OtherHash([0xa7, 0xb5, 0x4c, 0x84])),
        (format!("{name}+{hash}+"), VkeyError::Base64),
        (format!("{name}+{hash}+{base64}="), VkeyError::Base64),
        (format!("{name}+{hash}+{base64} "), VkeyError::Base64),
        (format!("{GO_VKEY}\n\n"), VkeyError::Base64),
        (format!("{GO_VKEY}\r\n"), VkeyError::Base64),
        (format!("{name}+{hash}"), VkeyError::Shape),
        (format!("{name}+{hash}+Ag=="), VkeyError::UnknownType(2)),
        (format!("{name}+{hash}+AQ=="), VkeyError::Length(0)),
    ];
    for (text, error) in cases {
        let found = Vkey::parse(text.as_bytes()).unwrap_err();
        match (&found, &error) {
            (VkeyError::OtherHash(_), VkeyError::OtherHash(_)) => {}
            _ => assert_eq!(found, error, "{text:?}"),
        }
    }
    assert!(Vkey::parse(format!("{GO_VKEY}\n").as_bytes()).is_ok());
}

/// The eight points of small order and their other spellings: signatures that verify for any text exist under them.
const SMALL_ORDER: [&str; 11] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

#[test]
fn refuses_keys_of_small_order() {
    for hex in SMALL_ORDER {
        let bytes: ostree_seal_trust::digest::Digest = hex.parse().unwrap();
        assert_eq!(Vkey::new("example.com/weak", &bytes.0), Err(VkeyError::NotAKey), "{hex}");
    }
}

#[test]
fn refuses_signature_in_a_second_spelling() {
    // S + L is the same scalar; a verifier that takes both lets anyone make a second signature out of a first.
    const L: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut signature = release().sign(b"text");
    assert!(release().vkey.signed(b"text", &signature));
    let mut carry = 0;
    for (byte, add) in signature[32..].iter_mut().zip(L) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = (sum & 0xff) as u8;
        carry = sum >> 8;
    }
    assert!(!release().vkey.signed(b"text", &signature));
}

#[test]
fn refuses_signature_whose_point_has_small_order() {
    for hex in SMALL_ORDER {
        let point: ostree_seal_trust::digest::Digest = hex.parse().unwrap();
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&point.0);
        assert!(!release().vkey.signed(b"text", &signature), "{hex}");
    }
}

#[test]
fn a_note_survives_reading() {
    let text = note(&statement().to_string(), &[&release(), &other()]);
    let parsed = Note::parse(text.as_bytes()).unwrap();
    assert_eq!(parsed.text, statement().to_string());
    assert_eq!(parsed.signatures.len(), 2);
    assert_eq!(parsed.signatures[1].name, "example.com/other");
}
