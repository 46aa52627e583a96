//! Bad input and bad luck: one clear sentence, exit code 1, and no image.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: a panic is its answer, and nobody links it"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::repo::TestRepo;
use common::trees;
use common::{Run, is_root, names, object, program, repo_arg, run, scratch, seal};
use ostree_seal::repo::Source;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A repository with the golden tree on `main`, and a directory for the image.
struct Fixture {
    scratch: TempDir,
    repo: TestRepo,
}

impl Fixture {
    fn new(mode: ostree::RepoMode) -> Self {
        let scratch = scratch();
        let repo = TestRepo::create(&scratch.path().join("repo"), mode);
        repo.commit("main", &trees::golden());
        fs::create_dir(scratch.path().join("out")).unwrap();
        Self { scratch, repo }
    }

    fn out(&self) -> PathBuf {
        self.scratch.path().join("out")
    }

    fn commit(&self) -> String {
        run("ostree", &["rev-parse", &repo_arg(&self.repo.path), "main"])
    }

    /// The checksum of a file object, or a directory's dirtree and dirmeta.
    fn checksums(&self, path: &str) -> Vec<String> {
        let listing = run("ostree", &["ls", "-dC", &repo_arg(&self.repo.path), "main", path]);
        let is_checksum = |word: &&str| word.len() == 64;
        listing.split_whitespace().filter(is_checksum).map(str::to_owned).collect()
    }

    fn object(&self, path: &str, extension: &str) -> (String, PathBuf) {
        let checksums = self.checksums(path);
        let checksum = if extension == "dirmeta" { &checksums[1] } else { &checksums[0] };
        (checksum.clone(), object(&self.repo.path, checksum, extension))
    }

    /// Converts, expects exit code 1 and no file, and returns the sentence without what it begins with.
    fn fails(&self) -> String {
        let image = self.out().join("image").display().to_string();
        let result = seal(&["convert", &repo_arg(&self.repo.path), "main", &image]);
        assert_eq!((result.code, result.stdout.as_str()), (Some(1), ""), "{}", result.stderr);
        assert_eq!(names(&self.out()), [""; 0]);
        let prefix = format!("error: loading commit {}: ", self.commit());
        assert_eq!(result.stderr.lines().count(), 1, "{}", result.stderr);
        result.stderr.strip_prefix(&prefix).unwrap_or(&result.stderr).trim_end().to_owned()
    }
}

