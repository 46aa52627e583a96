//! `diff` and `explain`: what they find between images, commits, dumps and directories.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: a panic is its answer, and nobody links it"
)]

mod common;

use std::fs;
use std::path::Path;

use common::repo::TestRepo;
use common::trees::{self, Item, Kind};
use common::{Run, convert, repo_arg, scratch, seal};
use serde_json::Value;

const LABEL: &[u8] = b"system_u:object_r:usr_t:s0\0";

fn old() -> Vec<Item> {
    vec![
        trees::directory("/"),
        trees::directory("/boot"),
        trees::directory("/sysroot"),
        trees::directory("/var"),
        trees::directory("/usr"),
        trees::directory("/usr/bin"),
        trees::file("/usr/bin/app", "app 1"),
        trees::file("/usr/bin/longer", "short"),
        trees::file("/usr/bin/gone", "gone"),
        trees::file("/usr/bin/moved", "this moves"),
        trees::symlink("/usr/bin/link", "app"),
        trees::directory("/usr/lib"),
        trees::file("/usr/lib/same", "same"),
        trees::file("/usr/lib/label", "label").xattr("security.selinux", LABEL),
        trees::file("/usr/lib/mode", "mode"),
        trees::file("/usr/lib/owner", "owner"),
        trees::directory("/usr/lib/dir"),
        trees::file("/usr/lib/kind", "kind"),
        trees::directory("/etc"),
        trees::file("/etc/machine-id", "uninitialized"),
    ]
}

/// The old tree with one change of each kind.
fn new() -> Vec<Item> {
    let mut items = old();
    items.retain(|item| !["/usr/bin/gone", "/usr/bin/moved", "/usr/lib/kind"].contains(&item.path.as_str()));
    for item in &mut items {
        match item.path.as_str() {
            "/usr/bin/app" => item.kind = Kind::File(b"app 2".to_vec()),
            "/usr/bin/longer" => item.kind = Kind::File(b"not so short".to_vec()),
            "/usr/bin/link" => item.kind = Kind::Symlink("longer".to_owned()),
            "/usr/lib/label" => item.xattrs[0].1 = b"system_u:object_r:bin_t:s0\0".to_vec(),
            "/usr/lib/mode" => item.mode = 0o100755,
            "/usr/lib/owner" => (item.uid, item.gid) = (7, 8),
            "/usr/lib/dir" => item.mode = 0o040700,
            _ => {}
        }
    }
    items.push(trees::symlink("/usr/lib/kind", "mode"));
    items.push(trees::file("/usr/bin/found", "this moves"));
    items.push(trees::directory("/usr/new"));
    items.push(trees::file("/usr/new/file", "new"));
    items
}

/// What differs between the two, as `diff` prints it; the digests left out.
const EXPECTED: &[&str] = &[
    "M    /usr/bin/app: content",
    "R    /usr/bin/moved => /usr/bin/found",
    "D    /usr/bin/gone",
    "M    /usr/bin/link: target app -> longer",
    "M    /usr/bin/longer: size 5 -> 12; content",
    "M    /usr/lib/dir: mode 0755 -> 0700",
    "M    /usr/lib/kind: type 100000 -> 120000",
    "M    /usr/lib/label: xattr security.selinux \"system_u:object_r:usr_t:s0\\000\" -> \
     \"system_u:object_r:bin_t:s0\\000\"",
    "M    /usr/lib/mode: mode 0644 -> 0755",
    "M    /usr/lib/owner: owner 0:0 -> 7:8",
    "A    /usr/new",
    "A    /usr/new/file",
];

/// Commits both, and makes images of them.
struct Both {
    scratch: tempfile::TempDir,
    repo: TestRepo,
}

impl Both {
    fn new() -> Self {
        let scratch = scratch();
        let repo = TestRepo::create(&scratch.path().join("repo"), ostree::RepoMode::BareUser);
        repo.commit("old", &old());
        repo.commit("new", &new());
        for name in ["old", "new"] {
            convert(&repo.path, name, &scratch.path().join(name));
        }
        Self { scratch, repo }
    }

    fn path(&self, name: &str) -> String {
        self.scratch.path().join(name).display().to_string()
    }

    fn diff(&self, args: &[&str]) -> Run {
        seal(&[&["diff", &repo_arg(&self.repo.path)], args].concat())
    }
}

