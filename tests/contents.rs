//! A signer vouches for contents: damaged ones are named and not signed.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: a panic is its answer, and nobody links it"
)]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use common::repo::{MODES, TestRepo};
use common::{Run, is_root, object, repo_arg, run, scratch, seal, trees};
use tempfile::TempDir;

struct Fixture {
    scratch: TempDir,
    repo: TestRepo,
}

impl Fixture {
    /// A repository with the golden tree on `main`, and a key.
    fn new(mode: ostree::RepoMode) -> Self {
        let scratch = scratch();
        let repo = TestRepo::create(&scratch.path().join("repo"), mode);
        repo.commit("main", &trees::golden());
        let key = scratch.path().join("key").display().to_string();
        seal(&["keygen", "--name=example.com/key", &key]).ok();
        Self { scratch, repo }
    }

    fn path(&self, name: &str) -> String {
        self.scratch.path().join(name).display().to_string()
    }

    /// The checksum of a file object, and where it lies.
    fn object(&self, path: &str) -> (String, PathBuf) {
        let listing = run("ostree", &["ls", "-C", &repo_arg(&self.repo.path), "main", path]);
        let checksum = listing.split_whitespace().find(|word| word.len() == 64).unwrap().to_owned();
        let extension = if self.repo.repo.mode() == ostree::RepoMode::Archive { "filez" } else { "file" };
        let file = object(&self.repo.path, &checksum, extension);
        (checksum, file)
    }

    /// Runs every command that reads contents, without what earlier runs have learned.
    fn reading(&self, more: &[&str]) -> Vec<(&'static str, Run)> {
        let repo = repo_arg(&self.repo.path);
        let (image, key) = (self.path("image"), format!("--key={}", self.path("key.key")));
        let bindings = ["--product=example.com/os", "--index=1"];
        let commands: [(&str, Vec<&str>); 4] = [
            ("convert", vec!["convert", "--no-cache", &repo, "main", &image]),
            ("digest", vec!["digest", "--no-cache", &repo, "main"]),
            ("sign", [&["sign", &repo, "main", &key][..], &bindings].concat()),
            ("note text", [&["note", "text", &repo, "main"][..], &bindings].concat()),
        ];
        commands.into_iter().map(|(name, args)| (name, seal(&[&args[..], more].concat()))).collect()
    }

    fn assert_damaged(&self, checksum: &str, path: &str) {
        for (name, result) in self.reading(&[]) {
            assert_eq!((result.code, result.stdout.as_str()), (Some(3), ""), "{name}: {}", result.stderr);
            let expected = format!("object {checksum}.file of {path} is damaged: ");
            assert!(result.stderr.contains(&expected), "{name}: {}", result.stderr);
        }
        assert!(!Path::new(&self.path("image")).exists());
        let notes = seal(&["verify", "--repo", &self.path("repo"), "main", "--trust=/nowhere"]);
        assert_ne!(notes.code, Some(0));
        let listed = Run::of(std::process::Command::new("ostree").args([
            "show",
            &repo_arg(&self.repo.path),
            "--print-detached-metadata-key=ostree-seal.note",
            "main",
        ]));
        assert_ne!(listed.code, Some(0), "it was signed: {}", listed.stdout);
    }
}

/// One byte in the middle, and nothing else of the file.
fn change_a_byte(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let mode = fs::metadata(path).unwrap().permissions();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, mode).unwrap();
}

#[test]
fn what_is_as_it_was_committed_is_signed_in_every_mode() {
    for mode in MODES {
        let fixture = Fixture::new(mode);
        for (name, result) in fixture.reading(&[]) {
            assert_eq!(result.code, Some(0), "{mode:?} {name}: {}", result.stderr);
        }
    }
}

#[test]
fn damaged_contents_are_named_and_not_signed_in_any_mode() {
    for mode in MODES {
        let fixture = Fixture::new(mode);
        let (checksum, file) = fixture.object("/baz/cow");
        if mode == ostree::RepoMode::Archive {
            // Its owner: the deflated content would no longer be one.
            let mut bytes = fs::read(&file).unwrap();
            bytes[19] ^= 1;
            fs::write(&file, bytes).unwrap();
        } else {
            change_a_byte(&file);
        }
        fixture.assert_damaged(&checksum, "/baz/cow");
    }
}

