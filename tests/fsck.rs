//! `fsck`: damage is named by object and by path, and repaired from another repository.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: a panic is its answer, and nobody links it"
)]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use common::repo::TestRepo;
use common::system::{System, set_immutable};
use common::trees;
use common::{is_root, object, repo_arg, run, scratch, seal};
use serde_json::Value;

const LABEL: &[u8] = b"system_u:object_r:usr_t:s0\0";

/// Two repositories with the same commit; the second has it whole.
struct Pair {
    _scratch: tempfile::TempDir,
    repo: TestRepo,
    from: TestRepo,
}

impl Pair {
    fn new(mode: ostree::RepoMode, from: ostree::RepoMode) -> Self {
        let scratch = scratch();
        let items = [
            trees::directory("/"),
            trees::directory("/usr"),
            trees::file("/usr/app", "an application").mode(0o755).xattr("security.selinux", LABEL),
            trees::file("/usr/large", trees::content(700_000)),
            trees::file("/usr/twin", "the same"),
            trees::file("/usr/other-twin", "the same"),
            trees::symlink("/usr/link", "app"),
        ];
        let make = |name: &str, mode| {
            let repo = TestRepo::create(&scratch.path().join(name), mode);
            repo.commit("main", &items);
            repo
        };
        let (repo, from) = (make("repo", mode), make("from", from));
        Self { repo, from, _scratch: scratch }
    }

    fn object(&self, path: &str) -> PathBuf {
        object(&self.repo.path, &self.checksum(path), "file")
    }

    fn checksum(&self, path: &str) -> String {
        let line = run("ostree", &["ls", "-C", &repo_arg(&self.repo.path), "main", path]);
        line.split(' ').find(|word| word.len() == 64).unwrap().to_owned()
    }

    fn fsck(&self, args: &[&str]) -> (Option<i32>, Value) {
        let run = seal(&[&["fsck", "--json", &repo_arg(&self.repo.path)], args].concat());
        assert_eq!(run.stderr, "");
        (run.code, serde_json::from_str(&run.stdout).unwrap())
    }

    fn repair(&self) -> (Option<i32>, Value) {
        let from = format!("--from={}", self.from.path.display());
        self.fsck(&["--content", "--repair", &from])
    }
}

type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Owner, mode, time, xattrs and content.
fn state(path: &Path) -> (u32, u32, u32, i64, Xattrs, Vec<u8>) {
    let metadata = fs::symlink_metadata(path).unwrap();
    let mut room = [0; 4096];
    let len = rustix::fs::llistxattr(path, &mut room).unwrap();
    let names = room[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut room = [0; 4096];
        let len = rustix::fs::lgetxattr(path, name, &mut room).unwrap();
        room[..len].to_vec()
    };
    let mut xattrs: Xattrs = names.map(|name| (name.to_vec(), value(name))).collect();
    xattrs.sort();
    (metadata.uid(), metadata.gid(), metadata.mode(), metadata.mtime(), xattrs, fs::read(path).unwrap())
}

fn flip(path: &Path) {
    let mode = fs::metadata(path).unwrap().permissions();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    let mut bytes = fs::read(path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, mode).unwrap();
}

fn modes() -> Vec<ostree::RepoMode> {
    let mut modes = vec![ostree::RepoMode::BareUser];
    if rustix::process::geteuid().is_root() {
        modes.push(ostree::RepoMode::Bare);
    }
    modes
}

#[test]
fn damage_is_named_with_all_its_paths_and_mended_from_another_repository() {
    for mode in modes() {
        for from in [ostree::RepoMode::BareUser, ostree::RepoMode::Archive] {
            let pair = Pair::new(mode, from);
            let (code, report) = pair.fsck(&["--content"]);
            assert_eq!((code, &report["damage"]), (Some(0), &Value::Array(Vec::new())), "{report}");
            let paths = ["/usr/app", "/usr/large", "/usr/twin"];
            // What is missing can't be looked up any more.
            let names = paths.map(|path| pair.checksum(path));
            let objects = paths.map(|path| pair.object(path));
            let before = objects.each_ref().map(|object| state(object));
            flip(&objects[0]);
            fs::remove_file(&objects[1]).unwrap();
            flip(&objects[2]);
            let (code, report) = pair.fsck(&["--content"]);
            let damage = report["damage"].as_array().unwrap();
            assert_eq!((code, damage.len()), (Some(4), 3), "{report}");
            let of = |path: &str| {
                let name = &names[paths.iter().position(|other| *other == path).unwrap()];
                damage.iter().find(|damage| damage["object"] == name.as_str()).unwrap().clone()
            };
            assert!(of("/usr/app")["fault"].as_str().unwrap().contains("have the SHA-256"), "{report}");
            assert_eq!(of("/usr/large")["fault"], "it is missing");
            let twins: Vec<_> = of("/usr/twin")["paths"]
                .as_array()
                .unwrap()
                .iter()
                .map(|path| path["path"].clone())
                .collect();
            assert_eq!(twins, ["/usr/other-twin", "/usr/twin"]);
            // Without the contents, only that is found which is not there.
            assert_eq!(pair.fsck(&[]).1["damage"].as_array().unwrap().len(), 1);
            let (code, report) = pair.repair();
            assert_eq!((code, &report["repaired"]), (Some(1), &3.into()), "{report}");
            assert_eq!(pair.fsck(&["--content"]).0, Some(0));
            assert_eq!(objects.each_ref().map(|object| state(object)), before, "{mode:?}");
            run("ostree", &["fsck", &repo_arg(&pair.repo.path)]);
        }
    }
}