fn flip_bit(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn says_that_a_directory_is_no_repository() {
    let scratch = scratch();
    let image = scratch.path().join("image").display().to_string();
    let repo = scratch.path().join("repo");
    let sentence =
        |what| format!("error: {} {what}; `ostree init --repo=DIR` makes a repository\n", repo.display());
    let missing = seal(&["convert", &repo_arg(&repo), "main", &image]);
    assert_eq!((missing.code, missing.stderr), (Some(1), sentence("does not exist")));
    fs::create_dir(&repo).unwrap();
    let empty = seal(&["convert", &repo_arg(&repo), "main", &image]);
    assert_eq!((empty.code, empty.stderr), (Some(1), sentence("is not an OSTree repository")));
    assert_eq!(names(scratch.path()), ["repo"]);
}

#[test]
fn says_that_a_ref_is_missing() {
    let fixture = Fixture::new(ostree::RepoMode::BareUser);
    let repo = &fixture.repo.path;
    for rev in ["nothing", "origin:nothing", "0123456789abcdef"] {
        let result = seal(&["digest", &repo_arg(repo), rev]);
        assert_eq!(result.code, Some(1));
        let repo = repo.display();
        let expected = format!(
            "error: looking for \"{rev}\" in {repo}: Refspec '{rev}' not found; `ostree refs --repo={repo}` lists those \
             that there are\n"
        );
        assert_eq!(result.stderr, expected);
    }
}

#[test]
fn refuses_metadata_objects_with_a_flipped_bit() {
    for (path, extension) in [("/baz", "dirtree"), ("/", "dirtree"), ("/baz", "dirmeta")] {
        let fixture = Fixture::new(ostree::RepoMode::BareUser);
        let (checksum, file) = fixture.object(path, extension);
        flip_bit(&file, 3);
        let sentence = fixture.fails();
        let expected = format!("object {checksum}.{extension} is damaged: its content has the SHA-256 ");
        assert!(sentence.starts_with(&expected), "{sentence}");
    }
    let fixture = Fixture::new(ostree::RepoMode::BareUser);
    let commit = fixture.commit();
    flip_bit(&object(&fixture.repo.path, &commit, "commit"), 9);
    let sentence = fixture.fails();
    assert!(sentence.starts_with(&format!("object {commit}.commit is damaged: ")), "{sentence}");
}

#[test]
fn names_the_object_that_is_missing() {
    for (path, extension) in [("/baz/cow", "file"), ("/baz/deeper", "dirtree"), ("/baz/deeper", "dirmeta")] {
        let fixture = Fixture::new(ostree::RepoMode::BareUser);
        let (checksum, file) = fixture.object(path, extension);
        fs::remove_file(file).unwrap();
        let expected =
            format!("object {checksum}.{extension} is missing from {}", fixture.repo.path.display());
        assert_eq!(fixture.fails(), expected);
    }
}

#[test]
fn names_the_object_that_is_missing_even_if_the_cache_knows_it() {
    for mode in [ostree::RepoMode::BareUser, ostree::RepoMode::Archive] {
        let fixture = Fixture::new(mode);
        let image = fixture.scratch.path().join("first").display().to_string();
        seal(&["convert", &repo_arg(&fixture.repo.path), "main", &image]).ok();
        assert!(fixture.repo.path.join("ostree-seal.cache").exists());
        let extension = if mode == ostree::RepoMode::Archive { "filez" } else { "file" };
        let (checksum, file) = fixture.object("/baz/cow", extension);
        fs::remove_file(file).unwrap();
        let expected =
            format!("object {checksum}.{extension} is missing from {}", fixture.repo.path.display());
        assert_eq!(fixture.fails(), expected);
    }
}

#[test]
fn refuses_archived_objects_with_a_flipped_bit() {
    // The header's length, its padding, size, owner, mode, the content.
    for (at, reason) in [
        (3, ""),
        (5, "its header begins with wrong padding"),
        (15, "its content has 4 bytes, its header says 5"),
        (13, "its content has 4 bytes, its header says 65540"),
    ] {
        let fixture = Fixture::new(ostree::RepoMode::Archive);
        let (checksum, file) = fixture.object("/baz/cow", "filez");
        flip_bit(&file, at);
        let sentence = fixture.fails();
        let expected = format!("reading object {checksum}.filez: {reason}");
        assert!(sentence.starts_with(&expected), "{at}: {sentence}");
    }
}

#[test]
fn refuses_truncated_archived_objects() {
    let fixture = Fixture::new(ostree::RepoMode::Archive);
    let (checksum, file) = fixture.object("/baz/cow", "filez");
    let bytes = fs::read(&file).unwrap();
    for len in 0..bytes.len() {
        fs::write(&file, &bytes[..len]).unwrap();
        let result = seal(&["digest", &repo_arg(&fixture.repo.path), "main"]);
        assert_eq!(result.code, Some(1), "{len}");
        assert!(result.stderr.contains(&format!("reading object {checksum}.filez: ")), "{}", result.stderr);
    }
}

#[test]
fn refuses_bare_user_objects_without_a_valid_header() {
    let fixture = Fixture::new(ostree::RepoMode::BareUser);
    let (checksum, file) = fixture.object("/baz/cow", "file");
    let reading = format!("reading object {checksum}.file: ");
    let set = |value: &[u8]| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(&file, "user.ostreemeta", value, flags).unwrap();
    };
    set(&[0; 11]);
    assert_eq!(fixture.fails(), format!("{reading}reading its xattr user.ostreemeta: it is too short"));
    let mut meta = [0; 12];
    meta[10..].copy_from_slice(&[0x41, 0xed]);
    set(&meta);
    let kind = "its mode 40755 in user.ostreemeta is neither a regular file nor a symlink";
    assert_eq!(fixture.fails(), format!("{reading}{kind}"));
    rustix::fs::removexattr(&file, "user.ostreemeta").unwrap();
    assert_eq!(fixture.fails(), format!("{reading}it has no xattr user.ostreemeta"));
}

#[test]
fn refuses_objects_that_are_something_else_than_files() {
    let fixture = Fixture::new(ostree::RepoMode::BareUser);
    let (checksum, file) = fixture.object("/baz/cow", "file");
    let reading = format!("reading object {checksum}.file: ");
    fs::remove_file(&file).unwrap();
    run("mkfifo", &[file.to_str().unwrap()]);
    assert_eq!(fixture.fails(), format!("{reading}it is not a regular file"));
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("elsewhere", &file).unwrap();
    assert_eq!(
        fixture.fails(),
        format!("{reading}it is a symlink, but a repository of mode bare-user has none")
    );
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert_eq!(fixture.fails(), format!("{reading}it is not a regular file"));
}

#[test]
fn refuses_a_tree_that_no_image_can_hold() {
    let scratch = scratch();
    let repo = TestRepo::create(&scratch.path().join("repo"), ostree::RepoMode::Archive);
    let mut items = trees::golden();
    items.push(trees::file("/baz/huge-xattr", "x").xattr("user.huge", &trees::content(33_000)));
    let commit = repo.commit("main", &items);
    let result = seal(&["digest", &repo_arg(&repo.path), "main"]);
    assert_eq!(result.code, Some(1));
    let expected = format!(
        "error: loading commit {commit}: /baz/huge-xattr: the xattrs need 33028 bytes, at most 32767 are possible for \
         one file\n"
    );
    assert_eq!(result.stderr, expected);
}

