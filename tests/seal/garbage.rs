use ostree_seal_trust::commit::{self, SignedCommit};
use ostree_seal_trust::evidence::{CommitObject, Evidence};
use ostree_seal_trust::note::{Note, Statement};
use ostree_seal_trust::policy::{Policy, PolicyFiles};
use ostree_seal_trust::vkey::Vkey;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::sample::Index;

use crate::fixture::{
    CONF, CommitMaker, check, commit_evidence, detached, evidence, good_note, other, release, statement,
    trusting,
};

/// The same bytes with one bit changed, for each bit.
fn flips(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..bytes.len() * 8).map(|bit| {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    })
}

#[test]
fn every_flipped_bit_of_a_note_is_refused() {
    let note = good_note(&[&release()]);
    let policy = trusting(&[&release()]);
    assert!(check(&evidence(note.as_bytes()), &policy).is_ok());
    let accepted = flips(note.as_bytes()).filter(|note| check(&evidence(note.clone()), &policy).is_ok());
    assert_eq!(accepted.count(), 0);
}

#[test]
fn every_flipped_bit_of_a_note_that_two_keys_must_sign_is_refused() {
    let note = good_note(&[&release(), &other()]);
    let policy =
        crate::fixture::Trust::new(&format!("{CONF}threshold = 2\n"), &[&release(), &other()], &[]).sealed();
    assert!(check(&evidence(note.as_bytes()), &policy).is_ok());
    let accepted = flips(note.as_bytes()).filter(|note| check(&evidence(note.clone()), &policy).is_ok());
    assert_eq!(accepted.count(), 0);
}

#[test]
fn every_flipped_bit_of_a_signed_commit_is_refused() {
    let maker = CommitMaker::good();
    let good = maker.signed(&[&release()]);
    let policy = trusting(&[&release()]);
    assert!(check(&commit_evidence(maker.id(), good.clone()), &policy).is_ok());
    for bytes in flips(&good.bytes) {
        // Under its old name, and renamed as the one who changed it would do.
        for id in [maker.id(), commit::id(&bytes)] {
            let object = CommitObject { bytes: bytes.clone(), detached: good.detached.clone() };
            assert!(check(&commit_evidence(id, object), &policy).is_err());
        }
    }
}

#[test]
fn every_flipped_bit_of_a_commits_detached_metadata_is_refused() {
    let maker = CommitMaker::good();
    let good = maker.signed(&[&release()]);
    let policy = trusting(&[&release()]);
    for detached in flips(good.detached.as_deref().unwrap()) {
        let object = CommitObject { bytes: good.bytes.clone(), detached: Some(detached) };
        assert!(check(&commit_evidence(maker.id(), object), &policy).is_err());
    }
}

#[test]
fn every_flipped_bit_of_a_key_is_another_key_or_none() {
    let key = release().vkey;
    for text in flips(key.to_string().as_bytes()) {
        assert!(Vkey::parse(&text).is_err(), "{}", text.escape_ascii());
    }
}

#[test]
fn every_truncated_note_and_commit_is_refused() {
    let policy = trusting(&[&release()]);
    let note = good_note(&[&release()]);
    for length in 0..note.len() {
        assert!(check(&evidence(&note.as_bytes()[..length]), &policy).is_err(), "{length}");
    }
    let maker = CommitMaker::good();
    let good = maker.signed(&[&release()]);
    for length in 0..good.bytes.len() {
        assert!(SignedCommit::parse(&good.bytes[..length]).is_err(), "{length}");
    }
    let whole = good.detached.unwrap();
    for length in 1..whole.len() {
        assert!(commit::signatures(&whole[..length]).is_err(), "{length}");
    }
}

