//! The command line as a contract: help, exit codes, streams, man pages, completions, `ostree seal`.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: a panic is its answer, and nobody links it"
)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use clap::CommandFactory;
use common::repo::TestRepo;
use common::{Run, names, program, repo_arg, scratch, seal, trees};
use ostree_seal::cli::Cli;

/// The names of all commands that are shown, with their subcommands.
fn commands() -> Vec<Vec<String>> {
    fn collect(command: &clap::Command, path: &[String], all: &mut Vec<Vec<String>>) {
        all.push(path.to_vec());
        for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
            collect(inner, &[path, &[inner.get_name().to_owned()]].concat(), all);
        }
    }
    let mut all = Vec::new();
    collect(&Cli::command(), &[], &mut all);
    all
}

fn help(path: &[String], option: &str) -> String {
    let args: Vec<&str> = path.iter().map(String::as_str).chain([option]).collect();
    Run::of(program().args(args).env("COLUMNS", "200")).ok()
}

#[test]
fn every_option_is_documented() {
    // Panics where `help_expected` is not met.
    Cli::command().debug_assert();
}

#[test]
fn help_fits_80_columns() {
    for path in commands() {
        for option in ["-h", "--help"] {
            let text = help(&path, option);
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= 80, "{path:?} {option}: {widest}");
        }
    }
}

#[test]
fn the_help_of_convert_and_digest_names_the_exit_codes() {
    for name in ["convert", "digest"] {
        let text = help(&[name.to_owned()], "--help");
        assert!(text.contains("Exit codes: 0 done, 1 could not, 2 usage, 3 refused"), "{text}");
    }
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    for args in [
        &["nothing"][..],
        &["convert"],
        &["digest", "main"],
        &["digest", "--repo=x"],
        &["digest", "--repo=x", "main", "more"],
        &["digest", "--repo=x", "main", "--threads=0"],
        &["convert", "--repo=x", "main", "image", "--unknown"],
    ] {
        let result = seal(args);
        assert_eq!((result.code, result.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(result.stderr.starts_with("error: "), "{args:?}: {}", result.stderr);
    }
}

fn golden_repo(directory: &Path) -> TestRepo {
    let repo = TestRepo::create(&directory.join("repo"), ostree::RepoMode::BareUser);
    repo.commit("main", &trees::golden());
    repo
}

const GOLDEN_DIGEST: &str = "be956966c70970ea23b1a8043bca58cfb0d011d490a35a7817b36d04c0210954";

#[test]
fn stdout_has_the_digest_alone_and_stderr_nothing() {
    let scratch = scratch();
    let repo = repo_arg(&golden_repo(scratch.path()).path);
    let image = scratch.path().join("image").display().to_string();
    for args in [&["digest", &repo, "main"][..], &["convert", &repo, "main", &image]] {
        let result = seal(args);
        assert_eq!(result.code, Some(0));
        assert_eq!(result.stdout, format!("{GOLDEN_DIGEST}\n"));
        assert_eq!(result.stderr, "");
    }
}

#[test]
fn a_full_disk_behind_stdout_is_an_error_and_no_panic() {
    let scratch = scratch();
    let repo = repo_arg(&golden_repo(scratch.path()).path);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = program().args(["digest", &repo, "main"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let expected = "error: writing to stdout: No space left on device (os error 28)\n";
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
}

#[test]
fn ostree_runs_it_as_its_subcommand() {
    let scratch = scratch();
    let repo = repo_arg(&golden_repo(scratch.path()).path);
    let directory = Path::new(env!("CARGO_BIN_EXE_ostree-seal")).parent().unwrap().display().to_string();
    let path = format!("{directory}:{}", std::env::var("PATH").unwrap());
    let ostree = |args: &[&str]| Run::of(Command::new("ostree").args(args).env("PATH", &path));
    assert_eq!(ostree(&["seal", "digest", &repo, "main"]).ok(), GOLDEN_DIGEST);
    assert_eq!(ostree(&["seal", "digest", &repo, "nothing"]).code, Some(1));
    assert_eq!(ostree(&["seal", "digest"]).code, Some(2));
}

#[test]
fn every_command_has_a_man_page() {
    let scratch = scratch();
    let man = scratch.path().join("man");
    seal(&["generate", "man", &man.display().to_string()]).ok();
    let mut expected: Vec<String> = commands()
        .into_iter()
        .map(|path| ["ostree-seal".to_owned()].into_iter().chain(path).collect::<Vec<_>>().join("-") + ".1")
        .collect();
    expected.sort();
    assert_eq!(names(&man), expected);
    let page = fs::read_to_string(man.join("ostree-seal-convert.1")).unwrap();
    for part in [".SH OPTIONS", "repo", "threads", "json", "Exit codes"] {
        assert!(page.contains(part), "{part}");
    }
}
