//! The README keeps its promises: the tour works when pasted, and each claim names a test that exists.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: a panic is its answer, and nobody links it"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// The blocks of commands below a heading.
fn blocks<'a>(readme: &'a str, heading: &str) -> Vec<&'a str> {
    let (_, section) = readme.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    section.split("```\n").skip(1).step_by(2).collect()
}

#[test]
fn the_tour_works_when_pasted() {
    let readme = readme();
    let mut script = String::from("set -e\n");
    let tour = blocks(&readme, "Ten minutes");
    assert_eq!(tour.len(), 6, "make, tree, convert, seal, verify, refusal");
    // The first block is make itself.
    script.extend(tour[1..].iter().copied());
    script.push_str("openssl genpkey -algorithm ed25519 -out far.pem\n");
    script.extend(blocks(&readme, "Signing with a key that is somewhere else"));
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_ostree-seal")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let output =
        Command::new("bash").args(["-c", &script]).current_dir(&scratch).env("PATH", path).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("refused with exit code 3"), "{stdout}\n{stderr}");
}

/// All Rust files below `directory`.
fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn each_claim_names_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for directory in ["tests", "src"] {
        rust_files(&root.join(directory), &mut files);
    }
    let mut tests = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        let after_mark = text.lines().zip(text.lines().skip(1)).filter(|(mark, _)| mark.trim() == "#[test]");
        tests
            .extend(after_mark.filter_map(|(_, line)| {
                Some(line.trim().strip_prefix("fn ")?.split_once('(')?.0.to_owned())
            }));
    }
    let readme = readme();
    let (_, claims) = readme.split_once("\n## Claims and their tests\n").unwrap();
    let rows: Vec<&str> =
        claims.split("\n## ").next().unwrap().lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 20);
    for row in rows {
        let names: Vec<&str> = row.rsplit('|').nth(1).unwrap().split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test is named: {row}");
        for name in names {
            let exists = match name.strip_prefix("tests/vm/") {
                Some(guest) => root.join("tests/vm").join(guest).is_dir(),
                None => tests.contains(name),
            };
            assert!(exists, "the README names {name}, which doesn't exist");
        }
    }
}
