use ostree::glib::variant::ToVariant as _;
use ostree_seal_trust::claim::ClaimError;
use ostree_seal_trust::commit::{self, CommitError, SignedCommit};
use ostree_seal_trust::digest::Digest;
use ostree_seal_trust::evidence::{CommitObject, Evidence, EvidenceKind, Subject};
use ostree_seal_trust::gvariant::GVariantError;
use ostree_seal_trust::names::CommitId;
use ostree_seal_trust::note::SIGNATURES_MAX;
use ostree_seal_trust::refusal::Refusal;
use ostree_seal_trust::signatures::{SignatureError, SkippedReason};

use crate::fixture::{
    CONF, CommitMaker, IMAGE, Key, Trust, check, commit_evidence, detached, good_note, other, refusal,
    release, trusting,
};

#[test]
fn accepts_image_whose_digest_is_in_a_signed_commit() {
    let commit = CommitMaker::good();
    let claim = check(&commit.evidence(&[&release()]), &trusting(&[&release()])).unwrap();
    assert_eq!(claim.kind, EvidenceKind::Commit);
    assert_eq!((claim.digest, claim.index, claim.commit), (IMAGE, Some(42), Some(commit.id())));
    assert_eq!(claim.product.unwrap().as_str(), "example.com/os");
    assert_eq!(claim.signers, [release().vkey.id().clone()]);
}

#[test]
fn reads_what_glib_wrote() {
    let mut maker = CommitMaker::good();
    maker.parent = vec![3; 32];
    for size in [0, 1, 100, 254, 255, 256, 300, 65_000, 65_536, 70_000] {
        maker.extra = vec![("a.filler".to_owned(), vec![9_u8; size].to_variant())];
        let bytes = maker.bytes();
        let commit = SignedCommit::parse(&bytes).unwrap();
        assert_eq!(commit.digest(), Ok(Some(IMAGE)), "{size}");
        assert_eq!(commit.product(), Ok(Some("example.com/os")), "{size}");
        assert_eq!(commit.index(), Ok(Some(42)), "{size}");
        assert_eq!(commit.parent(), Some(CommitId([3; 32])));
    }
    assert_eq!(commit::signatures(&[]), Ok(vec![]));
    let signatures = [vec![], vec![1], vec![2; 64], vec![3; 70_000]];
    assert_eq!(commit::signatures(&detached(&signatures)).unwrap(), signatures);
}

#[test]
fn refuses_commit_object_whose_checksum_is_not_its_name() {
    let newer = CommitMaker { subject: "A newer release".to_owned(), ..CommitMaker::good() };
    let older = CommitMaker::good().signed(&[&release()]);
    let refused = refusal(&commit_evidence(newer.id(), older), &trusting(&[&release()]));
    assert_eq!(
        refused,
        Refusal::Commit(CommitError::NotItsName { name: newer.id(), found: CommitMaker::good().id() })
    );
}

#[test]
fn refuses_unsigned_commit() {
    let maker = CommitMaker::good();
    let bare = CommitObject { bytes: maker.bytes(), detached: None };
    for object in [bare, maker.signed(&[])] {
        let refused = refusal(&commit_evidence(maker.id(), object), &trusting(&[&release()]));
        assert!(matches!(refused, Refusal::NoEvidence { .. }), "{refused}");
    }
}

#[test]
fn refuses_commit_signed_by_another_key() {
    let refused = refusal(&CommitMaker::good().evidence(&[&other()]), &trusting(&[&release()]));
    let Refusal::Signatures(SignatureError::TooFew { skipped, .. }) = refused else { panic!("{refused}") };
    assert_eq!(skipped[0].reason, SkippedReason::UnknownKey);
}

#[test]
fn refuses_signature_of_another_commit() {
    let other = CommitMaker { index: Some(43), ..CommitMaker::good() };
    let signature = release().sign(&other.bytes()).to_vec();
    let maker = CommitMaker::good();
    let refused = refusal(&commit_evidence(maker.id(), maker.object(&[signature])), &trusting(&[&release()]));
    assert!(matches!(refused, Refusal::Signatures(SignatureError::TooFew { .. })), "{refused}");
}

#[test]
fn refuses_commit_signed_by_revoked_key() {
    let policy = Trust::new(CONF, &[&release(), &other()], &[&release()]).sealed();
    let refused = refusal(&CommitMaker::good().evidence(&[&release()]), &policy);
    let Refusal::Signatures(SignatureError::TooFew { skipped, .. }) = refused else { panic!("{refused}") };
    assert_eq!(skipped[0].reason, SkippedReason::Revoked);
    assert_eq!(skipped[0].key, Some(release().vkey.id().to_string()));
    assert!(check(&CommitMaker::good().evidence(&[&release(), &other()]), &policy).is_ok());
}