#[test]
fn a_wrong_mode_is_damage_and_mended() {
    if !is_root("a_wrong_mode_is_damage_and_mended") {
        return;
    }
    let pair = Pair::new(ostree::RepoMode::Bare, ostree::RepoMode::Archive);
    let app = pair.object("/usr/app");
    let before = state(&app);
    fs::set_permissions(&app, fs::Permissions::from_mode(0o4755)).unwrap();
    assert_eq!(pair.fsck(&["--content"]).0, Some(4));
    assert_eq!(pair.repair().0, Some(1));
    assert_eq!(state(&app), before);
}

#[test]
fn a_repair_makes_nothing_worse() {
    let pair = Pair::new(ostree::RepoMode::BareUser, ostree::RepoMode::BareUser);
    let app = pair.object("/usr/app");
    flip(&app);
    let damaged = state(&app);
    // The other repository's is damaged, too: in another way, and then missing.
    let other = object(&pair.from.path, &pair.checksum("/usr/app"), "file");
    fs::write(&other, "something else").unwrap();
    let (code, report) = pair.repair();
    assert_eq!((code, &report["repaired"]), (Some(4), &0.into()));
    let why = report["damage"][0]["not_repaired"].as_str().unwrap();
    assert!(why.contains("the other repository's is damaged, too"), "{why}");
    fs::remove_file(&other).unwrap();
    assert_eq!(pair.repair().0, Some(4));
    assert_eq!(state(&app), damaged);
    let names = common::names(app.parent().unwrap());
    assert!(names.iter().all(|name| !name.starts_with(".ostree-seal-")), "{names:?}");
}

#[test]
fn a_missing_directory_of_a_commit_is_named() {
    let pair = Pair::new(ostree::RepoMode::BareUser, ostree::RepoMode::BareUser);
    let line = run("ostree", &["ls", "-d", "-C", &repo_arg(&pair.repo.path), "main", "/usr"]);
    let dirtree = line.split(' ').find(|word| word.len() == 64).unwrap();
    fs::remove_file(object(&pair.repo.path, dirtree, "dirtree")).unwrap();
    let (code, report) = pair.fsck(&[]);
    assert_eq!(code, Some(4));
    let problem = report["images"][0]["problem"].as_str().unwrap();
    assert!(problem.starts_with("/usr/: object") && problem.contains("is missing"), "{problem}");
}

#[test]
fn a_deployment_is_checked_against_its_note_and_its_objects_by_path() {
    if !is_root("a_deployment_is_checked_against_its_note_and_its_objects_by_path") {
        return;
    }
    let system = System::sealable();
    let sysroot = format!("--sysroot={}", system.root.display());
    let fsck = |args: &[&str]| {
        let run = seal(&[&["fsck", "--json", &sysroot], args].concat());
        (run.code, serde_json::from_str::<Value>(&run.stdout).unwrap())
    };
    // Before it is sealed, it is its commit.
    assert_eq!(fsck(&["--content"]).0, Some(0));
    system.deploy(&["--defer-verity"]).ok();
    // Nothing has fs-verity yet, and so the kernel would check nothing.
    let (code, report) = fsck(&[]);
    assert_eq!((code, &report["damage"]), (Some(4), &Value::Array(Vec::new())), "{report}");
    assert!(report["without_verity"].as_u64().unwrap() > 5, "{report}");
    let stat = seal(&["stat", "--json", &sysroot, "0", "/usr/bin/hello"]).ok();
    let name = serde_json::from_str::<Value>(&stat).unwrap()["object"].as_str().unwrap().to_owned();
    fs::remove_file(system.repo().join("objects").join(name)).unwrap();
    let (_, report) = fsck(&[]);
    let paths = &report["damage"][0]["paths"];
    assert_eq!(
        (&paths[0]["of"], &paths[0]["path"]),
        (&"deployment 0".into(), &"/usr/bin/hello".into()),
        "{report}"
    );
    let image = system.only_deployment().join(".ostree.cfs");
    let mut bytes = fs::read(&image).unwrap();
    bytes[4095] ^= 1;
    set_immutable(&system.only_deployment(), false);
    fs::remove_file(&image).unwrap();
    fs::write(&image, bytes).unwrap();
    let (_, report) = fsck(&[]);
    assert!(report["images"].to_string().contains("its note is for"), "{report}");
}

#[test]
fn the_exit_codes_are_those_of_fsck_8() {
    for (args, code) in [
        (&["fsck", "--repo=/none"][..], 8),
        (&["fsck", "--sysroot=/none"], 8),
        (&["fsck", "--repair"], 2),
        (&["fsck", "--from=/x"], 2),
        (&["fsck", "ref-without-repo"], 2),
    ] {
        let run = seal(args);
        assert_eq!((run.code, run.stdout.as_str()), (Some(code), ""), "{args:?}: {}", run.stderr);
    }
    let pair = Pair::new(ostree::RepoMode::BareUser, ostree::RepoMode::BareUser);
    let text = seal(&["fsck", &repo_arg(&pair.repo.path)]);
    assert_eq!((text.code, text.stdout.as_str()), (Some(0), "commit main: 4 objects: nothing is wrong\n"));
}
