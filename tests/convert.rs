//! Conversion: the bytes that libostree makes, for every repository mode, on any number of threads.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: a panic is its answer, and nobody links it"
)]

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use common::oracle::Oracle;
use common::repo::{MODES, TestRepo, xattr_bytes};
use common::trees::{self, Item};
use common::{convert, is_root, object, repo_arg, run, scratch, seal};
use ostree::glib;
use ostree::glib::prelude::ToVariant as _;
use sha2::{Digest as _, Sha256};

/// From libostree's tests/test-composefs.sh.
const GOLDEN_DIGEST: &str = "be956966c70970ea23b1a8043bca58cfb0d011d490a35a7817b36d04c0210954";
const GOLDEN_SHA256: &str = "031fab2c7f390b752a820146dc89f6880e5739cba7490f64024e0c7d11aad7c9";

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An image as composefs-dump(5) text.
fn dump(image: &[u8]) -> String {
    let mut text = Vec::new();
    ostree_seal::dump::print(&ostree_seal::erofs::read(image).unwrap(), &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

fn repo_with(directory: &Path, mode: ostree::RepoMode, items: &[Item]) -> TestRepo {
    let repo = TestRepo::create(&directory.join(format!("{mode:?}")), mode);
    repo.commit("main", items);
    repo
}

/// Makes a bare repository one of mode bare-split-xattrs, as its documentation describes that: libostree reads the
/// mode, but doesn't write it.
fn split_xattrs(repo: &Path) {
    for fanout in fs::read_dir(repo.join("objects")).unwrap() {
        for entry in fs::read_dir(fanout.unwrap().path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "file") {
                continue;
            }
            let mut xattrs = Vec::new();
            for name in list_xattrs(&path) {
                let mut value = vec![0; 65536];
                let len = rustix::fs::lgetxattr(&path, name.as_slice(), &mut value[..]).unwrap();
                value.truncate(len);
                rustix::fs::lremovexattr(&path, name.as_slice()).unwrap();
                xattrs.push((name, value));
            }
            fs::write(path.with_extension("file-xattrs-link"), xattr_bytes(&xattrs)).unwrap();
        }
    }
    let config = fs::read_to_string(repo.join("config")).unwrap();
    fs::write(repo.join("config"), config.replace("mode=bare\n", "mode=bare-split-xattrs\n")).unwrap();
}

fn list_xattrs(path: &Path) -> Vec<Vec<u8>> {
    let mut list = vec![0; 65536];
    let len = rustix::fs::llistxattr(path, &mut list[..]).unwrap();
    list[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
}

#[test]
fn makes_the_golden_image_of_libostree_in_every_mode() {
    let scratch = scratch();
    for mode in MODES {
        let repo = repo_with(scratch.path(), mode, &trees::golden());
        if mode == ostree::RepoMode::Bare && !is_root("makes_the_golden_image_of_libostree_in_every_mode") {
            continue;
        }
        let (digest, image) = convert(&repo.path, "main", &scratch.path().join("image"));
        assert_eq!((digest.as_str(), sha256(&image).as_str()), (GOLDEN_DIGEST, GOLDEN_SHA256), "{mode:?}");
        assert_eq!(seal(&["digest", &repo_arg(&repo.path), "main"]).ok(), GOLDEN_DIGEST);
    }
}

#[test]
fn makes_the_golden_image_of_files_that_the_ostree_program_committed() {
    let scratch = scratch();
    let files = scratch.path().join("files");
    for item in trees::golden() {
        let path = files.join(item.path.trim_start_matches('/'));
        match &item.kind {
            trees::Kind::Directory => fs::create_dir(&path).unwrap(),
            trees::Kind::File(content) => fs::write(&path, content).unwrap(),
            trees::Kind::Symlink(target) => std::os::unix::fs::symlink(target, &path).unwrap(),
        }
        if !matches!(item.kind, trees::Kind::Symlink(_)) {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(item.mode & 0o7777);
            fs::set_permissions(&path, mode).unwrap();
        }
    }
    let repo = scratch.path().join("repo");
    run("ostree", &[&repo_arg(&repo), "init", "--mode=bare-user"]);
    let options = ["--owner-uid=0", "--owner-gid=0", "--no-xattrs", "--canonical-permissions"];
    let files = files.display().to_string();
    run("ostree", &[&[&repo_arg(&repo), "commit", "-b", "main", &files], &options[..]].concat());
    let (digest, image) = convert(&repo, "main", &scratch.path().join("image"));
    assert_eq!((digest.as_str(), sha256(&image).as_str()), (GOLDEN_DIGEST, GOLDEN_SHA256));
}

#[test]
fn a_tree_has_one_digest_whatever_the_mode() {
    let scratch = scratch();
    let mut digests = Vec::new();
    for mode in MODES {
        if mode == ostree::RepoMode::Bare && !is_root("a_tree_has_one_digest_whatever_the_mode") {
            continue;
        }
        let repo = repo_with(scratch.path(), mode, &trees::plain());
        digests.push(seal(&["digest", &repo_arg(&repo.path), "main"]).ok());
    }
    digests.dedup();
    assert_eq!(digests, [PLAIN_DIGEST]);
}

#[test]
fn owners_xattrs_and_modes_are_the_same_in_every_mode_that_has_them() {
    if !is_root("owners_xattrs_and_modes_are_the_same_in_every_mode_that_has_them") {
        return;
    }
    let scratch = scratch();
    let mut digests = Vec::new();
    for mode in [ostree::RepoMode::Archive, ostree::RepoMode::BareUser, ostree::RepoMode::Bare] {
        let repo = repo_with(scratch.path(), mode, &trees::nasty());
        digests.push(seal(&["digest", &repo_arg(&repo.path), "main"]).ok());
    }
    let bare = scratch.path().join("Bare");
    split_xattrs(&bare);
    digests.push(seal(&["digest", &repo_arg(&bare), "main"]).ok());
    digests.dedup();
    assert_eq!(digests, [NASTY_DIGEST]);
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let scratch = scratch();
    let repo = repo_with(scratch.path(), ostree::RepoMode::Archive, &trees::nasty());
    let images = ["1", "2", "7", "64"].map(|threads| {
        let image = scratch.path().join(threads);
        let path = image.display().to_string();
        seal(&["convert", &repo_arg(&repo.path), "main", &path, "--threads", threads]).ok();
        fs::read(image).unwrap()
    });
    assert!(images.iter().all(|image| *image == images[0] && image.len() > 16384));
}

#[test]
fn converts_what_libostree_aborts_on() {
    // libcomposefs aborts on a symlink whose target doesn't fit into a block together with its inode.
    let scratch = scratch();
    for len in [4040, 4063, 4064, 4090, 4095] {
        let mut items = trees::golden();
        items.push(trees::symlink("/long", "t".repeat(len)));
        let repo = TestRepo::create(&scratch.path().join(len.to_string()), ostree::RepoMode::BareUser);
        repo.commit("main", &items);
        let (_, image) = convert(&repo.path, "main", &scratch.path().join("image"));
        let target = format!("/long {len} 120777 1 0 0 0 0.0 {} - -", "t".repeat(len));
        assert!(dump(&image).lines().any(|line| line == target), "{len}");
    }
}

#[test]
fn converts_xattrs_of_30_kilobytes() {
    let scratch = scratch();
    let mut items = trees::golden();
    items.push(trees::file("/large", "x").xattr("user.large", &trees::content(30_000)));
    let repo = repo_with(scratch.path(), ostree::RepoMode::Archive, &items);
    let (_, image) = convert(&repo.path, "main", &scratch.path().join("image"));
    let value = trees::content(30_000);
    assert!(image.windows(value.len()).any(|window| window == value));
}

#[test]
fn converts_a_directory_of_20_000_entries() {
    let scratch = scratch();
    let repo = repo_with(scratch.path(), ostree::RepoMode::BareUser, &trees::many());
    let image = scratch.path().join("image");
    let args =
        ["convert", &repo_arg(&repo.path), "main", &image.display().to_string(), "--json"].map(String::from);
    let report: serde_json::Value =
        serde_json::from_str(&seal(&args.each_ref().map(String::as_str)).ok()).unwrap();
    // The root, its directory, the files, five directories that a boot needs and 256 names that hide objects.
    assert_eq!(report["inodes"], 2 + 20_000 + 5 + 256);
    assert_eq!(report["objects"], 100);
    assert_eq!(report["hashed_bytes"], 10 + 90 * 2);
    assert_eq!(report["digest"], MANY_DIGEST);
}

#[test]
fn converts_a_sparse_file_of_5_gigabytes() {
    const SIZE: u64 = 5 << 30;
    let scratch = scratch();
    let mut items = trees::golden();
    items.push(trees::file("/sparse", "a file that becomes large").mode(0o644));
    let repo = repo_with(scratch.path(), ostree::RepoMode::BareUser, &items);
    let checksum = sha256_of_object(&repo, "/sparse");
    let object = object(&repo.path, &checksum, "file");
    fs::File::options().write(true).open(&object).unwrap().set_len(0).unwrap();
    fs::File::options().write(true).open(&object).unwrap().set_len(SIZE).unwrap();
    assert!(fs::metadata(&object).unwrap().blocks() < 1000, "the file is sparse");
    // It is no longer what it is named after, which nobody is to notice here.
    let path = scratch.path().join("image").display().to_string();
    seal(&["convert", "--no-fsck", &repo_arg(&repo.path), "main", &path]).ok();
    let dump = dump(&fs::read(&path).unwrap());
    let line = dump.lines().find(|line| line.starts_with("/sparse ")).unwrap();
    let payload = format!("{}/{}.file", &checksum[..2], &checksum[2..]);
    assert_eq!(line, format!("/sparse {SIZE} 100644 1 0 0 0 0.0 {payload} - {SPARSE_DIGEST}"));
}

#[test]
fn a_cache_changes_no_byte_and_spares_the_reading() {
    let scratch = scratch();
    let repo = repo_with(scratch.path(), ostree::RepoMode::BareUser, &trees::plain());
    let image = scratch.path().join("image").display().to_string();
    let convert = |more: &str| {
        let report = seal(&["convert", "--json", &repo_arg(&repo.path), "main", &image, more]).ok();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        (fs::read(&image).unwrap(), report["known_objects"].as_u64(), report["objects"].as_u64())
    };
    let (without, ..) = convert("--no-cache");
    let (first, known, _) = convert("--threads=1");
    assert_eq!(known, Some(0));
    let (second, known, objects) = convert("--threads=2");
    assert_eq!(known, objects);
    assert!(objects > Some(100));
    assert!(without == first && first == second, "the same bytes each time");
}

fn sha256_of_object(repo: &TestRepo, path: &str) -> String {
    let listing = run("ostree", &["ls", "-C", &repo_arg(&repo.path), "main", path]);
    listing.split_whitespace().nth(4).unwrap().to_owned()
}

#[test]
fn finds_commits_by_ref_id_abbreviation_and_remote() {
    let scratch = scratch();
    let repo = repo_with(scratch.path(), ostree::RepoMode::BareUser, &trees::golden());
    let commit = run("ostree", &["rev-parse", &repo_arg(&repo.path), "main"]);
    repo.repo
        .set_ref_immediate(Some("origin"), "os/stable", Some(&commit), ostree::gio::Cancellable::NONE)
        .unwrap();
    for rev in ["main", "origin:os/stable", &commit, &commit[..10]] {
        assert_eq!(seal(&["digest", &repo_arg(&repo.path), rev]).ok(), GOLDEN_DIGEST, "{rev}");
    }
}

#[test]
fn finds_objects_in_parent_repositories() {
    let scratch = scratch();
    let parent = repo_with(scratch.path(), ostree::RepoMode::BareUser, &trees::golden());
    let commit = run("ostree", &["rev-parse", &repo_arg(&parent.path), "main"]);
    let child = TestRepo::create(&scratch.path().join("child"), ostree::RepoMode::BareUser);
    let config = child.path.join("config");
    let text = fs::read_to_string(&config).unwrap() + &format!("parent={}\n", parent.path.display());
    fs::write(&config, text).unwrap();
    assert_eq!(seal(&["digest", &repo_arg(&child.path), &commit]).ok(), GOLDEN_DIGEST);
    // A file object that only the parent has, below a tree of the child.
    let mut items = trees::golden();
    items.push(trees::file("/more", "more"));
    let expected = scratch.path().join("expected");
    fs::create_dir(&expected).unwrap();
    let whole = repo_with(&expected, ostree::RepoMode::Archive, &items);
    let child = TestRepo::create(&scratch.path().join("second"), ostree::RepoMode::BareUser);
    child.commit("main", &items);
    let missing = object(&child.path, &sha256_of_object(&child, "/baz/cow"), "file");
    fs::remove_file(missing).unwrap();
    fs::copy(&config, child.path.join("config")).unwrap();
    let ours = seal(&["digest", &repo_arg(&child.path), "main"]).ok();
    assert_eq!(ours, seal(&["digest", &repo_arg(&whole.path), "main"]).ok());
}

#[test]
fn json_tells_what_was_done() {
    let scratch = scratch();
    for (mode, name, mountable) in
        [(ostree::RepoMode::BareUser, "bare-user", true), (ostree::RepoMode::Archive, "archive", false)]
    {
        let repo = repo_with(scratch.path(), mode, &trees::golden());
        let commit = run("ostree", &["rev-parse", &repo_arg(&repo.path), "main"]);
        let image = scratch.path().join("image").display().to_string();
        let report = seal(&["convert", "--json", &repo_arg(&repo.path), "main", &image, "--threads=2"]).ok();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["digest"], GOLDEN_DIGEST);
        assert_eq!(report["commit"], commit);
        assert_eq!(report["promised_digest"], serde_json::Value::Null);
        assert_eq!(report["repo_mode"], name);
        assert_eq!(report["mountable"], mountable);
        assert_eq!(report["image_bytes"], 20480);
        assert_eq!(report["objects"], 10);
        assert_eq!(report["hashed_bytes"], 44);
        assert_eq!(report["threads"], 2);
        assert!(["enabled", "unsupported"].contains(&report["image_verity"].as_str().unwrap()));
    }
}

#[test]
fn refuses_a_commit_that_promises_another_digest() {
    let scratch = scratch();
    let repo = TestRepo::create(&scratch.path().join("repo"), ostree::RepoMode::BareUser);
    let commit = repo.commit_with("main", &trees::golden(), Some(&promise(&[7; 32])));
    let image = scratch.path().join("image");
    let result = seal(&["convert", &repo_arg(&repo.path), "main", &image.display().to_string()]);
    let promised = "07".repeat(32);
    assert_eq!(result.code, Some(3));
    assert_eq!(
        result.stderr,
        format!(
            "error: commit {commit} promises an image with the digest {promised} (ostree.composefs.digest.v0), but \
             its image has the digest {GOLDEN_DIGEST}: the objects in the repository are not those that were \
             committed, or another kind of image was promised; `ostree fsck` tells which\n"
        )
    );
    assert_eq!(result.stdout, "");
    assert!(!image.exists());
    assert_eq!(seal(&["digest", &repo_arg(&repo.path), "main"]).code, Some(3));
}

#[test]
fn converts_a_commit_that_promises_the_digest() {
    let scratch = scratch();
    let repo = TestRepo::create(&scratch.path().join("repo"), ostree::RepoMode::BareUser);
    let digest: Vec<u8> =
        (0..32).map(|at| u8::from_str_radix(&GOLDEN_DIGEST[at * 2..][..2], 16).unwrap()).collect();
    repo.commit_with("main", &trees::golden(), Some(&promise(&digest)));
    let (found, _) = convert(&repo.path, "main", &scratch.path().join("image"));
    assert_eq!(found, GOLDEN_DIGEST);
}

fn promise(digest: &[u8]) -> glib::Variant {
    let dict = glib::VariantDict::new(None);
    dict.insert_value("ostree.composefs.digest.v0", &digest.to_variant());
    dict.end()
}

fn hashed((digest, image): (String, Vec<u8>)) -> (String, String) {
    (digest, sha256(&image))
}

/// What sid's ostree makes of a ref of a repository below the directory: digest and SHA-256 of the image.
fn oracle_image(oracle: &Oracle, directory: &Path, repo: &str) -> (String, String) {
    let repo = format!("--repo=/mnt/{repo}");
    oracle.run(directory, &["ostree", "checkout", &repo, "--composefs", "main", "theirs"]).ok();
    let measured = oracle.run(directory, &["fsverity", "digest", "--compact", "theirs"]).ok();
    let image = fs::read(directory.join("theirs")).unwrap();
    fs::remove_file(directory.join("theirs")).unwrap();
    hashed((measured, image))
}

#[test]
fn makes_the_image_that_sids_ostree_makes_in_every_mode() {
    let Some(oracle) = Oracle::find("makes_the_image_that_sids_ostree_makes_in_every_mode") else { return };
    let scratch = scratch();
    for mode in MODES {
        let items = match mode {
            ostree::RepoMode::BareUserOnly => trees::plain(),
            _ => trees::nasty(),
        };
        let repo = repo_with(scratch.path(), mode, &items);
        let ours = hashed(convert(&repo.path, "main", &scratch.path().join("ours")));
        assert_eq!(ours, oracle_image(&oracle, scratch.path(), &format!("{mode:?}")), "{mode:?}");
    }
    let bare = scratch.path().join("Bare");
    split_xattrs(&bare);
    let ours = hashed(convert(&bare, "main", &scratch.path().join("ours")));
    assert_eq!(ours, oracle_image(&oracle, scratch.path(), "Bare"), "bare-split-xattrs");

    // What the pinned digests of the other tests come from.
    let more = scratch.path().join("more");
    fs::create_dir(&more).unwrap();
    let pinned =
        [(trees::golden(), GOLDEN_DIGEST), (trees::plain(), PLAIN_DIGEST), (trees::many(), MANY_DIGEST)];
    for (items, digest) in pinned {
        let repo = TestRepo::create(&more.join(digest), ostree::RepoMode::Archive);
        repo.commit("main", &items);
        assert_eq!(oracle_image(&oracle, &more, digest).0, digest);
    }
}

#[test]
fn agrees_with_the_digest_that_sids_ostree_commits() {
    let Some(oracle) = Oracle::find("agrees_with_the_digest_that_sids_ostree_commits") else { return };
    let scratch = scratch();
    for mode in MODES {
        let items = if mode == ostree::RepoMode::BareUserOnly { trees::plain() } else { trees::nasty() };
        let repo = repo_with(scratch.path(), mode, &items);
        let in_root = format!("--repo=/mnt/{mode:?}");
        let commit = ["ostree", "commit", &in_root, "-b", "sealed", "--tree=ref=main"];
        oracle.run(scratch.path(), &[&commit[..], &["--generate-composefs-metadata"]].concat()).ok();
        let key = "--print-metadata-key=ostree.composefs.digest.v0";
        let theirs =
            oracle.run(scratch.path(), &["ostree", "show", &in_root, "--print-hex", key, "sealed"]).ok();
        // A mismatch would be refused here, so the promise was compared.
        let report = seal(&["digest", "--json", &repo_arg(&repo.path), "sealed"]).ok();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!((&report["digest"], &report["promised_digest"]), (&theirs.clone().into(), &theirs.into()));
    }
}

// Pinned after they were compared with what Debian sid's ostree 2026.4 makes.
const PLAIN_DIGEST: &str = "3c780e2d2dfdfd48a7209005930abce33bff956ac18aa6d69371d02134924796";
const NASTY_DIGEST: &str = "016d86aa31fecd009e4e039f47dd07ead5bc567be1fe51b11590d89232aa5374";
const MANY_DIGEST: &str = "49e91b03729eb0ee027007ee3ef45c7a558f37c351332f653f26b86d9d387aac";
/// `fsverity digest` of 5 GiB of zeros.
const SPARSE_DIGEST: &str = "71d671c82216c4295b90e06b04f448f3ed0c498bfed9052e07f67b127efaf568";
