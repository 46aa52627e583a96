use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::PrivateKey;

// The key pair of the examples in Go's sumdb/note.
const GO_PRIVATE: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const GO_PUBLIC: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

#[test]
fn reads_a_private_key_of_sumdb_note() {
    let key = PrivateKey::parse(GO_PRIVATE).unwrap();
    assert_eq!(key.vkey().to_string(), GO_PUBLIC);
}

#[test]
fn private_key_file_is_read_back_and_only_its_owner_may_read_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("release.key");
    let key = PrivateKey::generate("example.com/release").unwrap();
    key.write(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let again = PrivateKey::read(&path).unwrap();
    assert_eq!(again.vkey(), key.vkey());
    assert_eq!(again.sign(b"text"), key.sign(b"text"));
    assert!(key.vkey().signed(b"text", &key.sign(b"text")));
    assert!(!key.vkey().signed(b"test", &key.sign(b"text")));
}

#[test]
fn never_overwrites_a_private_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("release.key");
    fs::write(&path, "precious").unwrap();
    let key = PrivateKey::generate("example.com/release").unwrap();
    assert!(key.write(&path).is_err() && key.write_ostree(&path).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[test]
fn ostree_form_is_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    let key = PrivateKey::parse(GO_PRIVATE).unwrap();
    key.write_ostree(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(PrivateKey::read_ostree("PeterNeumann", &path).unwrap().vkey().to_string(), GO_PUBLIC);
}

#[test]
fn errors_about_a_key_file_quote_none_of_it() {
    let secret = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("broken.key");
    let texts = [
        GO_PRIVATE.replace("c74f20a3", "c74f20a4"),
        GO_PRIVATE.replace("PeterNeumann", "Peter Neumann"),
        GO_PRIVATE.replace("PRIVATE", "private"),
        format!("{GO_PRIVATE}\n\n"),
        GO_PRIVATE.replace("+AYEK", "+BYEK"),
        GO_PRIVATE[..GO_PRIVATE.len() - 1].to_owned(),
        secret.repeat(200),
    ];
    for text in texts {
        fs::write(&path, &text).unwrap();
        for error in [PrivateKey::read(&path).err(), PrivateKey::read_ostree("name", &path).err()] {
            let error = format!("{:#} {:?}", error.as_ref().unwrap(), error.as_ref().unwrap());
            assert!((0..secret.len() - 6).all(|at| !error.contains(&secret[at..at + 6])), "{error}");
        }
    }
}

#[test]
fn refuses_ostree_key_whose_halves_do_not_belong_together() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    let key = PrivateKey::parse(GO_PRIVATE).unwrap();
    key.write_ostree(&path).unwrap();
    let mut text = fs::read_to_string(&path).unwrap().into_bytes();
    text[80] = if text[80] == b'A' { b'B' } else { b'A' };
    fs::write(&path, text).unwrap();
    let error = PrivateKey::read_ostree("name", &path).unwrap_err();
    assert!(format!("{error:#}").contains("public half"), "{error:#}");
}

#[test]
fn debug_form_shows_the_public_half_only() {
    let key = PrivateKey::parse(GO_PRIVATE).unwrap();
    assert_eq!(format!("{key:?}"), r#"PrivateKey(KeyId { name: "PeterNeumann", hash: [199, 79, 32, 163] })"#);
}

#[test]
fn a_private_key_is_wiped_when_it_is_dropped() {
    fn wiped<T: zeroize::ZeroizeOnDrop>() {}
    // That the one field with key material is of this type is what the compiler checks.
    let PrivateKey { vkey: _, key } = PrivateKey::generate("example.com/release").unwrap();
    let _: ed25519_dalek::SigningKey = key;
    wiped::<ed25519_dalek::SigningKey>();
}