#[test]
fn refuses_commit_signed_twice_by_one_key_where_two_keys_must_sign() {
    let policy = Trust::new(&format!("{CONF}threshold = 2\n"), &[&release(), &other()], &[]).sealed();
    let refused = refusal(&CommitMaker::good().evidence(&[&release(), &release()]), &policy);
    let Refusal::Signatures(SignatureError::TooFew { counted, skipped, .. }) = refused else {
        panic!("{refused}")
    };
    assert_eq!((counted.len(), skipped[0].reason), (1, SkippedReason::Repeated));
    assert!(check(&CommitMaker::good().evidence(&[&other(), &release()]), &policy).is_ok());
}

#[test]
fn accepts_good_signature_of_a_commit_after_a_short_one() {
    let maker = CommitMaker::good();
    let good = release().sign(&maker.bytes()).to_vec();
    for wrong in [vec![], vec![1; 63], vec![1; 65], vec![0; 64], vec![0xff; 64]] {
        let object = maker.object(&[wrong, good.clone()]);
        let claim = check(&commit_evidence(maker.id(), object), &trusting(&[&release()])).unwrap();
        assert_eq!((claim.signers.len(), claim.skipped.len()), (1, 1));
    }
}

#[test]
fn accepts_64_signatures_of_a_commit_and_refuses_65() {
    let maker = CommitMaker::good();
    let good = release().sign(&maker.bytes()).to_vec();
    let mut signatures = vec![vec![1; 64]; SIGNATURES_MAX - 1];
    signatures.push(good);
    let object = maker.object(&signatures);
    assert!(check(&commit_evidence(maker.id(), object), &trusting(&[&release()])).is_ok());
    signatures.push(vec![1; 64]);
    let object = maker.object(&signatures);
    let refused = refusal(&commit_evidence(maker.id(), object), &trusting(&[&release()]));
    assert_eq!(refused, Refusal::Signatures(SignatureError::TooMany(SIGNATURES_MAX + 1)));
}

#[test]
fn refuses_signed_commit_with_another_digest() {
    let maker = CommitMaker { digest: Some(vec![5; 32]), ..CommitMaker::good() };
    let refused = refusal(&maker.evidence(&[&release()]), &trusting(&[&release()]));
    assert_eq!(refused, Refusal::Claim(ClaimError::OtherDigest { expected: Digest([5; 32]), found: IMAGE }));
}

#[test]
fn refuses_signed_commit_without_digest() {
    let maker = CommitMaker { digest: None, ..CommitMaker::good() };
    let refused = refusal(&maker.evidence(&[&release()]), &trusting(&[&release()]));
    assert_eq!(refused, Refusal::Commit(CommitError::WithoutDigest { commit: maker.id() }));
}

#[test]
fn refuses_signed_commit_whose_digest_is_empty_short_or_long() {
    for length in [0, 1, 31, 33, 64] {
        let maker = CommitMaker { digest: Some(vec![0x1a; length]), ..CommitMaker::good() };
        let refused = refusal(&maker.evidence(&[&release()]), &trusting(&[&release()]));
        let key = commit::KEY_DIGEST.to_owned();
        let error = GVariantError::Size { key, expected: 32, found: length };
        assert_eq!(refused, Refusal::Commit(CommitError::Malformed { commit: maker.id(), error }));
    }
}

#[test]
fn refuses_signed_commit_whose_metadata_has_other_types() {
    let digest = (commit::KEY_DIGEST, IMAGE.to_string().to_variant());
    let product = (commit::KEY_PRODUCT, vec![1_u8].to_variant());
    let index = (commit::KEY_INDEX, 42_u32.to_variant());
    let signed_index = (commit::KEY_INDEX, 42_i64.to_variant());
    for (key, value) in [digest, product, index, signed_index] {
        let maker = CommitMaker { extra: vec![(key.to_owned(), value)], ..CommitMaker::good() };
        let refused = refusal(&maker.evidence(&[&release()]), &trusting(&[&release()]));
        let Refusal::Commit(CommitError::Malformed { error: GVariantError::Type { key: found, .. }, .. }) =
            refused
        else {
            panic!("{refused}");
        };
        assert_eq!(found, key);
    }
}

#[test]
fn refuses_signed_commit_of_another_product() {
    let maker = CommitMaker { product: Some("example.com/car".to_owned()), ..CommitMaker::good() };
    let refused = refusal(&maker.evidence(&[&release()]), &trusting(&[&release()]));
    assert!(matches!(refused, Refusal::Claim(ClaimError::OtherProduct { found: Some(_), .. })), "{refused}");
    let maker = CommitMaker { product: Some("two words".to_owned()), ..CommitMaker::good() };
    let refused = refusal(&maker.evidence(&[&release()]), &trusting(&[&release()]));
    assert!(matches!(refused, Refusal::Commit(CommitError::ProductMalformed { .. })), "{refused}");
}

