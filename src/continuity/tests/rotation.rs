//! Other keys from release to release: what may be installed after what.

use ostree_seal_trust::note::Statement;
use ostree_seal_trust::vkey::Vkey;

use super::{CONF, Continuity, Device, IMAGE, Way, evidence, new_key, parse, proofs, statement, write};
use crate::signing::PrivateKey;

/// Three releases: the old key, both keys, the new key alone. The one in the middle trusts both, and all are signed with the
/// keys of the release before and their own.
#[test]
fn keys_rotate_over_three_releases_and_no_release_can_be_left_out() {
    let (old, new) = (new_key("example.com/2025"), new_key("example.com/2026"));
    let first = Device::new(CONF, &[old.vkey()], &[]);
    let second = Device::new(CONF, &[old.vkey(), new.vkey()], &[]);
    let third = Device::new(CONF, &[new.vkey()], &[old.vkey()]);
    let both = [evidence(&statement(), &[&old, &new])];
    let alone = [evidence(&statement(), &[&new])];
    // A note for each key does as well as one for both.
    let apart = [evidence(&statement(), &[&new]), evidence(&statement(), &[&old])];
    for device in [&first, &second, &third] {
        device.vouches(&both);
        device.vouches(&apart);
    }
    first.refuses(&alone, "0 of 1 trusted keys");
    second.vouches(&alone);
    third.vouches(&alone);
    third.refuses(&[evidence(&statement(), &[&old])], "revoked");
}

#[test]
fn two_of_three_keys_suffice_when_one_is_lost() {
    let keys = ["a", "b", "c"].map(|name| new_key(&format!("example.com/{name}")));
    let vkeys = keys.each_ref().map(|key| key.vkey());
    let device = Device::new(&format!("{CONF}threshold = 2\n"), &vkeys, &[]);
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        device.vouches(&[evidence(&statement(), &[&keys[one], &keys[other]])]);
        device.refuses(&[evidence(&statement(), &[&keys[one]])], "1 of 2 trusted keys");
    }
    // Two notes with one signature each are not one with two.
    let apart = [evidence(&statement(), &[&keys[0]]), evidence(&statement(), &[&keys[1]])];
    device.refuses(&apart, "1 of 2 trusted keys");
}

/// A release of a rotation: its index, which keys it trusts and revokes, and who has signed it.
struct Release<'a> {
    index: u64,
    trusted: Vec<&'a Vkey>,
    revoked: Vec<&'a Vkey>,
    signers: Vec<&'a PrivateKey>,
}

/// What a device that runs `from` says of `to`, as an update; chosen again as a rollback, it is always left alone.
fn step(conf: &str, from: &Release<'_>, to: &Release<'_>) -> &'static str {
    let device = Device::new(conf, &from.trusted, &from.revoked);
    let state = format!(r#"{{"mode":"sealed","index":{}}}"#, from.index);
    write(&device.run.path().join("state.json"), &state);
    let served = [evidence(&Statement { index: to.index, ..statement() }, &to.signers)];
    proofs(IMAGE, &served, &parse(conf, &to.trusted, &to.revoked)).unwrap();
    assert_eq!(device.judge_of([0x77; 32], Way::InOrder, &served), Ok(Continuity::WasThere));
    device.judge(&served).map_or_else(|objection| objection.word(), |continuity| continuity.word())
}

/// The verdict depends on what runs and what comes, not on how the device got there: nine pairs are all orders of installing.
fn steps(conf: &str, releases: &[Release<'_>; 3]) -> [[&'static str; 3]; 3] {
    releases.each_ref().map(|from| releases.each_ref().map(|to| step(conf, from, to)))
}

const VOUCHED: &str = "vouched";
const DOWNGRADE: &str = "continuity/downgrade";
const NOT_VOUCHED: &str = "continuity/not-vouched";

#[test]
fn every_order_of_three_releases_of_a_rotation_has_its_verdict() {
    let (old, new) = (new_key("example.com/2025"), new_key("example.com/2026"));
    let (trusted, both) = (vec![old.vkey(), new.vkey()], vec![&old, &new]);
    let mut releases = [
        Release { index: 7, trusted: vec![old.vkey()], revoked: vec![], signers: vec![&old] },
        Release { index: 8, trusted, revoked: vec![], signers: both.clone() },
        Release { index: 9, trusted: vec![new.vkey()], revoked: vec![old.vkey()], signers: both },
    ];
    let back = [DOWNGRADE, VOUCHED, VOUCHED];
    let revoked = [NOT_VOUCHED, DOWNGRADE, VOUCHED];
    assert_eq!(steps(CONF, &releases), [[VOUCHED; 3], back, revoked]);
    // Signed with the new key alone, the last one can't be reached from the first.
    releases[2].signers = vec![&new];
    assert_eq!(steps(CONF, &releases), [[VOUCHED, VOUCHED, NOT_VOUCHED], back, revoked]);
}

#[test]
fn a_lost_key_of_three_is_replaced_in_every_order() {
    let [a, b, lost, new] = ["a", "b", "lost", "new"].map(|name| new_key(&format!("example.com/{name}")));
    let first = vec![a.vkey(), b.vkey(), lost.vkey()];
    let with_new = || vec![a.vkey(), b.vkey(), new.vkey()];
    let releases = [
        Release { index: 7, trusted: first, revoked: vec![], signers: vec![&a, &lost] },
        Release { index: 8, trusted: with_new(), revoked: vec![lost.vkey()], signers: vec![&a, &b] },
        Release { index: 9, trusted: with_new(), revoked: vec![lost.vkey()], signers: vec![&a, &new] },
    ];
    let no_skip = [VOUCHED, VOUCHED, NOT_VOUCHED];
    let after = [[NOT_VOUCHED, VOUCHED, VOUCHED], [NOT_VOUCHED, DOWNGRADE, VOUCHED]];
    assert_eq!(steps(&format!("{CONF}threshold = 2\n"), &releases), [no_skip, after[0], after[1]]);
}
