//! `ls`, `cat` and `stat`: what they say of images, commits and deployments is what libostree says and what was committed.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: a panic is its answer, and nobody links it"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::repo::TestRepo;
use common::system::System;
use common::trees::{Item, Kind};
use common::{Run, convert, is_root, object, on_a_terminal, program, repo_arg, run, scratch, seal, trees};
use serde_json::Value;

/// A file's type, mode, owner, group, size of a regular file, and target of a symlink.
type Fields = (char, u32, u64, u64, Option<u64>, Option<String>);

/// What `ostree ls -R` says, by path. Names with newlines must not be there.
fn ostree_ls(repo: &Path, rev: &str) -> BTreeMap<String, Fields> {
    let text = run("ostree", &["ls", "-R", &repo_arg(repo), rev]);
    let parse = |line: &str| {
        let (kind, rest) = line.split_at(1);
        let mut words = rest;
        let mut word = || {
            let trimmed = words.trim_start_matches(' ');
            let (word, rest) = trimmed.split_once(' ').unwrap();
            words = rest;
            word.to_owned()
        };
        let (mode, uid, gid, size) = (word(), word(), word(), word());
        let kind = if kind == "-" { 'f' } else { kind.chars().next().unwrap() };
        let (path, target) = match words.split_once(" -> ") {
            Some((path, target)) if kind == 'l' => (path, Some(target.to_owned())),
            _ => (words, None),
        };
        let size = (kind == 'f').then(|| size.parse().unwrap());
        let mode = u32::from_str_radix(&mode, 8).unwrap() & 0o7777;
        (path.to_owned(), (kind, mode, uid.parse().unwrap(), gid.parse().unwrap(), size, target))
    };
    text.lines().map(parse).collect()
}

/// What `ls -R --json` says.
fn our_ls(args: &[&str]) -> BTreeMap<String, Fields> {
    let text = seal(&[&["ls", "-R", "--json"], args].concat()).ok();
    let parse = |line: &str| {
        let json: Value = serde_json::from_str(line).unwrap();
        let kind = json["type"].as_str().unwrap().chars().next().unwrap();
        let mode = u32::from_str_radix(json["mode"].as_str().unwrap(), 8).unwrap();
        let size = (kind == 'f').then(|| json["size"].as_u64().unwrap());
        let target = json["target"].as_str().map(str::to_owned);
        let fields = (kind, mode, json["uid"].as_u64().unwrap(), json["gid"].as_u64().unwrap(), size, target);
        (json["path"].as_str().unwrap().to_owned(), fields)
    };
    text.lines().map(parse).collect()
}

/// Items that every program prints on one line, and that bring the directories that an image has anyway.
fn items() -> Vec<Item> {
    let mut items = trees::nasty();
    items.retain(|item| !item.path.contains(['\n', '\r']));
    let extra = ["/boot", "/sysroot"].map(trees::directory);
    items.extend(extra);
    items
}

fn modes() -> Vec<ostree::RepoMode> {
    let mut modes = vec![ostree::RepoMode::BareUser, ostree::RepoMode::Archive];
    if rustix::process::geteuid().is_root() {
        modes.push(ostree::RepoMode::Bare);
    }
    modes
}

#[test]
fn ls_says_of_commit_and_image_what_ostree_ls_says() {
    for mode in modes() {
        let scratch = scratch();
        let repo = TestRepo::create(&scratch.path().join("repo"), mode);
        repo.commit("main", &items());
        let expected = ostree_ls(&repo.path, "main");
        assert!(expected.len() > 200, "{}", expected.len());
        assert_eq!(our_ls(&[&repo_arg(&repo.path), "main"]), expected, "{mode:?}");
        let image = scratch.path().join("image");
        convert(&repo.path, "main", &image);
        assert_eq!(our_ls(&[image.to_str().unwrap()]), expected, "{mode:?}");
    }
}

/// The regular files of items, and their contents one behind the other.
fn contents(items: &[Item]) -> (Vec<&str>, Vec<u8>) {
    let mut paths = Vec::new();
    let mut all = Vec::new();
    for item in items {
        if let Kind::File(content) = &item.kind {
            paths.push(item.path.as_str());
            all.extend_from_slice(content);
        }
    }
    (paths, all)
}