#[test]
fn a_flipped_bit_in_an_archived_owner_mode_or_content_is_damage() {
    for at in [19, 26, 27, 36] {
        let fixture = Fixture::new(ostree::RepoMode::Archive);
        let (checksum, file) = fixture.object("/baz/cow");
        let mut bytes = fs::read(&file).unwrap();
        bytes[at] ^= 1;
        fs::write(&file, bytes).unwrap();
        let digest = seal(&["digest", &repo_arg(&fixture.repo.path), "main"]);
        assert_eq!(digest.code, Some(3), "{at}: {}", digest.stderr);
        let expected = format!("object {checksum}.file of /baz/cow is damaged: ");
        assert!(digest.stderr.contains(&expected), "{at}: {}", digest.stderr);
    }
}

#[test]
fn a_changed_owner_mode_target_or_label_is_damage_too() {
    if !is_root("a_changed_owner_mode_target_or_label_is_damage_too") {
        return;
    }
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("/baz/cow", |file| std::os::unix::fs::chown(file, Some(4711), None).unwrap()),
        ("/baz/cow", |file| fs::set_permissions(file, fs::Permissions::from_mode(0o4755)).unwrap()),
        ("/baz/cow", |file| {
            rustix::fs::setxattr(file, "user.more", b"x", rustix::fs::XattrFlags::empty()).unwrap();
        }),
        ("/somelink", |file| {
            fs::remove_file(file).unwrap();
            symlink("elsewhere", file).unwrap();
        }),
    ];
    for (path, change) in changes {
        let fixture = Fixture::new(ostree::RepoMode::Bare);
        let (checksum, file) = fixture.object(path);
        change(&file);
        fixture.assert_damaged(&checksum, path);
    }
}

#[test]
fn who_says_no_fsck_gets_the_digest_of_what_is_there() {
    let fixture = Fixture::new(ostree::RepoMode::BareUser);
    change_a_byte(&fixture.object("/baz/cow").1);
    for (name, result) in fixture.reading(&["--no-fsck"]) {
        assert_eq!(result.code, Some(0), "{name}: {}", result.stderr);
    }
}

#[test]
fn a_signer_doesnt_take_a_caches_word_for_contents() {
    let fixture = Fixture::new(ostree::RepoMode::BareUser);
    let (repo, image) = (repo_arg(&fixture.repo.path), fixture.path("image"));
    let good = seal(&["convert", &repo, "main", &image]).ok();
    let (checksum, file) = fixture.object("/baz/cow");
    change_a_byte(&file);
    // The cache knows the object and its content isn't read.
    assert_eq!(seal(&["convert", &repo, "main", &image]).ok(), good);
    fs::remove_file(&image).unwrap();
    fixture.assert_damaged(&checksum, "/baz/cow");
}

#[test]
fn a_commit_of_which_only_a_part_was_pulled_is_said_to_be_one() {
    let fixture = Fixture::new(ostree::RepoMode::Archive);
    let partial = scratch();
    let repo = TestRepo::create(&partial.path().join("repo"), ostree::RepoMode::BareUser);
    let (to, from) = (repo_arg(&repo.path), fixture.path("repo"));
    run("ostree", &["pull-local", &to, "--commit-metadata-only", &from, "main"]);
    let result = seal(&["digest", &to, "main"]);
    assert_eq!(result.code, Some(1));
    assert!(result.stderr.contains("only a part of its commit was pulled"), "{}", result.stderr);
    run("ostree", &["pull-local", &to, &from, "main"]);
    assert_eq!(seal(&["digest", &to, "main"]).code, Some(0));
}

#[test]
fn a_commit_that_was_deleted_on_purpose_is_said_to_be_one() {
    let fixture = Fixture::new(ostree::RepoMode::BareUser);
    let repo = repo_arg(&fixture.repo.path);
    let commit = run("ostree", &["rev-parse", &repo, "main"]);
    run("ostree", &["config", &repo, "set", "core.tombstone-commits", "true"]);
    run("ostree", &["refs", &repo, "--delete", "main"]);
    run("ostree", &["prune", &repo, &format!("--delete-commit={commit}")]);
    let result = seal(&["digest", &repo, &commit]);
    assert_eq!(result.code, Some(1));
    assert!(result.stderr.contains("deleted on purpose"), "{}", result.stderr);
}