/// Lines without the summary and without digests.
fn lines(run: &Run) -> Vec<String> {
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), ""), "{}", run.stdout);
    let mut lines: Vec<String> = run
        .stdout
        .lines()
        .map(|line| {
            line.split_once("content ").map_or(line, |(start, _)| &line[..start.len() + 7]).to_owned()
        })
        .collect();
    lines.pop();
    lines
}

#[test]
fn diff_says_the_same_of_commits_images_and_dumps() {
    let both = Both::new();
    for name in ["old", "new"] {
        fs::write(both.path(&format!("{name}.dump")), seal(&["dump", &both.path(name)]).ok() + "\n").unwrap();
    }
    let (old, new) = (both.path("old"), both.path("new"));
    let (old_dump, new_dump) = (both.path("old.dump"), both.path("new.dump"));
    for (a, b) in [
        ("commit:old", "commit:new"),
        (&*old, &*new),
        (&*old_dump, &*new),
        (&*old, &*new_dump),
        ("commit:old", &*new),
        (&*old, "commit:new"),
    ] {
        assert_eq!(lines(&both.diff(&[a, b])), EXPECTED, "{a} {b}");
    }
    for (a, b) in [("commit:old", "commit:old"), (&*old, &*old_dump), ("commit:new", &*new)] {
        let run = both.diff(&[a, b]);
        assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (Some(0), "", ""), "{a} {b}");
    }
}

#[test]
fn the_summary_counts_by_kind_and_directory_and_what_a_pull_fetches() {
    let both = Both::new();
    let run = both.diff(&["--stat", "commit:old", "commit:new"]);
    // New contents, and those whose owner, mode or label are part of their object's name.
    let expected = "/usr: 1 added\n/usr/bin: 1 removed, 3 changed, 1 renamed\n/usr/lib: 5 changed\n\
                    /usr/new: 1 added\n2 added, 1 removed, 8 changed, 1 renamed; 6 objects with 34 bytes to fetch\n";
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), expected));
    let json: Value =
        serde_json::from_str(&both.diff(&["--json", &both.path("old"), &both.path("new")]).stdout).unwrap();
    assert_eq!(json["summary"]["changed"], 8);
    assert_eq!(json["summary"]["fetch_bytes"], 34, "{json}");
    assert_eq!(json["summary"]["directories"]["/usr/lib"]["changed"], 5);
    let changes = json["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 12);
    assert_eq!(changes[1]["from"], "/usr/bin/moved");
    assert_eq!(changes[0]["what"][0]["new"], ostree_seal::merkle::digest(b"app 2").to_string());
}

#[test]
fn a_directory_is_compared_with_its_contents() {
    let both = Both::new();
    let tree = both.scratch.path().join("tree");
    fs::create_dir_all(tree.join("usr/lib")).unwrap();
    fs::write(tree.join("usr/lib/same"), "same").unwrap();
    fs::write(tree.join("usr/lib/mode"), "edom").unwrap();
    fs::hard_link(tree.join("usr/lib/same"), tree.join("usr/lib/linked")).unwrap();
    let other = both.scratch.path().join("other");
    assert!(std::process::Command::new("cp").arg("-a").args([&tree, &other]).status().unwrap().success());
    let (tree, other) = (tree.display().to_string(), other.display().to_string());
    assert_eq!(both.diff(&[&tree, &other]).code, Some(0));
    fs::write(Path::new(&other).join("usr/lib/mode"), "mode").unwrap();
    fs::remove_file(Path::new(&other).join("usr/lib/linked")).unwrap();
    fs::write(Path::new(&other).join("usr/lib/linked"), "same").unwrap();
    let json: Value = serde_json::from_str(&both.diff(&["--json", &tree, &other]).stdout).unwrap();
    let property = |path: &str, property: &str| {
        let changes = json["changes"].as_array().unwrap();
        let change = changes.iter().find(|change| change["path"] == path).unwrap();
        change["what"].as_array().unwrap().iter().find(|what| what["property"] == property).cloned()
    };
    assert_eq!(
        property("/usr/lib/mode", "content").unwrap()["new"],
        ostree_seal::merkle::digest(b"mode").to_string()
    );
    let links = property("/usr/lib/same", "hard links").unwrap();
    assert_eq!((&links["old"], &links["new"]), (&"/usr/lib/linked".into(), &"none".into()));
    let run = both.diff(&[&tree, &both.path("old")]);
    assert!(run.code == Some(1) && !run.stdout.contains("/usr/lib/same: content"), "{}", run.stdout);
}

