use ostree_seal_trust::check::{approve, authenticate};
use ostree_seal_trust::claim::ClaimError;
use ostree_seal_trust::digest::Digest;
use ostree_seal_trust::evidence::{Evidence, EvidenceKind, Subject};
use ostree_seal_trust::names::CommitId;
use ostree_seal_trust::note::{NoteError, SIGNATURES_MAX, Statement, signature_line};
use ostree_seal_trust::policy::{PolicyError, SkippedKeyReason};
use ostree_seal_trust::refusal::Refusal;
use ostree_seal_trust::signatures::{SignatureError, SkippedReason};
use ostree_seal_trust::vkey::{KeyId, VkeyError};

use crate::fixture::{
    COMMIT, CONF, IMAGE, Key, Trust, check, evidence, good_note, note, other, refusal, release, statement,
    third, trusting,
};

/// Refused for a text that isn't one of ours.
fn malformed(note: impl Into<Vec<u8>>) -> NoteError {
    match refusal(&evidence(note), &trusting(&[&release()])) {
        Refusal::Note(error) => error,
        other => panic!("refused for another reason: {other}"),
    }
}

/// Refused for line number `expected` of a signed text.
fn wrong_line(text: &str, expected: usize) {
    match malformed(note(text, &[&release()])) {
        NoteError::Line { number, .. } if number == expected => {}
        other => panic!("refused for another reason: {other}"),
    }
}

#[test]
fn accepts_image_with_a_note_of_a_trusted_key() {
    let claim = check(&evidence(good_note(&[&release()])), &trusting(&[&release()])).unwrap();
    assert_eq!(claim.kind, EvidenceKind::Note);
    assert_eq!(claim.digest, IMAGE);
    assert_eq!(claim.product, Some("example.com/os".parse().unwrap()));
    assert_eq!((claim.index, claim.commit), (Some(42), Some(COMMIT)));
    assert_eq!(claim.signers, [release().vkey.id().clone()]);
    assert!(claim.skipped.is_empty());
}

#[test]
fn accepts_a_note_that_holds_for_any_commit() {
    let mut statement = statement();
    statement.commit = None;
    let note = note(&statement.to_string(), &[&release()]);
    assert!(check(&evidence(note), &trusting(&[&release()])).is_ok());
}

#[test]
fn refuses_unsigned_image() {
    let nothing = Evidence { subject: Subject::Commit(COMMIT), note: None, commit: None, parent: None };
    let refused = refusal(&nothing, &trusting(&[&release()]));
    assert_eq!(refused, Refusal::NoEvidence { accepted: vec![EvidenceKind::Note, EvidenceKind::Commit] });
    let text = statement().to_string();
    assert_eq!(malformed(text.clone()), NoteError::NoSignature);
    assert_eq!(malformed(format!("{text}\n")), NoteError::NoSignature);
    assert_eq!(malformed(""), NoteError::NoSignature);
}

#[test]
fn refuses_image_signed_by_another_key() {
    let refused = refusal(&evidence(good_note(&[&other()])), &trusting(&[&release()]));
    let Refusal::Signatures(SignatureError::TooFew { threshold: 1, counted, skipped, trusted, .. }) =
        &refused
    else {
        panic!("{refused}");
    };
    assert!(counted.is_empty());
    assert_eq!(skipped[0].reason, SkippedReason::UnknownKey);
    assert_eq!(trusted, &[release().vkey.id().clone()]);
    let sentence = refused.to_string();
    assert!(sentence.contains(&other().vkey.id().to_string()), "{sentence}");
    assert!(sentence.contains(&release().vkey.id().to_string()), "{sentence}");
}

#[test]
fn refuses_signature_of_another_key_under_a_trusted_name() {
    let impostor = Key::new("example.com/release", 9);
    let refused = refusal(&evidence(good_note(&[&impostor])), &trusting(&[&release()]));
    assert!(matches!(refused, Refusal::Signatures(SignatureError::TooFew { .. })), "{refused}");
    let text = statement().to_string();
    let line = signature_line(release().vkey.id(), &impostor.sign(text.as_bytes()));
    let refused = refusal(&evidence(format!("{text}\n{line}")), &trusting(&[&release()]));
    assert_eq!(refused, Refusal::Signatures(SignatureError::Broken { key: release().vkey.id().clone() }));
}

