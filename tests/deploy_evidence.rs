//! `deploy` with several notes, good and bad: which one is placed, and that a bad one changes nothing.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: a panic is its answer, and nobody links it"
)]

mod common;

use std::fs;
use std::process::Command;

use common::system::{System, note};
use common::{Run, is_root};
use ostree_seal::signing::PrivateKey;
use ostree_seal_trust::note::Statement;

const NOTE: &str = ".ostree.seal";

/// What is signed for the only commit, and the same for another commit with the same image.
fn statements(system: &System) -> (Statement, Statement) {
    let commit = system.only_commit();
    let mut good = system.statement(&commit, 7);
    let mut other = system.statement(&commit, 9);
    good.commit = Some(commit.parse().unwrap());
    other.commit = Some("5".repeat(64).parse().unwrap());
    (good, other)
}

#[test]
fn a_note_for_another_commit_is_refused_and_changes_nothing() {
    if !is_root("a_note_for_another_commit_is_refused_and_changes_nothing") {
        return;
    }
    let system = System::sealable();
    let (good, other) = statements(&system);
    let placed = system.only_deployment().join(NOTE);
    let file = system.directory.path().join("note");
    fs::write(&file, note(&other, &[&system.key])).unwrap();
    let given = format!("--note={}", file.display());

    let run = system.deploy(&["--defer-verity", &given]);
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    assert!(run.stderr.contains(&"5".repeat(64)), "{}", run.stderr);
    assert!(!placed.exists() && !system.only_deployment().join(".ostree.cfs").exists());

    // A deployment that boots goes on to do so.
    system.sign(&system.only_commit(), &good, &[&system.key]);
    system.deploy(&["--defer-verity"]).ok();
    let before = fs::read(&placed).unwrap();
    assert_eq!(system.deploy(&["--defer-verity", &given]).code, Some(3));
    assert_eq!(fs::read(&placed).unwrap(), before);
}

#[test]
fn a_good_note_serves_behind_those_for_another_commit_and_another_image() {
    if !is_root("a_good_note_serves_behind_those_for_another_commit_and_another_image") {
        return;
    }
    let system = System::sealable();
    let (good, other_commit) = statements(&system);
    let mut other_image = system.statement(&system.only_commit(), 8);
    other_image.image.0[0] ^= 1;
    let signed = |statement| note(statement, &[&system.key]);
    let notes = [&other_commit, &other_image, &good].map(signed);
    system.attach(&system.only_commit(), &notes);
    let line = system.deploy(&["--defer-verity"]).ok();
    assert!(line.contains("index 7"), "{line}");
    assert_eq!(fs::read_to_string(system.only_deployment().join(NOTE)).unwrap(), notes[2]);
    // The second run finds image and note in their place.
    let line = system.deploy(&["--defer-verity"]).ok();
    assert!(line.contains("index 7") && line.contains("image kept"), "{line}");
}

#[test]
fn a_note_file_serves_a_commit_without_detached_metadata() {
    if !is_root("a_note_file_serves_a_commit_without_detached_metadata") {
        return;
    }
    let system = System::new();
    let commit = system.commit("1", &system.policy(""));
    system.deploy_tree();
    let path = system.directory.path().join("note");
    fs::write(&path, note(&system.statement(&commit, 1), &[&system.key])).unwrap();
    system.deploy(&["--defer-verity", &format!("--note={}", path.display())]).ok();
    assert_eq!(fs::read(system.only_deployment().join(NOTE)).unwrap(), fs::read(&path).unwrap());
    // The next run finds it in the deployment.
    system.deploy(&["--defer-verity"]).ok();
}

#[test]
fn a_note_that_was_given_once_serves_later_runs_whatever_the_commit_has() {
    if !is_root("a_note_that_was_given_once_serves_later_runs_whatever_the_commit_has") {
        return;
    }
    let system = System::sealable();
    let commit = system.only_commit();
    let stranger = PrivateKey::generate("example.com/stranger").unwrap();
    system.sign(&commit, &system.statement(&commit, 7), &[&stranger]);
    let path = system.directory.path().join("note");
    fs::write(&path, note(&system.statement(&commit, 7), &[&system.key])).unwrap();
    system.deploy(&["--defer-verity", &format!("--note={}", path.display())]).ok();
    // As the gate does it at shutdown, without --note.
    system.deploy(&["--defer-verity"]).ok();
    assert_eq!(fs::read(system.only_deployment().join(NOTE)).unwrap(), fs::read(&path).unwrap());
    // What the commit has is preferred, once it is good.
    system.sign(&commit, &system.statement(&commit, 8), &[&system.key]);
    system.deploy(&["--defer-verity"]).ok();
    assert_eq!(
        fs::read_to_string(system.only_deployment().join(NOTE)).unwrap(),
        note(&system.statement(&commit, 8), &[&system.key])
    );
}

#[test]
fn a_note_that_is_there_thousands_of_times_is_looked_at_once() {
    if !is_root("a_note_that_is_there_thousands_of_times_is_looked_at_once") {
        return;
    }
    let system = System::sealable();
    let (good, other) = statements(&system);
    let mut notes = vec![note(&other, &[&system.key]); 40_000];
    notes.push(note(&good, &[&system.key]));
    system.attach(&system.only_commit(), &notes);
    // Each look at a note for another commit reads the commit again.
    let looks = system.directory.path().join("looks");
    let inner = system.deploy_command(&["--defer-verity"]);
    let mut traced = Command::new("strace");
    traced.args(["-f", "-q", "-e", "trace=openat,openat2", "-o"]).arg(&looks).arg("--");
    Run::of(traced.arg(inner.get_program()).args(inner.get_args())).ok();
    let object = format!("{}.commit\"", &system.only_commit()[2..]);
    let looks = fs::read_to_string(looks).unwrap().lines().filter(|line| line.contains(&object)).count();
    assert!((1..100).contains(&looks), "the commit was opened {looks} times");
    assert_eq!(fs::read_to_string(system.only_deployment().join(NOTE)).unwrap(), note(&good, &[&system.key]));
}

#[test]
fn refuses_a_commit_with_more_than_256_different_notes() {
    if !is_root("refuses_a_commit_with_more_than_256_different_notes") {
        return;
    }
    let system = System::sealable();
    let (good, other) = statements(&system);
    let numbered = |index| note(&Statement { index, ..other.clone() }, &[&system.key]);
    let mut notes: Vec<_> = (0..255).map(numbered).collect();
    notes.push(note(&good, &[&system.key]));
    system.attach(&system.only_commit(), &notes);
    system.deploy(&["--defer-verity"]).ok();
    notes.insert(0, numbered(255));
    system.attach(&system.only_commit(), &notes);
    let run = system.deploy(&["--defer-verity"]);
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    assert!(run.stderr.contains("more than 256 different notes"), "{}", run.stderr);
}
