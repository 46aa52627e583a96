use base64ct::{Base64, Encoding as _};

use super::{Bindings, add_signature, decode_public_key, decode_signature};
use crate::signing::PrivateKey;

const TEXT: &str = "ostree-seal v1\nproduct example.com/os\nimage fsverity-sha256-4096 \
    1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a\nindex 42\n";

fn key(name: &str) -> PrivateKey {
    PrivateKey::generate(name).unwrap()
}

#[test]
fn takes_a_signature_raw_in_base64_and_in_hex() {
    let signature = key("example.com/a").sign(b"text");
    let base64 = Base64::encode_string(&signature);
    let hex = signature.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let wrapped = format!("{}\n{}\n", &base64[..64], &base64[64..]);
    for form in [
        signature.to_vec(),
        base64.into_bytes(),
        wrapped.into_bytes(),
        hex.to_uppercase().into_bytes(),
        (hex + "\n").into_bytes(),
    ] {
        assert_eq!(decode_signature(&form).unwrap(), signature);
    }
}

#[test]
fn refuses_what_is_no_signature() {
    for form in [
        vec![],
        vec![1; 63],
        vec![1; 65],
        vec![b'+'; 128],
        vec![b'!'; 88],
        vec![0xff; 88],
        "\u{e9}".repeat(64).into_bytes(),
    ] {
        assert!(decode_signature(&form).is_err(), "{form:?}");
    }
}

#[test]
fn a_key_signs_a_note_once() {
    let (one, two) = (key("example.com/one"), key("example.com/two"));
    let signed = add_signature(None, TEXT, one.vkey(), &one.sign(TEXT.as_bytes())).unwrap();
    let again = add_signature(Some(&signed.note), TEXT, one.vkey(), &one.sign(TEXT.as_bytes())).unwrap();
    assert!(!signed.before && again.before);
    assert_eq!(signed.note, again.note);
    let both = add_signature(Some(&again.note), TEXT, two.vkey(), &two.sign(TEXT.as_bytes())).unwrap();
    assert_eq!(both.note.matches('\u{2014}').count(), 2);
    assert!(both.note.starts_with(&signed.note));
}

#[test]
fn refuses_to_attach_a_signature_that_is_not_the_keys() {
    let (one, two) = (key("example.com/one"), key("example.com/two"));
    assert!(add_signature(None, TEXT, one.vkey(), &two.sign(TEXT.as_bytes())).is_err());
    assert!(add_signature(None, TEXT, one.vkey(), &one.sign(b"another text")).is_err());
}

#[test]
fn refuses_to_sign_a_note_that_says_something_else() {
    let one = key("example.com/one");
    let signed = add_signature(None, TEXT, one.vkey(), &one.sign(TEXT.as_bytes())).unwrap();
    let other = TEXT.replace("42", "43");
    let error =
        add_signature(Some(&signed.note), &other, one.vkey(), &one.sign(other.as_bytes())).unwrap_err();
    assert!(error.to_string().contains("index 42"), "{error}");
}

#[test]
fn refuses_bindings_that_differ_between_flag_and_commit() {
    let bindings =
        |product: Option<&str>, index| Bindings { product: product.map(|text| text.parse().unwrap()), index };
    let (os, car) = (Some("example.com/os"), Some("example.com/car"));
    assert_eq!(bindings(os, None).and(bindings(None, Some(4))).unwrap(), bindings(os, Some(4)));
    assert_eq!(bindings(os, Some(4)).and(bindings(os, Some(4))).unwrap(), bindings(os, Some(4)));
    assert!(bindings(os, None).and(bindings(car, None)).is_err());
    assert!(bindings(None, Some(4)).and(bindings(None, Some(5))).is_err());
    let error = bindings(os, None).complete().unwrap_err().to_string();
    assert!(error.contains("--index") && error.contains("ostree-seal.index"), "{error}");
}

#[test]
fn refuses_what_is_no_public_key() {
    let forms = [
        "",
        "-----BEGIN PUBLIC KEY-----",
        "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
        "AAAA",
        "zz",
    ];
    for form in forms {
        assert!(decode_public_key(form.as_bytes()).is_err(), "{form:?}");
    }
    for form in [vec![1; 31], vec![1; 33], vec![b'g'; 64], vec![b'!'; 44], vec![b'A'; 60]] {
        assert!(decode_public_key(&form).is_err(), "{form:?}");
    }
}