#[test]
fn says_why_the_image_can_not_be_there() {
    let fixture = Fixture::new(ostree::RepoMode::BareUser);
    let out = fixture.out();
    let missing = out.join("missing/image");
    let directory = "No such file or directory (os error 2)";
    let cases = [
        (out.clone(), "it is a directory".to_owned()),
        (missing.clone(), format!("opening its directory {}: {directory}", out.join("missing").display())),
        (PathBuf::from("/dev/null"), "it exists and is not a regular file".to_owned()),
    ];
    for (path, reason) in cases {
        let image = path.display().to_string();
        let result = seal(&["convert", &repo_arg(&fixture.repo.path), "main", &image]);
        assert_eq!(result.code, Some(1));
        assert_eq!(result.stderr, format!("error: creating {image}: {reason}\n"));
        assert_eq!(names(&out), [""; 0]);
    }
}

/// Converts onto a tmpfs with these mount options, and says what is there afterwards.
fn convert_onto_tmpfs(fixture: &Fixture, options: &str) -> Run {
    const SCRIPT: &str = r#"
        mount -t tmpfs -o "$1" tmpfs "$2" || exit 9
        "$3" convert "$4" main "$2/image"
        code=$?
        ls -A "$2"
        exit $code
    "#;
    let out = fixture.out();
    let program = env!("CARGO_BIN_EXE_ostree-seal");
    Run::of(
        Command::new("unshare")
            .args(["--mount", "--propagation=private", "sh", "-c", SCRIPT, "sh", options])
            .args([&out, Path::new(program)])
            .arg(repo_arg(&fixture.repo.path)),
    )
}

#[test]
fn leaves_nothing_on_a_full_disk() {
    if !is_root("leaves_nothing_on_a_full_disk") {
        return;
    }
    let fixture = Fixture::new(ostree::RepoMode::BareUser);
    let image = fixture.out().join("image");
    let result = convert_onto_tmpfs(&fixture, "size=8k");
    assert_eq!((result.code, result.stdout.as_str()), (Some(1), ""));
    let expected = format!("error: writing {}: No space left on device (os error 28)\n", image.display());
    assert_eq!(result.stderr, expected);
}

#[test]
fn says_that_a_file_system_is_read_only() {
    if !is_root("says_that_a_file_system_is_read_only") {
        return;
    }
    let fixture = Fixture::new(ostree::RepoMode::BareUser);
    let image = fixture.out().join("image");
    let result = convert_onto_tmpfs(&fixture, "ro");
    assert_eq!((result.code, result.stdout.as_str()), (Some(1), ""));
    let expected = format!("error: creating {}: Read-only file system (os error 30)\n", image.display());
    assert_eq!(result.stderr, expected);
}

/// A conversion that is interrupted before it ends, whatever the machine: it has a terabyte of zeros to hash.
fn start_long_conversion(fixture: &Fixture, image: &Path) -> Child {
    let (_, file) = fixture.object("/baz/cow", "file");
    fs::File::options().write(true).open(file).unwrap().set_len(1 << 40).unwrap();
    let image = image.display().to_string();
    // A shell that runs the tests in the background has them ignore SIGINT.
    let mut command = Command::new("env");
    command.arg("--default-signal=INT").arg(program().get_program());
    command.args(["convert", &repo_arg(&fixture.repo.path), "main", &image]);
    command.stdout(Stdio::null()).spawn().unwrap()
}

/// Waits until the program has begun the image: it has an unnamed file in this directory open.
fn wait_for_image(child: &Child, directory: &Path) {
    let fds = PathBuf::from(format!("/proc/{}/fd", child.id()));
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        let open = fs::read_dir(&fds).unwrap().filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        if open.into_iter().any(|path| path.parent() == Some(directory)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the conversion has not begun the image");
}

#[test]
fn leaves_nothing_when_it_is_interrupted_or_killed() {
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let fixture = Fixture::new(ostree::RepoMode::BareUser);
        let out = fixture.out();
        let mut child = start_long_conversion(&fixture, &out.join("image"));
        wait_for_image(&child, &out);
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), None, "ended by the signal");
        assert_eq!(names(&out), [""; 0]);
    }
}

#[test]
fn keeps_the_older_image_when_it_is_killed() {
    let fixture = Fixture::new(ostree::RepoMode::BareUser);
    let out = fixture.out();
    fs::write(out.join("image"), "older").unwrap();
    let mut child = start_long_conversion(&fixture, &out.join("image"));
    wait_for_image(&child, &out);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(fs::read(out.join("image")).unwrap(), b"older");
    assert_eq!(names(&out), ["image"]);
}

#[test]
fn a_prune_waits_until_the_conversion_is_over() {
    let fixture = Fixture::new(ostree::RepoMode::BareUser);
    let repo = repo_arg(&fixture.repo.path);
    run("ostree", &[&repo, "config", "set", "core.lock-timeout-secs", "0"]);
    let prune = || Run::of(Command::new("ostree").args([repo.as_str(), "prune", "--refs-only"]));

    let source = Source::open(&fixture.repo.path).unwrap();
    let refused = prune();
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains("Locking repo exclusive failed"), "{}", refused.stderr);
    drop(source);
    prune().ok();
}