#[test]
fn refuses_image_signed_by_revoked_key() {
    let trust = Trust::new(CONF, &[&release(), &other()], &[&release()]);
    let refused = refusal(&evidence(good_note(&[&release()])), &trust.sealed());
    let Refusal::Signatures(SignatureError::TooFew { skipped, trusted, .. }) = &refused else {
        panic!("{refused}")
    };
    assert_eq!(skipped[0].reason, SkippedReason::Revoked);
    assert_eq!(trusted, &[other().vkey.id().clone()]);
}

#[test]
fn refuses_revoked_key_under_another_name() {
    let renamed = Key::new("example.com/renamed", 1);
    let trust = Trust::new(CONF, &[&renamed, &other()], &[&release()]);
    let refused = refusal(&evidence(good_note(&[&renamed])), &trust.sealed());
    let Refusal::Signatures(SignatureError::TooFew { skipped, .. }) = &refused else { panic!("{refused}") };
    assert_eq!(skipped[0].reason, SkippedReason::Revoked);
}

#[test]
fn accepts_good_key_beside_a_revoked_one() {
    let policy = Trust::new(CONF, &[&release(), &other()], &[&release()]).sealed();
    let claim = check(&evidence(good_note(&[&release(), &other()])), &policy).unwrap();
    assert_eq!(claim.signers, [other().vkey.id().clone()]);
    assert_eq!(claim.skipped[0].reason, SkippedReason::Revoked);
}

#[test]
fn refuses_policy_whose_only_key_is_revoked() {
    let refused = Trust::new(CONF, &[&release()], &[&release()]).load().unwrap_err();
    let Refusal::Policy(PolicyError::TooFewKeys { threshold: 1, usable: 0, skipped, .. }) = refused else {
        panic!("{refused}")
    };
    assert_eq!(skipped[0].reason, SkippedKeyReason::Revoked(release().vkey.id().clone()));
}

#[test]
fn refuses_one_key_twice_where_two_keys_must_sign() {
    let conf = format!("{CONF}threshold = 2\n");
    let policy = Trust::new(&conf, &[&release(), &other()], &[]).sealed();
    let refused = refusal(&evidence(good_note(&[&release(), &release()])), &policy);
    let Refusal::Signatures(SignatureError::TooFew { threshold: 2, counted, skipped, .. }) = refused else {
        panic!("{refused}")
    };
    assert_eq!(counted.len(), 1);
    assert_eq!(skipped[0].reason, SkippedReason::Repeated);
    assert!(check(&evidence(good_note(&[&release(), &other()])), &policy).is_ok());
}

#[test]
fn refuses_one_key_under_two_names_where_two_keys_must_sign() {
    let conf = format!("{CONF}threshold = 2\n");
    let alias = Key::new("example.com/alias", 1);
    let policy = Trust::new(&conf, &[&release(), &alias, &other()], &[]).sealed();
    let refused = refusal(&evidence(good_note(&[&release(), &alias])), &policy);
    assert!(
        matches!(&refused, Refusal::Signatures(SignatureError::TooFew { counted, .. }) if counted.len() == 1),
        "{refused}"
    );
}

#[test]
fn refuses_policy_that_wants_more_keys_than_it_has() {
    let conf = format!("{CONF}threshold = 2\n");
    let alias = Key::new("example.com/alias", 1);
    for keys in [vec![release()], vec![release(), release()], vec![release(), alias]] {
        let refused = Trust::new(&conf, &keys.iter().collect::<Vec<_>>(), &[]).load().unwrap_err();
        assert!(
            matches!(refused, Refusal::Policy(PolicyError::TooFewKeys { threshold: 2, usable: 1, .. })),
            "{refused}"
        );
    }
}

#[test]
fn refuses_image_of_another_product() {
    let text = statement().to_string().replace("example.com/os", "example.com/os2");
    let refused = refusal(&evidence(note(&text, &[&release()])), &trusting(&[&release()]));
    assert!(matches!(refused, Refusal::Claim(ClaimError::OtherProduct { found: Some(_), .. })), "{refused}");
    let text = statement().to_string().replace("example.com/os", "Example.com/os");
    let refused = refusal(&evidence(note(&text, &[&release()])), &trusting(&[&release()]));
    assert!(matches!(refused, Refusal::Claim(ClaimError::OtherProduct { found: Some(_), .. })), "{refused}");
}