#[test]
fn refuses_signed_commit_without_product_where_the_policy_has_one() {
    let maker = CommitMaker { product: None, ..CommitMaker::good() };
    let refused = refusal(&maker.evidence(&[&release()]), &trusting(&[&release()]));
    assert!(matches!(refused, Refusal::Claim(ClaimError::OtherProduct { found: None, .. })), "{refused}");
}

#[test]
fn refuses_signed_commit_without_index_where_the_policy_has_a_minimum() {
    let maker = CommitMaker { index: None, ..CommitMaker::good() };
    assert!(check(&maker.evidence(&[&release()]), &trusting(&[&release()])).is_ok());
    let policy = Trust::new(&format!("{CONF}minimum-index = 1\n"), &[&release()], &[]).sealed();
    let refused = refusal(&maker.evidence(&[&release()]), &policy);
    assert_eq!(refused, Refusal::Claim(ClaimError::IndexTooLow { minimum: 1, found: None }));
}

#[test]
fn accepts_commit_that_ostree_alone_made_where_the_policy_asks_for_neither_product_nor_index() {
    let maker = CommitMaker { product: None, index: None, ..CommitMaker::good() };
    let policy = Trust::new("[seal]\nmode = sealed\naccept = commit\n", &[&release()], &[]).sealed();
    let claim = check(&maker.evidence(&[&release()]), &policy).unwrap();
    assert_eq!((claim.product, claim.index), (None, None));
}

#[test]
fn refuses_older_signed_commit_than_the_minimum_index() {
    let policy = Trust::new(&format!("{CONF}minimum-index = 43\n"), &[&release()], &[]).sealed();
    let refused = refusal(&CommitMaker::good().evidence(&[&release()]), &policy);
    assert_eq!(refused, Refusal::Claim(ClaimError::IndexTooLow { minimum: 43, found: Some(42) }));
}

#[test]
fn refuses_signed_commit_with_a_key_twice() {
    // GLib doesn't write such a dictionary: the name of another key of the same length is changed in the bytes.
    let mut maker = CommitMaker::good();
    maker.extra = vec![("ostree.composefs.digest.v9".to_owned(), vec![5_u8; 32].to_variant())];
    let mut bytes = maker.bytes();
    let at = bytes.windows(10).position(|window| window == b"digest.v9\0").unwrap();
    bytes[at + 8] = b'0';
    let signature = release().sign(&bytes).to_vec();
    let id = commit::id(&bytes);
    let object = CommitObject { bytes, detached: Some(detached(&[signature])) };
    let refused = refusal(&commit_evidence(id, object), &trusting(&[&release()]));
    let error = GVariantError::Repeated(commit::KEY_DIGEST.to_owned());
    assert_eq!(refused, Refusal::Commit(CommitError::Malformed { commit: id, error }));
}

#[test]
fn refuses_detached_metadata_that_is_not_understood() {
    let maker = CommitMaker::good();
    let good = maker.signed(&[&release()]);
    for broken in [vec![0xff; 40], good.detached.clone().unwrap()[1..].to_vec(), b"hello".to_vec()] {
        let object = CommitObject { detached: Some(broken), ..good.clone() };
        let refused = refusal(&commit_evidence(maker.id(), object), &trusting(&[&release()]));
        assert!(matches!(refused, Refusal::Commit(CommitError::DetachedMalformed { .. })), "{refused}");
    }
}

/// A container import of a signed commit.
fn import(keys: &[&Key]) -> (CommitMaker, Evidence) {
    let original = CommitMaker::good();
    let import = CommitMaker::import(original.id());
    let object = CommitObject { bytes: import.bytes(), detached: None };
    let mut evidence = commit_evidence(import.id(), object);
    evidence.parent = Some(original.signed(keys));
    (import, evidence)
}

#[test]
fn accepts_container_import_of_a_signed_commit() {
    let (_, evidence) = import(&[&release()]);
    let claim = check(&evidence, &trusting(&[&release()])).unwrap();
    assert_eq!(claim.commit, Some(CommitMaker::good().id()));
}

