use std::fs;

use base64ct::{Base64, Encoding as _};
use ostree::glib::variant::ToVariant as _;
use serde_json::json;

use crate::program::{Workshop, value};

const CONF: &str = "[seal]\nmode = sealed\nproduct = example.com/os\naccept = note, commit\n";

/// A key pair made by openssl, in openssl.pem and openssl.pub.
fn openssl_key(shop: &Workshop) {
    shop.openssl(&["genpkey", "-algorithm", "ed25519", "-out", "openssl.pem"]).done();
    shop.openssl(&["pkey", "-in", "openssl.pem", "-pubout", "-out", "openssl.pub"]).done();
    shop.openssl(&["pkey", "-in", "openssl.pem", "-pubout", "-outform", "DER", "-out", "openssl.der"]).done();
    shop.openssl(&["pkey", "-in", "openssl.pem", "-outform", "DER", "-out", "openssl.private"]).done();
}

/// A vkey as a public key for openssl.
fn public_for_openssl(shop: &Workshop, vkey: &str) {
    let base64 = vkey.trim().splitn(3, '+').last().unwrap();
    let key = Base64::decode_vec(base64).unwrap();
    let spki = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    shop.write("public.der", [&spki, &key[1..]].concat());
}

fn openssl_verifies(shop: &Workshop, message: &str, signature: &str) -> bool {
    let common = ["pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", "public.der", "-rawin"];
    shop.openssl(&[common.as_slice(), &["-in", message, "-sigfile", signature]].concat()).code == Some(0)
}