#[test]
fn explain_names_the_cause_that_explains_all_of_it() {
    let scratch = scratch();
    let path = |name: &str| scratch.path().join(name).display().to_string();
    let write = |name: &str, text: &str, version: &str| {
        fs::write(path(&format!("{name}.dump")), text).unwrap();
        let from = format!("--from-dump={}.dump", path(name));
        let args = ["mkimage", &from, &path(name)];
        let min = format!("--min-version={version}");
        seal(&[&args[..], &[&min, "--max-version=1"]].concat()).ok();
    };
    let tree = |label: &str, link: &str, id: &str| {
        format!(
            "/ 4096 40755 2 0 0 0 0.0 - - - security.selinux={label}\n\
             /a 5 100644 1 0 0 0 0.0 - hello - security.selinux={label}\n{link}\
             /etc 4096 40755 2 0 0 0 0.0 - - -\n/etc/machine-id 1 100644 1 0 0 0 0.0 - {id} -\n"
        )
    };
    let link = "/b 0 @100644 1 0 0 0 0.0 /a - -\n";
    let copy = "/b 5 100644 1 0 0 0 0.0 - hello - security.selinux=one\n";
    write("base", &tree("one", link, "1"), "0");
    write("version", &tree("one", link, "1"), "1");
    write("label", &tree("two", link, "1"), "0");
    write("copy", &tree("one", copy, "1"), "0");
    write("id", &tree("one", link, "2"), "0");
    write("much", &tree("two", "", "2"), "0");
    for (other, code, says) in [
        ("base", 0, "the two are the same image, byte for byte"),
        ("version", 0, "same tree, image format version 1 instead of 0"),
        ("label", 1, "these 3 paths differ only in security.selinux: / and others"),
        ("copy", 1, "hard links were kept on the first side only: 2 paths"),
        ("id", 1, "/etc/machine-id differs: content"),
        ("much", 1, "4 paths differ: "),
    ] {
        let run = seal(&["explain", &path("base"), &path(other)]);
        assert_eq!((run.code, run.stderr.as_str()), (Some(code), ""), "{other}");
        assert!(run.stdout.starts_with(says), "{other}: {}", run.stdout);
    }
}

#[test]
fn trouble_of_diff_and_explain_is_2() {
    let both = Both::new();
    for command in ["diff", "explain"] {
        for (args, says) in [
            (&["/none", "/dev"][..], "looking for /none"),
            (&["commit:old", "commit:new"], "--repo=DIR says"),
            (&["/dev/null", "/dev/null"], "it is not a regular file"),
            (&["deployment:0", "deployment:1", "--sysroot=/none"], "opening the sysroot /none"),
        ] {
            let run = seal(&[&[command], args].concat());
            assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{args:?}");
            assert!(run.stderr.contains(says), "{args:?}: {}", run.stderr);
        }
        assert_eq!(seal(&[command, &both.path("old")]).code, Some(2));
        fs::write(both.path("text"), "text").unwrap();
        let run = seal(&[command, &both.path("text"), &both.path("old")]);
        assert!(
            run.code == Some(2) && run.stderr.contains("neither a composefs image nor"),
            "{}",
            run.stderr
        );
    }
}

/// `a{sv}` with the digest that a commit promises.
fn promise(digest: &str) -> ostree::glib::Variant {
    use ostree::glib::prelude::ToVariant as _;
    let bytes: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&digest[at * 2..][..2], 16).unwrap()).collect();
    let metadata = ostree::glib::VariantDict::new(None);
    metadata.insert_value("ostree.composefs.digest.v0", &bytes.to_variant());
    metadata.end()
}

#[test]
fn convert_says_why_the_image_is_not_the_one_that_was_promised() {
    let both = Both::new();
    let image = both.scratch.path().join("image");
    let (digest, _) = convert(&both.repo.path, "old", &image);
    let mut items = old();
    items.iter_mut().find(|item| item.path == "/etc/machine-id").unwrap().mode = 0o100444;
    both.repo.commit_with("promised", &items, Some(&promise(&digest)));
    let args = ["convert", &repo_arg(&both.repo.path), "promised", image.to_str().unwrap()];
    let run = seal(&args);
    assert_eq!((run.code, run.stdout.as_str()), (Some(3), ""), "{}", run.stderr);
    let says = format!("the image that was promised is {}: /etc/machine-id differs: mode\n", image.display());
    assert!(run.stderr.starts_with(&says), "{}", run.stderr);
    // Another image says nothing of it.
    convert(&both.repo.path, "new", &image);
    let run = seal(&args);
    assert!(run.code == Some(3) && run.stderr.starts_with("error: commit"), "{}", run.stderr);
}