fn cat(args: &[&str], paths: &[&str]) -> (Option<i32>, Vec<u8>, String) {
    let output = program().arg("cat").args(args).arg("--").args(paths).output().unwrap();
    (output.status.code(), output.stdout, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn cat_of_every_file_is_what_was_committed() {
    let items = items();
    let (paths, expected) = contents(&items);
    assert!(paths.len() > 200);
    for mode in modes() {
        let scratch = scratch();
        let repo = TestRepo::create(&scratch.path().join("repo"), mode);
        repo.commit("main", &items);
        let of = |args: &[&str], what: &str| {
            let all = [&[what][..], &paths].concat();
            let (code, stdout, stderr) = cat(args, &all);
            assert_eq!((code, stderr.as_str()), (Some(0), ""), "{mode:?}");
            assert!(stdout == expected, "{mode:?}: {args:?}");
        };
        of(&[&repo_arg(&repo.path)], "main");
        if mode != ostree::RepoMode::Archive {
            let image = scratch.path().join("image");
            convert(&repo.path, "main", &image);
            of(&[&format!("--objects={}/objects", repo.path.display())], image.to_str().unwrap());
        }
    }
}

#[test]
fn cat_prints_nothing_of_a_damaged_file() {
    let scratch = scratch();
    let repo = TestRepo::create(&scratch.path().join("repo"), ostree::RepoMode::BareUser);
    let large = trees::content(3_000_000);
    let items = [trees::directory("/"), trees::file("/good", "good"), trees::file("/large", large.clone())];
    repo.commit("main", &items);
    let image = scratch.path().join("image");
    convert(&repo.path, "main", &image);
    let (image, objects) = (image.to_str().unwrap(), format!("--objects={}/objects", repo.path.display()));
    let stat = seal(&["stat", "--json", image, "/large"]).ok();
    let name = serde_json::from_str::<Value>(&stat).unwrap()["object"].as_str().unwrap().to_owned();
    let path = repo.path.join("objects").join(&name);
    for (what, damaged) in [
        ("a flipped bit at the end", [&large[..large.len() - 1], &[large[large.len() - 1] ^ 1]].concat()),
        ("one byte less", large[..large.len() - 1].to_vec()),
        ("one byte more", [&large[..], b"x"].concat()),
        ("nothing", Vec::new()),
    ] {
        fs::write(&path, damaged).unwrap();
        let (code, stdout, stderr) = cat(&[&objects], &[image, "/large"]);
        assert_eq!((code, stdout.len()), (Some(3), 0), "{what}: {stderr}");
        assert!(stderr.contains(&name) && stderr.contains("/large"), "{what}: {stderr}");
        let (code, stdout, stderr) = cat(&[&repo_arg(&repo.path)], &["main", "/large"]);
        assert_eq!((code, stdout.len()), (Some(3), 0), "{what}: {stderr}");
        assert!(stderr.contains("is damaged"), "{what}: {stderr}");
        // What is whole is still readable.
        assert_eq!(cat(&[&objects], &[image, "/good"]).1, b"good");
    }
    fs::remove_file(&path).unwrap();
    let (code, stdout, stderr) = cat(&[&objects], &[image, "/large"]);
    assert_eq!((code, stdout.len()), (Some(1), 0));
    assert!(stderr.contains("is missing from"), "{stderr}");
    let (code, _, stderr) = cat(&[], &[image, "/large"]);
    assert!(code == Some(1) && stderr.contains("--objects=DIR"), "{stderr}");
}

#[test]
fn an_image_leads_to_no_file_outside_of_the_object_directory() {
    let scratch = scratch();
    let secret = b"secret";
    fs::create_dir(scratch.path().join("objects")).unwrap();
    fs::write(scratch.path().join("secret"), secret).unwrap();
    std::os::unix::fs::symlink("../secret", scratch.path().join("objects/link")).unwrap();
    let digest = ostree_seal::merkle::digest(secret);
    let dump = format!(
        "/ 4096 40755 2 0 0 0 0.0 - - -\n/up 6 100644 1 0 0 0 0.0 ../secret - {digest}\n\
         /link 6 100644 1 0 0 0 0.0 link - {digest}\n/none 6 100644 1 0 0 0 0.0 a - -\n"
    );
    let (text, image) = (scratch.path().join("dump"), scratch.path().join("image"));
    fs::write(&text, dump).unwrap();
    seal(&["mkimage", &format!("--from-dump={}", text.display()), image.to_str().unwrap()]).ok();
    let objects = format!("--objects={}/objects", scratch.path().display());
    for path in ["/up", "/link"] {
        let (code, stdout, stderr) = cat(&[&objects], &[image.to_str().unwrap(), path]);
        assert_eq!((code, stdout.len()), (Some(1), 0), "{path}: {stderr}");
    }
    // What can't be checked isn't shown either.
    fs::write(scratch.path().join("objects/a"), secret).unwrap();
    let (code, stdout, stderr) = cat(&[&objects], &[image.to_str().unwrap(), "/none"]);
    assert_eq!((code, stdout.len()), (Some(3), 0), "{stderr}");
}

/// A repository with a few files and an image of it.
fn small(directory: &Path) -> (TestRepo, String) {
    let repo = TestRepo::create(&directory.join("repo"), ostree::RepoMode::BareUser);
    repo.commit(
        "main",
        &[
            trees::directory("/"),
            trees::directory("/usr"),
            trees::directory("/usr/bin"),
            trees::file("/usr/bin/app", "app").mode(0o755).xattr("security.selinux", b"label\0"),
            trees::file("/usr/bin/b\x1b[2Jad\n", "bad"),
            trees::symlink("/usr/bin/alias", "app"),
            trees::symlink("/bin", "usr/bin"),
            trees::symlink("/out", "../../bin/app"),
            trees::symlink("/loop", "loop"),
            trees::file("/usr/lib.so", "lib"),
        ],
    );
    let image = directory.join("image");
    convert(&repo.path, "main", &image);
    let image = image.display().to_string();
    (repo, image)
}

#[test]
fn symlinks_lead_to_where_the_system_would_see_them() {
    let scratch = scratch();
    let (repo, image) = small(scratch.path());
    let objects = format!("--objects={}/objects", repo.path.display());
    for path in ["/usr/bin/app", "usr/bin/app", "/bin/app", "/bin/alias", "/out", "//bin/../bin/./app"] {
        assert_eq!(cat(&[&objects], &[&image, path]).1, b"app", "{path}");
        assert_eq!(cat(&[&repo_arg(&repo.path)], &["main", path]).1, b"app", "{path}");
    }
    for (path, says) in [
        ("/loop", "symlinks lead there"),
        ("/usr/none", "there is no none in /usr"),
        ("/usr/bin/app/x", "is not a directory"),
        ("/usr", "is a directory, which has no content"),
    ] {
        let (code, _, stderr) = cat(&[&objects], &[&image, path]);
        assert!(code == Some(1) && stderr.contains(says), "{path}: {stderr}");
    }
}

#[test]
fn names_are_shown_on_a_terminal_and_never_obeyed_and_are_whole_with_0() {
    let scratch = scratch();
    let (_, image) = small(scratch.path());
    let text = seal(&["ls", &image, "/usr/bin"]).ok();
    assert!(text.contains("/usr/bin/b\\u{1b}[2Jad\\n") && !text.contains('\x1b'), "{text}");
    assert_eq!(text.lines().count(), 3, "{text}");
    let nul = seal(&["ls", "-0", &image, "/usr/bin"]).ok();
    assert_eq!(nul, "/usr/bin/alias\0/usr/bin/app\0/usr/bin/b\x1b[2Jad\n\0");
    let json = seal(&["ls", "--json", &image, "/usr/bin"]).ok();
    assert!(!json.contains('\x1b'));
    let last: Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
    assert_eq!(last["path"], "/usr/bin/b\x1b[2Jad\n");
    // Colours on a terminal only.
    let mut command = program();
    command.args(["ls", &image, "/"]);
    let shown = on_a_terminal(&command);
    assert!(
        shown.contains("\x1b[1;34m/usr\x1b[0m") && shown.contains("\x1b[1;36m/bin\x1b[0m -> usr/bin"),
        "{shown:?}"
    );
    assert!(!Run::of(&mut command).ok().contains('\x1b'));
}

#[test]
fn ls_shows_what_is_asked_for_in_the_words_of_find() {
    let scratch = scratch();
    let (repo, image) = small(scratch.path());
    let repo = repo_arg(&repo.path);
    for what in [&[image.as_str()][..], &[&repo, "main"]] {
        let paths = |args: &[&str]| {
            let text = seal(&[&["ls", "-0"], args, what].concat()).ok();
            text.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(paths(&["-R", "--name=*.so"]), ["/usr/lib.so"]);
        assert_eq!(paths(&["-R", "--type=l", "--path=/usr/*"]), ["/usr/bin/alias"]);
        assert_eq!(paths(&["-d"]), ["/"]);
        assert_eq!(paths(&["-R", "--type=f,l", "--name=a*"]), ["/usr/bin/alias", "/usr/bin/app"]);
        let below = paths(&["-R"]);
        assert!(below.contains(&"/usr/bin".to_owned()) && below[0] == "/", "{below:?}");
    }
    // The directories that a boot needs are in the image alone.
    assert!(seal(&["ls", &image]).ok().contains("/sysroot"));
    for args in
        [&["ls"][..], &["ls", "--type=x,y", "--repo=x"], &["cat", &image], &["ls", "-d", "-R", &image]]
    {
        assert_eq!(seal(args).code, Some(2), "{args:?}");
    }
    for args in
        [&["ls", "/none"][..], &["ls", "/dev/null"], &["ls", "--type=x", &image], &["ls", &image, "/none"]]
    {
        let run = seal(args);
        assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{args:?}");
    }
}

#[test]
fn stat_shows_all_that_is_known_of_a_file() {
    let scratch = scratch();
    let (repo, image) = small(scratch.path());
    let text = seal(&["stat", &image, "/usr/bin/app"]).ok();
    let object = Path::new(&object(&repo.path, &checksum_of(&repo.path, "/usr/bin/app"), "file"))
        .strip_prefix(repo.path.join("objects"))
        .unwrap()
        .display()
        .to_string();
    let expected = format!(
        "  File: /usr/bin/app\n  Size: 3               regular file\n\
         Access: (0755/-rwxr-xr-x)  Uid: 0   Gid: 0   Links: 1\nModify: 1970-01-01 00:00:00.000000000 +0000\n\
         Object: {object}\nDigest: {}\n Xattr: security.selinux=\"label\\000\"",
        ostree_seal::merkle::digest(b"app")
    );
    assert_eq!(text, expected);
    let json = |args: &[&str]| -> Value {
        serde_json::from_str(&seal(&[&["stat", "--json"], args].concat()).ok()).unwrap()
    };
    let (of_image, of_commit) =
        (json(&[&image, "/usr/bin/app"]), json(&[&repo_arg(&repo.path), "main", "/bin/app"]));
    for field in ["path", "type", "mode", "uid", "gid", "size", "object", "xattrs"] {
        assert_eq!(of_image[field], of_commit[field], "{field}");
    }
    assert_eq!(json(&["-L", &image, "/out"])["path"], "/usr/bin/app");
    assert_eq!(json(&[&image, "/out"])["target"], "../../bin/app");
}

/// The checksum of a file, as `ostree ls -C` has it.
fn checksum_of(repo: &Path, path: &str) -> String {
    let line = run("ostree", &["ls", "-C", &repo_arg(repo), "main", path]);
    line.split(' ').find(|word| word.len() == 64).unwrap().to_owned()
}

#[test]
fn a_deployment_is_its_image_or_before_there_is_one_its_commit() {
    if !is_root("a_deployment_is_its_image_or_before_there_is_one_its_commit") {
        return;
    }
    let system = System::sealable();
    let sysroot = format!("--sysroot={}", system.root.display());
    let digest = || {
        let json = seal(&["stat", "--json", &sysroot, "0", "/usr/bin/hello"]).ok();
        serde_json::from_str::<Value>(&json).unwrap()["digest"].clone()
    };
    assert_eq!(digest(), Value::Null);
    assert_eq!(seal(&["cat", &sysroot, "0", "/usr/bin/link"]).ok(), "hello 1");
    system.deploy(&["--defer-verity"]).ok();
    assert_eq!(digest(), ostree_seal::merkle::digest(b"hello 1\n").to_string());
    assert_eq!(seal(&["cat", &sysroot, "0", "/usr/bin/link"]).ok(), "hello 1");
    for (index, says) in [("1", "there is no deployment 1"), ("x", "is no index of a deployment")] {
        let run = seal(&["ls", &sysroot, index]);
        assert!(run.code == Some(1) && run.stderr.contains(says), "{}", run.stderr);
    }
}
