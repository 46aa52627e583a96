use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use ostree_seal_root::check::error::CheckError;
use ostree_seal_root::check::evidence::{self, EvidencePlaces};
use ostree_seal_root::read::ReadError;
use ostree_seal_trust::evidence::{CommitObject, Evidence, Subject};
use ostree_seal_trust::names::CommitId;
use ostree_seal_trust::note::NOTE_MAX;
use ostree_seal_trust::policy::SealedPolicy;
use ostree_seal_trust::refusal::Refusal;
use rustix::io::Errno;

use crate::fixture::{
    COMMIT, CONF, CommitMaker, Trust, check, good_note, note, release, statement, trusting,
};

/// A deployment's directory and a repository's objects.
struct Disk {
    root: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("deployment")).unwrap();
        fs::create_dir(root.path().join("objects")).unwrap();
        Self { root }
    }

    fn note(&self) -> PathBuf {
        self.root.path().join("deployment/.ostree.seal")
    }

    fn object(&self, id: CommitId, suffix: &str) -> PathBuf {
        let id = id.to_string();
        let directory = self.root.path().join("objects").join(&id[..2]);
        fs::create_dir_all(&directory).unwrap();
        directory.join(format!("{}.{suffix}", &id[2..]))
    }

    fn add(&self, id: CommitId, object: &CommitObject) {
        fs::write(self.object(id, "commit"), &object.bytes).unwrap();
        if let Some(detached) = &object.detached {
            fs::write(self.object(id, "commitmeta"), detached).unwrap();
        }
    }

    fn read(&self, commit: CommitId, policy: &SealedPolicy) -> Result<Evidence, CheckError> {
        let deployment = File::open(self.root.path().join("deployment")).unwrap();
        let objects = File::open(self.root.path().join("objects")).unwrap();
        let places = EvidencePlaces { deployment: deployment.as_fd(), objects: objects.as_fd() };
        evidence::read(places, commit, policy)
    }
}

fn unreadable(result: Result<Evidence, CheckError>) -> ReadError {
    match result {
        Err(CheckError::EvidenceUnreadable { error, .. }) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn reads_the_note_and_not_the_commit_where_the_note_decides() {
    let disk = Disk::new();
    fs::write(disk.note(), good_note(&[&release()])).unwrap();
    disk.add(COMMIT, &CommitMaker::good().signed(&[&release()]));
    let evidence = disk.read(COMMIT, &trusting(&[&release()])).unwrap();
    assert_eq!(evidence.subject, Subject::Commit(COMMIT));
    assert!(evidence.note.is_some() && evidence.commit.is_none());
    assert!(check(&evidence, &trusting(&[&release()])).is_ok());
}

#[test]
fn reads_the_commit_where_there_is_no_note() {
    let (disk, maker) = (Disk::new(), CommitMaker::good());
    disk.add(maker.id(), &maker.signed(&[&release()]));
    let evidence = disk.read(maker.id(), &trusting(&[&release()])).unwrap();
    assert!(check(&evidence, &trusting(&[&release()])).is_ok());
    let nothing = disk.read(COMMIT, &trusting(&[&release()])).unwrap();
    assert!(matches!(check(&nothing, &trusting(&[&release()])), Err(Refusal::NoEvidence { .. })));
}

#[test]
fn reads_nothing_that_the_policy_does_not_accept() {
    let (disk, maker) = (Disk::new(), CommitMaker::good());
    fs::write(disk.note(), good_note(&[&release()])).unwrap();
    disk.add(maker.id(), &maker.signed(&[&release()]));
    let commits = Trust::new(&CONF.replace("note, ", ""), &[&release()], &[]).sealed();
    let evidence = disk.read(maker.id(), &commits).unwrap();
    assert!(evidence.note.is_none() && evidence.commit.is_some());
    fs::remove_file(disk.note()).unwrap();
    let notes = Trust::new(&CONF.replace(", commit", ""), &[&release()], &[]).sealed();
    let evidence = disk.read(maker.id(), &notes).unwrap();
    assert!(evidence.note.is_none() && evidence.commit.is_none());
}

#[test]
fn reads_the_parent_of_a_container_import() {
    let (disk, original) = (Disk::new(), CommitMaker::good());
    let import = CommitMaker::import(original.id());
    disk.add(import.id(), &CommitObject { bytes: import.bytes(), detached: None });
    disk.add(original.id(), &original.signed(&[&release()]));
    let policy = trusting(&[&release()]);
    assert!(check(&disk.read(import.id(), &policy).unwrap(), &policy).is_ok());

    let text = statement().to_string().replace(&COMMIT.to_string(), &original.id().to_string());
    fs::write(disk.note(), note(&text, &[&release()])).unwrap();
    let claim = check(&disk.read(import.id(), &policy).unwrap(), &policy).unwrap();
    assert_eq!(claim.commit, Some(original.id()));
}

#[test]
fn refuses_a_note_that_is_no_regular_file() {
    let policy = trusting(&[&release()]);
    let disk = Disk::new();
    fs::write(disk.root.path().join("note"), good_note(&[&release()])).unwrap();
    symlink("../note", disk.note()).unwrap();
    assert_eq!(unreadable(disk.read(COMMIT, &policy)), ReadError::Os(Errno::LOOP));
    fs::remove_file(disk.note()).unwrap();
    fs::create_dir(disk.note()).unwrap();
    assert_eq!(unreadable(disk.read(COMMIT, &policy)), ReadError::NotAFile);
    fs::remove_dir(disk.note()).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(disk.note()).status().unwrap().success());
    assert_eq!(unreadable(disk.read(COMMIT, &policy)), ReadError::NotAFile);
}

#[test]
fn refuses_a_note_or_a_commit_above_its_limit() {
    let policy = trusting(&[&release()]);
    let disk = Disk::new();
    File::create(disk.object(COMMIT, "commit")).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(unreadable(disk.read(COMMIT, &policy)), ReadError::TooLarge(_)));
    fs::write(disk.note(), vec![b'x'; NOTE_MAX]).unwrap();
    assert!(matches!(check(&disk.read(COMMIT, &policy).unwrap(), &policy), Err(Refusal::Note(_))));
    fs::write(disk.note(), vec![b'x'; NOTE_MAX + 1]).unwrap();
    assert_eq!(unreadable(disk.read(COMMIT, &policy)), ReadError::TooLarge(NOTE_MAX));
}

#[test]
fn an_empty_note_is_a_note_and_refused() {
    let (disk, maker) = (Disk::new(), CommitMaker::good());
    disk.add(maker.id(), &maker.signed(&[&release()]));
    fs::write(disk.note(), "").unwrap();
    let policy = trusting(&[&release()]);
    let verdict = check(&disk.read(maker.id(), &policy).unwrap(), &policy);
    assert!(matches!(verdict, Err(Refusal::Note(_))));
}