#[test]
fn refuses_container_import_with_another_image_than_the_signed_commit() {
    let mut original = CommitMaker::good();
    original.digest = Some(vec![6; 32]);
    let import = CommitMaker::import(original.id());
    let object = CommitObject { bytes: import.bytes(), detached: None };
    let mut evidence = commit_evidence(import.id(), object);
    evidence.parent = Some(original.signed(&[&release()]));
    let refused = refusal(&evidence, &trusting(&[&release()]));
    assert_eq!(refused, Refusal::Claim(ClaimError::OtherDigest { expected: Digest([6; 32]), found: IMAGE }));
}

#[test]
fn refuses_container_import_whose_parent_is_another_commit() {
    let (_, mut evidence) = import(&[&release()]);
    let other = CommitMaker { index: Some(43), ..CommitMaker::good() };
    evidence.parent = Some(other.signed(&[&release()]));
    let refused = refusal(&evidence, &trusting(&[&release()]));
    assert_eq!(
        refused,
        Refusal::Commit(CommitError::NotItsName { name: CommitMaker::good().id(), found: other.id() })
    );
}

#[test]
fn refuses_container_import_without_its_parent() {
    let (import, mut evidence) = import(&[&release()]);
    evidence.parent = None;
    let refused = refusal(&evidence, &trusting(&[&release()]));
    let parent = Some(CommitMaker::good().id());
    assert_eq!(refused, Refusal::Commit(CommitError::ParentMissing { commit: import.id(), parent }));
}

#[test]
fn refuses_unsigned_parent_of_a_container_import() {
    let (_, evidence) = import(&[]);
    let refused = refusal(&evidence, &trusting(&[&release()]));
    assert!(matches!(refused, Refusal::NoEvidence { .. }), "{refused}");
}

#[test]
fn refuses_signed_parent_of_a_commit_that_is_no_container_import() {
    let original = CommitMaker::good();
    let child = CommitMaker { parent: original.id().0.to_vec(), ..CommitMaker::good() };
    let mut evidence = commit_evidence(child.id(), CommitObject { bytes: child.bytes(), detached: None });
    evidence.parent = Some(original.signed(&[&release()]));
    let refused = refusal(&evidence, &trusting(&[&release()]));
    assert!(matches!(refused, Refusal::NoEvidence { .. }), "{refused}");
}

#[test]
fn accepts_the_original_commits_note_for_its_container_import() {
    let original = CommitMaker::good();
    let text = crate::fixture::statement().to_string();
    let text = text.replace(&crate::fixture::COMMIT.to_string(), &original.id().to_string());
    let (_, mut evidence) = import(&[]);
    evidence.note = Some(crate::fixture::note(&text, &[&release()]).into_bytes());
    assert!(check(&evidence, &trusting(&[&release()])).is_ok());
    evidence.commit = None;
    let refused = refusal(&evidence, &trusting(&[&release()]));
    assert!(matches!(refused, Refusal::Claim(ClaimError::OtherCommit { .. })), "{refused}");
}

#[test]
fn a_bad_note_is_not_made_good_by_a_signed_commit() {
    let mut both = CommitMaker::good().evidence(&[&release()]);
    both.note = Some(good_note(&[&other()]).into_bytes());
    let refused = refusal(&both, &trusting(&[&release()]));
    assert!(
        matches!(refused, Refusal::Signatures(SignatureError::TooFew { kind: EvidenceKind::Note, .. })),
        "{refused}"
    );
    both.note = Some(Vec::new());
    let refused = refusal(&both, &trusting(&[&release()]));
    assert!(matches!(refused, Refusal::Note(_)), "{refused}");
}

#[test]
fn a_note_is_passed_over_where_the_policy_accepts_commits_only() {
    let policy = Trust::new(&CONF.replace("note, ", ""), &[&release()], &[]).sealed();
    let mut both = CommitMaker::good().evidence(&[&release()]);
    both.note = Some(good_note(&[&other()]).into_bytes());
    assert_eq!(check(&both, &policy).unwrap().kind, EvidenceKind::Commit);
}

#[test]
fn refuses_signed_commit_where_the_policy_accepts_notes_only() {
    let policy = Trust::new(&CONF.replace(", commit", ""), &[&release()], &[]).sealed();
    let refused = refusal(&CommitMaker::good().evidence(&[&release()]), &policy);
    assert_eq!(refused, Refusal::NoEvidence { accepted: vec![EvidenceKind::Note] });
}

#[test]
fn refuses_signed_commit_for_an_image_of_no_commit() {
    let mut evidence = CommitMaker::good().evidence(&[&release()]);
    evidence.subject = Subject::Image;
    let refused = refusal(&evidence, &trusting(&[&release()]));
    assert!(matches!(refused, Refusal::NoEvidence { .. }), "{refused}");
    evidence.note = Some(good_note(&[&release()]).into_bytes());
    assert!(check(&evidence, &trusting(&[&release()])).is_ok());
}
