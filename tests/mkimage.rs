//! `mkimage` and `dump` as commands.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: a panic is its answer, and nobody links it"
)]

mod common;

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Output, Stdio};

use common::{program, scratch, seal};
use ostree_seal::erofs::{self, Versions};
use ostree_seal::{dump, merkle};

const PLAIN: &str = "/ 4096 40755 2 0 0 0 1.0 - - -\n/f 3 100644 1 0 0 0 1.0 - foo -\n";
const WHITEOUT: &str = "/ 4096 40755 2 0 0 0 1.0 - - -\n/w 0 20644 1 0 0 0 1.0 - - -\n";

fn image(text: &str, versions: Versions) -> Vec<u8> {
    let tree = dump::parse(text.as_bytes()).unwrap();
    let mut image = Vec::new();
    erofs::emit(&tree, &erofs::plan(&tree, versions).unwrap(), NonZeroUsize::MIN, &mut image).unwrap();
    image
}

/// Runs the program with something on stdin.
fn with_stdin(args: &[&str], stdin: &[u8]) -> Output {
    let mut child = program()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    child.wait_with_output().unwrap()
}

fn arg(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn writes_the_image_and_prints_its_digest() {
    let directory = scratch();
    let (text, path) = (directory.path().join("text"), directory.path().join("image"));
    std::fs::write(&text, PLAIN).unwrap();
    let digest = seal(&["mkimage", &format!("--from-dump={}", arg(&text)), arg(&path)]).ok();
    let expected = image(PLAIN, Versions::default());
    assert!(std::fs::read(&path).unwrap() == expected);
    assert_eq!(digest, merkle::digest(&expected).to_string());
}

#[test]
fn reads_stdin_and_writes_stdout_without_a_digest() {
    let output = with_stdin(&["mkimage", "--from-dump=-", "-"], PLAIN.as_bytes());
    assert!(output.stdout == image(PLAIN, Versions::default()));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    let printed = with_stdin(&["dump", "-"], &output.stdout);
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), PLAIN);
}

#[test]
fn one_version_option_alone_sets_the_other_to_0() {
    for (options, chosen) in [
        (&[][..], 1),
        (&["--min-version=0"], 0),
        (&["--min-version=1"], 1),
        (&["--max-version=0"], 0),
        (&["--max-version=1"], 1),
        (&["--min-version=0", "--max-version=1"], 1),
    ] {
        let args = [&["mkimage", "--from-dump=-"], options, &["-"]].concat();
        let output = with_stdin(&args, WHITEOUT.as_bytes());
        assert!(output.stdout == image(WHITEOUT, Versions { min: chosen, max: chosen }), "{options:?}");
    }
    assert_eq!(with_stdin(&["mkimage", "--from-dump=-", "--max-version=2", "-"], b"").status.code(), Some(2));
}

#[test]
fn json_tells_what_was_done() {
    let directory = scratch();
    let path = directory.path().join("image");
    let output = with_stdin(&["mkimage", "--from-dump=-", "--json", arg(&path)], WHITEOUT.as_bytes());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = image(WHITEOUT, Versions::default());
    assert_eq!(report["digest"], merkle::digest(&expected).to_string());
    assert_eq!(report["version"], 1);
    assert_eq!(report["image_bytes"], expected.len());
    assert_eq!(report["inodes"], 258);
    let output = with_stdin(&["mkimage", "--from-dump=-", "--json", "-"], WHITEOUT.as_bytes());
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_bad_dump_leaves_the_older_image() {
    let directory = scratch();
    let path = directory.path().join("image");
    std::fs::write(&path, "older").unwrap();
    let bad = PLAIN.replace("foo", "fooo");
    let output = with_stdin(&["mkimage", "--from-dump=-", arg(&path)], bad.as_bytes());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "error: reading the dump -: line 2, field CONTENT: the content has 4 bytes, but field SIZE says 3\n"
    );
    assert_eq!(std::fs::read(&path).unwrap(), b"older");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn refuses_what_it_can_not_write_or_read() {
    let directory = scratch();
    let (text, here) = (directory.path().join("text"), arg(directory.path()));
    std::fs::write(&text, PLAIN).unwrap();
    let from = format!("--from-dump={}", arg(&text));
    for (args, expected) in [
        (vec!["mkimage", &from, here], format!("error: creating {here}: it is a directory\n")),
        (
            vec!["dump", arg(&text)],
            format!("error: reading the image {}: this is no composefs image\n", arg(&text)),
        ),
        (
            vec!["dump", "/nowhere"],
            "error: reading the image /nowhere: No such file or directory (os error 2)\n".to_owned(),
        ),
    ] {
        let run = seal(&args);
        assert_eq!((run.code, run.stderr), (Some(1), expected));
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut text = PLAIN.to_owned();
    for number in 0..20_000 {
        text += &format!("/g{number:05} 0 100644 1 0 0 0 1.0 - - -\n");
    }
    let directory = scratch();
    let path = directory.path().join("image");
    std::fs::write(&path, image(&text, Versions::default())).unwrap();
    let mut child =
        program().args(["dump", arg(&path)]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}