/// Garbage of three kinds: noise; a valid thing with a few bytes changed; with a piece cut out or repeated.
fn spoiled(good: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let bytes = Just(good);
    let changed =
        (bytes.clone(), vec((any::<Index>(), any::<u8>()), 1..5)).prop_map(|(mut bytes, changes)| {
            changes.iter().for_each(|(index, byte)| *index.get_mut(&mut bytes) = *byte);
            bytes
        });
    let cut = (bytes, any::<Index>(), any::<Index>(), any::<bool>()).prop_map(|(bytes, one, two, repeat)| {
        let (one, two) = (one.index(bytes.len()), two.index(bytes.len()));
        let (start, end) = (one.min(two), one.max(two));
        match repeat {
            true => [&bytes[..end], &bytes[start..]].concat(),
            false => [&bytes[..start], &bytes[end..]].concat(),
        }
    });
    prop_oneof![vec(any::<u8>(), 0..600), changed, cut]
}

fn policy_of(conf: Vec<u8>) -> PolicyFiles {
    PolicyFiles { path: "policy.conf".into(), conf, trusted: Vec::new(), revoked: Vec::new() }
}

proptest! {
    #[test]
    fn garbage_for_a_note_is_refused_or_says_the_same(bytes in spoiled(good_note(&[&release()]).into_bytes())) {
        if let Ok(claim) = check(&evidence(bytes), &trusting(&[&release()])) {
            assert_eq!((claim.index, claim.digest), (Some(42), statement().image));
        }
    }

    #[test]
    fn a_note_that_is_read_has_the_text_that_its_statement_writes(
        bytes in spoiled(good_note(&[&release(), &other()]).into_bytes()),
    ) {
        if let Ok(note) = Note::parse(&bytes) {
            assert_eq!(note.statement.to_string(), note.text);
            assert_eq!(Statement::parse(note.text), Ok(note.statement));
        }
    }

    #[test]
    fn garbage_for_a_key_is_an_error_or_a_key_with_one_spelling(
        bytes in spoiled(release().vkey.to_string().into_bytes()),
    ) {
        if let Ok(key) = Vkey::parse(&bytes) {
            assert_eq!(key.to_string().as_bytes(), bytes.strip_suffix(b"\n").unwrap_or(&bytes));
        }
    }

    #[test]
    fn garbage_for_a_policy_never_gives_leave_to_mount_unchecked(bytes in spoiled(CONF.into())) {
        assert!(!matches!(Policy::parse(&policy_of(bytes)), Ok(Policy::Unsealed(_))));
    }

    #[test]
    fn garbage_for_a_commit_is_refused(bytes in spoiled(CommitMaker::good().bytes())) {
        let good = CommitMaker::good().signed(&[&release()]);
        let same = bytes == good.bytes;
        let evidence = commit_evidence(commit::id(&bytes), CommitObject { bytes, ..good });
        assert_eq!(check(&evidence, &trusting(&[&release()])).is_ok(), same);
    }

    #[test]
    fn garbage_for_detached_metadata_is_refused_or_has_the_signature(
        bytes in spoiled(detached(&[release().sign(&CommitMaker::good().bytes()).to_vec()])),
    ) {
        let maker = CommitMaker::good();
        let object = CommitObject { bytes: maker.bytes(), detached: Some(bytes.clone()) };
        let good = release().sign(&maker.bytes());
        if check(&commit_evidence(maker.id(), object), &trusting(&[&release()])).is_ok() {
            assert!(bytes.windows(64).any(|window| window == good));
        }
    }

    #[test]
    fn what_glib_writes_is_read(
        filler in vec(("[a-z.]{1,20}", vec(any::<u8>(), 0..300)), 0..20),
        index in any::<u64>(),
        subject in "\\PC{0,80}",
    ) {
        use ostree::glib::variant::ToVariant as _;
        let extra = filler.into_iter().map(|(key, value)| (key, value.to_variant())).collect();
        let maker = CommitMaker { index: Some(index), subject, extra, ..CommitMaker::good() };
        let bytes = maker.bytes();
        let commit = SignedCommit::parse(&bytes).unwrap();
        assert_eq!(commit.index(), Ok(Some(index)));
        assert_eq!(commit.digest(), Ok(Some(statement().image)));
    }
}

#[test]
fn an_evidence_of_nothing_but_garbage_names_its_reason() {
    let Evidence { note, .. } = evidence("garbage");
    let refused = check(&evidence(note.unwrap()), &trusting(&[&release()])).unwrap_err();
    assert!(refused.to_string().starts_with("the note is not understood"), "{refused}");
}