#[test]
fn refuses_older_image_than_the_minimum_index() {
    for (minimum, accepted) in [(0, true), (41, true), (42, true), (43, false), (u64::MAX, false)] {
        let conf = format!("{CONF}minimum-index = {minimum}\n");
        let policy = Trust::new(&conf, &[&release()], &[]).sealed();
        match check(&evidence(good_note(&[&release()])), &policy) {
            Ok(_) => assert!(accepted, "{minimum}"),
            Err(Refusal::Claim(ClaimError::IndexTooLow { found: Some(42), .. })) => {
                assert!(!accepted, "{minimum}")
            }
            Err(refused) => panic!("{refused}"),
        }
    }
}

#[test]
fn refuses_image_with_another_digest() {
    let mut statement = statement();
    statement.image = Digest([0x1b; 32]);
    let refused = refusal(&evidence(note(&statement.to_string(), &[&release()])), &trusting(&[&release()]));
    assert_eq!(
        refused,
        Refusal::Claim(ClaimError::OtherDigest { expected: Digest([0x1b; 32]), found: IMAGE })
    );
}

#[test]
fn refuses_note_for_another_commit() {
    let mut statement = statement();
    statement.commit = Some(CommitId([0xc1; 32]));
    let refused = refusal(&evidence(note(&statement.to_string(), &[&release()])), &trusting(&[&release()]));
    assert_eq!(
        refused,
        Refusal::Claim(ClaimError::OtherCommit { note: CommitId([0xc1; 32]), subject: COMMIT })
    );
}

#[test]
fn refuses_note_with_an_unknown_line() {
    let text = statement().to_string();
    wrong_line(&text.replace("commit ", "valid-until 2027\ncommit "), 5);
    wrong_line(&text.replace("index ", "channel beta\nindex "), 4);
    let error = malformed(note(&format!("{text}valid-until 2027\n"), &[&release()]));
    assert_eq!(error, NoteError::Trailing("valid-until 2027\\n".to_owned()));
    wrong_line(&text.replace("ostree-seal v1", "ostree-seal v2"), 1);
}

#[test]
fn refuses_note_with_a_repeated_line() {
    let text = statement().to_string();
    for (line, number) in [("ostree-seal v1", 2), ("product", 3), ("image", 4), ("index", 5)] {
        let line = text.lines().find(|candidate| candidate.starts_with(line)).unwrap();
        wrong_line(&text.replace(line, &format!("{line}\n{line}")), number);
    }
    let commit = text.lines().last().unwrap();
    let error = malformed(note(&format!("{text}{commit}\n"), &[&release()]));
    assert!(matches!(error, NoteError::Trailing(_)), "{error}");
}

#[test]
fn refuses_note_with_reordered_lines() {
    let text = statement().to_string();
    let lines: Vec<&str> = text.lines().collect();
    for first in 0..lines.len() {
        for second in first + 1..lines.len() {
            let mut lines = lines.clone();
            lines.swap(first, second);
            wrong_line(&(lines.join("\n") + "\n"), first + 1);
        }
    }
}

#[test]
fn refuses_note_with_a_missing_line() {
    let text = statement().to_string();
    let lines: Vec<&str> = text.lines().collect();
    for missing in 0..lines.len() - 1 {
        let mut lines = lines.clone();
        lines.remove(missing);
        wrong_line(&(lines.join("\n") + "\n"), missing + 1);
    }
}

#[test]
fn refuses_note_with_trailing_bytes() {
    let note = good_note(&[&release()]);
    for trailing in
        ["x", " ", "x\n", "\u{2014} name\n", "\u{2014} name AAAAAAAA", "\u{2014} name AAAAAAAA \n"]
    {
        let error = malformed(format!("{note}{trailing}"));
        assert!(matches!(error, NoteError::SignatureLine(_)), "{trailing:?}: {error}");
    }
    assert!(matches!(malformed(format!("{note}\n")), NoteError::NoSignature));
    assert!(matches!(malformed(note.trim_end()), NoteError::SignatureLine(_)));
}