#[test]
fn signing_with_openssl_takes_the_documented_commands() {
    let shop = Workshop::new();
    openssl_key(&shop);
    let text = shop.seal(&["note", "text", "--repo=repo", "os"]).done();
    shop.write("text", &text);
    shop.openssl(&[
        "pkeyutl",
        "-sign",
        "-inkey",
        "openssl.pem",
        "-rawin",
        "-in",
        "text",
        "-out",
        "signature",
    ])
    .done();
    shop.seal(&["keygen", "--name=example.com/hsm", "--public=openssl.pub", "hsm"]).done();
    let raw = fs::read(shop.path("signature")).unwrap();
    shop.write("signature.base64", Base64::encode_string(&raw) + "\n");
    shop.write("signature.hex", raw.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    let attach = ["note", "attach", "--key=hsm.vkey"];
    for signature in ["signature", "signature.base64", "signature.hex"] {
        let (signature, note) = (format!("--signature={signature}"), format!("--note=note.{signature}"));
        let more = ["--text=text", &signature, &note, "--repo=repo", "os"];
        shop.seal(&[attach.as_slice(), &more].concat()).done();
    }
    let note = shop.read("note.signature");
    assert_eq!([&note, &note], [&shop.read("note.signature.base64"), &shop.read("note.signature.hex")]);
    assert_eq!(shop.notes(&shop.id("os")), [note]);
    shop.trust(CONF, &["hsm"]);
    shop.seal(&["verify", "--trust=trust", "--repo=repo", "os"]).done();

    // A second person signs the same text; the note says what it is.
    let id = shop.keygen("second");
    let private = ostree_seal::signing::PrivateKey::read(&shop.path("second.key")).unwrap();
    shop.write("second.sig", private.sign(text.as_bytes()));
    let more = ["--key=second.vkey", "--signature=second.sig", "--note=note.signature"];
    let said = shop.seal(&[["note", "attach"].as_slice(), &more].concat()).done();
    assert_eq!(said.trim(), format!("signature of {id} added"));
    assert_eq!(shop.read("note.signature").matches('\u{2014}').count(), 2);
}

#[test]
fn note_attach_refuses_what_the_key_did_not_sign() {
    let shop = Workshop::new();
    shop.keygen("one");
    shop.keygen("two");
    let text = shop.seal(&["note", "text", "--repo=repo", "os"]).done();
    shop.write("text", &text);
    let two = ostree_seal::signing::PrivateKey::read(&shop.path("two.key")).unwrap();
    shop.write("signature", two.sign(text.as_bytes()));
    shop.write("other-text", text.replace("index 42", "index 43"));
    shop.write("no-text", "anything");
    shop.write("no-text.sig", two.sign(b"anything"));
    let attach =
        |arguments: &[&str]| shop.seal(&[["note", "attach", "--note=note"].as_slice(), arguments].concat());
    attach(&["--key=one.vkey", "--text=text", "--signature=signature"]).failed(1);
    attach(&["--key=two.vkey", "--text=other-text", "--signature=signature"]).failed(1);
    attach(&["--key=two.vkey", "--text=text", "--signature=text"]).failed(1);
    attach(&["--key=two.vkey", "--text=no-text", "--signature=no-text.sig"]).failed(1);
    attach(&["--key=two.vkey", "--signature=signature"]).failed(1);
    assert!(!shop.path("note").exists());
    let other = shop.commit(&["--add-metadata-string=version=2"]);
    let repo = ["--key=two.vkey", "--text=text", "--signature=signature", "--repo=repo", "os"];
    assert!(shop.seal(&[["note", "attach"].as_slice(), &repo].concat()).failed(1).contains(&other));
    attach(&["--key=two.vkey", "--text=text", "--signature=signature"]).done();
}

#[test]
fn openssl_verifies_our_notes() {
    let shop = Workshop::new();
    shop.keygen("release");
    shop.seal(&["sign", "--repo=repo", "os", "--key=release.key", "--note=note"]).done();
    let note = shop.read("note");
    let (text, line) = note.rsplit_once("\n\n").unwrap();
    shop.write("text", format!("{text}\n"));
    let signature = Base64::decode_vec(line.trim().rsplit(' ').next().unwrap()).unwrap();
    shop.write("signature", &signature[4..]);
    public_for_openssl(&shop, &shop.read("release.vkey"));
    assert!(openssl_verifies(&shop, "text", "signature"));
    shop.write("text", format!("{text}\n\n"));
    assert!(!openssl_verifies(&shop, "text", "signature"));
}

#[test]
fn openssl_verifies_our_signature_of_a_commit_and_ostree_shows_it() {
    let shop = Workshop::new();
    shop.keygen("release");
    shop.seal(&["sign", "--repo=repo", "os", "--key=release.key", "--embed", "--ostree"]).done();
    let id = shop.id("os");
    let detached = shop.detached(&id).unwrap();
    let signatures = value(&detached, "ostree.sign.ed25519").unwrap();
    assert_eq!(signatures.type_().as_str(), "aay");
    let signatures: Vec<Vec<u8>> = signatures.get().unwrap();
    assert_eq!((signatures.len(), signatures[0].len()), (1, 64));
    shop.write("signature", &signatures[0]);
    fs::copy(shop.object(&id, "commit"), shop.path("commit")).unwrap();
    public_for_openssl(&shop, &shop.read("release.vkey"));
    assert!(openssl_verifies(&shop, "commit", "signature"));
    let shown = |key: &str| {
        let option = format!("--print-detached-metadata-key={key}");
        shop.ostree(&["show", "--repo=repo", &option, "os"]).done()
    };
    let listed = signatures.to_variant().print(true);
    assert_eq!(shown("ostree.sign.ed25519").trim(), listed);
    assert!(shown("ostree-seal.note").starts_with("['ostree-seal v1\\nproduct example.com/os\\n"));
}

#[test]
fn verify_accepts_a_commit_that_openssl_signed_as_ostree_does() {
    let shop = Workshop::new();
    openssl_key(&shop);
    shop.keygen("unused");
    shop.seal(&["sign", "--repo=repo", "os", "--key=unused.key", "--embed"]).done();
    let id = shop.id("os");
    fs::copy(shop.object(&id, "commit"), shop.path("commit")).unwrap();
    shop.openssl(&[
        "pkeyutl",
        "-sign",
        "-inkey",
        "openssl.pem",
        "-rawin",
        "-in",
        "commit",
        "-out",
        "signature",
    ])
    .done();
    // Detached metadata of its own, as `ostree sign` makes it, with a short signature ahead of the good one.
    fs::remove_file(shop.object(&id, "commitmeta")).unwrap();
    let signatures = vec![vec![1_u8; 10], fs::read(shop.path("signature")).unwrap()];
    shop.set_detached(&id, "ostree.sign.ed25519", &signatures.to_variant());
    shop.seal(&["keygen", "--name=example.com/ostree", "--public=openssl.der", "ostree"]).done();
    shop.trust(CONF, &["ostree"]);
    let said = shop.seal(&["verify", "--trust=trust", "--repo=repo", "os", "--json"]);
    assert_eq!((&said.json()["evidence"], said.code), (&json!("commit"), Some(0)));
    assert_eq!(
        said.json()["skipped_signatures"],
        json!([{"name": null, "reason": "malformed or of unknown type"}])
    );
}

#[test]
fn one_key_signs_for_ostree_and_for_notes() {
    let shop = Workshop::new();
    openssl_key(&shop);
    let private = fs::read(shop.path("openssl.private")).unwrap();
    let public = fs::read(shop.path("openssl.der")).unwrap();
    let seed = &private[private.len() - 32..];
    // What `ostree sign --sign-type=ed25519` takes: seed and public key.
    shop.write("ostree-secret", Base64::encode_string(&[seed, &public[12..]].concat()) + "\n");
    let from = ["keygen", "--name=example.com/one", "--from-ostree=ostree-secret", "--to-ostree", "one"];
    let vkey = shop.seal(&from).done();
    assert_eq!(shop.read("one.ostree-secret"), shop.read("ostree-secret"));
    assert_eq!(shop.read("one.ostree-public"), Base64::encode_string(&public[12..]) + "\n");
    for form in ["openssl.pub", "openssl.der", "one.ostree-public"] {
        let (public, prefix) = (format!("--public={form}"), format!("of-{form}"));
        let again = shop.seal(&["keygen", "--name=example.com/one", &public, &prefix]).done();
        assert_eq!(again, vkey, "{form}");
    }
    shop.write("hex", public[12..].iter().map(|byte| format!("{byte:02X}")).collect::<String>());
    assert_eq!(shop.seal(&["keygen", "--name=example.com/one", "--public=hex", "hex"]).done(), vkey);
    shop.seal(&["sign", "--repo=repo", "os", "--key=one.key"]).done();
    shop.trust(CONF, &["of-openssl.pub"]);
    shop.seal(&["verify", "--trust=trust", "--repo=repo", "os"]).done();
}

#[test]
fn notes_travel_with_ostree_pull() {
    let shop = Workshop::new();
    shop.keygen("release");
    shop.trust(CONF, &["release"]);
    shop.seal(&["sign", "--repo=repo", "os", "--key=release.key"]).done();
    for mode in ["archive", "bare-user-only", "bare"] {
        let repo = format!("--repo={mode}");
        shop.ostree(&["init", &repo, &format!("--mode={mode}")]).done();
        shop.ostree(&["pull-local", &repo, "repo", "os"]).done();
        let said = shop.seal(&["verify", "--trust=trust", &repo, "os", "--json"]);
        assert_eq!((said.code, &said.json()["evidence"]), (Some(0), &json!("note")), "{mode}: {}", said.err);
    }
}