#[test]
fn refuses_note_with_bytes_before_it() {
    for before in ["\n", " ", "\u{feff}", "ostree-seal v1\n\n", "\u{2014} name AAAAAAAA\n"] {
        let text = format!("{before}{}", statement());
        let error = malformed(note(&text, &[&release()]));
        assert!(matches!(error, NoteError::Line { .. }), "{before:?}: {error}");
    }
}

#[test]
fn refuses_note_with_carriage_returns() {
    let error = malformed(good_note(&[&release()]).replace('\n', "\r\n"));
    assert!(matches!(error, NoteError::Control(14, b'\r')), "{error}");
    let text = statement().to_string().replace('\n', "\r\n");
    assert!(matches!(malformed(note(&text, &[&release()])), NoteError::Control(..)));
}

#[test]
fn refuses_note_with_nul() {
    let text = statement().to_string().replace("/os", "/os\0");
    assert!(matches!(malformed(note(&text, &[&release()])), NoteError::Control(_, 0)));
    assert!(matches!(malformed(good_note(&[&release()]) + "\0"), NoteError::Control(_, 0)));
}

#[test]
fn refuses_note_that_is_not_utf8() {
    let mut note = good_note(&[&release()]).into_bytes();
    note[20] = 0xff;
    assert_eq!(malformed(note), NoteError::NotText(20));
}

#[test]
fn accepts_as_many_signatures_as_are_documented_and_refuses_more() {
    let strangers: Vec<Key> = (10..74).map(|seed| Key::new("example.com/stranger", seed)).collect();
    for count in [16, SIGNATURES_MAX] {
        let mut keys: Vec<&Key> = strangers.iter().take(count - 1).collect();
        let key = release();
        keys.push(&key);
        let claim = check(&evidence(good_note(&keys)), &trusting(&[&key])).unwrap();
        assert_eq!((claim.signers.len(), claim.skipped.len()), (1, count - 1));
    }
    let key = release();
    let mut keys: Vec<&Key> = strangers.iter().take(SIGNATURES_MAX).collect();
    keys.push(&key);
    assert_eq!(malformed(good_note(&keys)), NoteError::TooManySignatures(SIGNATURES_MAX + 1));
}

#[test]
fn accepts_sixteen_signatures_of_the_largest_known_algorithm() {
    let id = KeyId { name: "example.com/ml-dsa-87".to_owned(), hash: [1, 2, 3, 4] };
    let large = signature_line(&id, &[0x5a; 4627]);
    let text = statement().to_string();
    let note = format!("{text}\n{}{}", large.repeat(15), release().line(&text));
    assert!(check(&evidence(note), &trusting(&[&release()])).is_ok());
}

#[test]
fn refuses_note_of_a_megabyte() {
    let text = statement().to_string();
    let id = KeyId { name: "example.com/large".to_owned(), hash: [1, 2, 3, 4] };
    let line = signature_line(&id, &vec![0x5a; 1 << 20]);
    let error = malformed(format!("{text}\n{line}{}", release().line(&text)));
    assert!(matches!(error, NoteError::TooLarge(_)), "{error}");
}

#[test]
fn accepts_good_key_beside_a_malformed_key_file() {
    let broken = [
        ("broken.vkey", "no key at all", VkeyError::Shape),
        ("short.vkey", "example.com/short+01020304+AQI=", VkeyError::Length(1)),
        ("ml-dsa.vkey", "example.com/new+01020304+BgIDBA==", VkeyError::UnknownType(6)),
    ];
    for (name, content, error) in broken {
        let policy = Trust::new(CONF, &[&release()], &[]).with_trusted_file(name, content).sealed();
        assert_eq!(policy.skipped()[0].reason, SkippedKeyReason::NotUsable(error));
        assert_eq!(policy.skipped()[0].path, name);
        assert!(check(&evidence(good_note(&[&release()])), &policy).is_ok());
    }
}

#[test]
fn accepts_good_signature_after_one_of_unknown_type() {
    let text = statement().to_string();
    let id = KeyId { name: "example.com/release".to_owned(), hash: [9, 9, 9, 9] };
    for unknown in [
        signature_line(&id, &[7; 2420]),
        "\u{2014} example.com/release AAAA\n".to_owned(),
        "\u{2014} example.com/release !!!!\n".to_owned(),
        "\u{2014} schl\u{fc}ssel/\u{1f511} AAAAAAAA\n".to_owned(),
    ] {
        let note = format!("{text}\n{unknown}{}", release().line(&text));
        let claim = check(&evidence(note), &trusting(&[&release()])).unwrap();
        assert_eq!((claim.signers.len(), claim.skipped.len()), (1, 1));
    }
}

#[test]
fn refuses_note_with_a_broken_signature_of_a_trusted_key_beside_a_good_one() {
    let text = statement().to_string();
    let good = other().line(&text);
    for broken in [
        vec![0; 64],
        release().sign(b"another text").to_vec(),
        release().sign(text.as_bytes())[..63].to_vec(),
    ] {
        let line = signature_line(release().vkey.id(), &broken);
        for lines in [format!("{line}{good}"), format!("{good}{line}")] {
            let refused = refusal(&evidence(format!("{text}\n{lines}")), &trusting(&[&release(), &other()]));
            assert_eq!(
                refused,
                Refusal::Signatures(SignatureError::Broken { key: release().vkey.id().clone() })
            );
        }
    }
}

#[test]
fn refuses_digest_in_any_form_but_64_lower_case_digits() {
    let text = statement().to_string();
    let digest = IMAGE.to_string();
    let shorter = &digest[1..];
    for wrong in [
        digest.to_uppercase(),
        shorter.to_owned(),
        format!("{digest}1"),
        String::new(),
        format!("0x{}", &digest[2..]),
        format!(" {shorter}"),
        format!("{shorter} "),
        format!("sha256:{digest}"),
    ] {
        wrong_line(&text.replace(&digest, &wrong), 3);
    }
    wrong_line(&text.replace("fsverity-sha256-4096", "fsverity-sha512-4096"), 3);
}

#[test]
fn refuses_index_in_any_form_but_the_shortest() {
    let text = statement().to_string();
    for wrong in
        ["+42", "-42", "042", "0x2a", "42.0", "", " 42", "42 ", "18446744073709551616", "\u{664}\u{662}"]
    {
        wrong_line(&text.replace("index 42", &format!("index {wrong}")), 4);
    }
    let text = text.replace("index 42", "index 18446744073709551615");
    let claim = check(&evidence(note(&text, &[&release()])), &trusting(&[&release()])).unwrap();
    assert_eq!(claim.index, Some(u64::MAX));
}

#[test]
fn refuses_product_that_could_look_like_another() {
    let text = statement().to_string();
    for wrong in ["", "example.com/ os", "example.com/\u{43e}s", "example.com/os\u{200b}", &"x".repeat(256)] {
        wrong_line(&text.replace("example.com/os", wrong), 2);
    }
}

#[test]
fn refuses_a_kind_of_evidence_that_the_policy_does_not_accept() {
    let conf = CONF.replace("note, commit", "commit");
    let policy = Trust::new(&conf, &[&release()], &[]).sealed();
    let refused = refusal(&evidence(good_note(&[&release()])), &policy);
    assert_eq!(refused, Refusal::NoEvidence { accepted: vec![EvidenceKind::Commit] });
}

#[test]
fn nothing_of_an_untrusted_note_is_reported_as_signed() {
    let evidence = evidence(good_note(&[&third()]));
    let refused = authenticate(&evidence, &trusting(&[&release()])).unwrap_err();
    assert!(!refused.to_string().contains(&IMAGE.to_string()), "{refused}");
}

/// For who makes images: which digests were signed is known without an image, and of what the policy doesn't want, too.
#[test]
fn what_was_signed_is_known_without_an_image() {
    let policy = trusting(&[&release()]);
    let other = Statement { image: Digest([0x1b; 32]), ..statement() };
    let signed = evidence(note(&other.to_string(), &[&release()]));
    assert_eq!(approve(&signed, &policy).unwrap().digest, other.image);
    assert!(check(&signed, &policy).is_err());
    let old = Trust::new(&format!("{CONF}minimum-index = 43\n"), &[&release()], &[]).sealed();
    assert_eq!(authenticate(&signed, &old).unwrap().digest, other.image);
    assert!(approve(&signed, &old).is_err());
}
