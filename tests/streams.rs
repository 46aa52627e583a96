//! What goes to stdout and stderr, whoever listens and whatever it says: readers that go away, and text from outside that
//! a terminal would obey.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: a panic is its answer, and nobody links it"
)]

mod common;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use common::system::{PRODUCT, System};
use common::{Run, program, repo_arg, run, scratch, seal};

/// A stdout whose reader is gone.
fn nobody_reads() -> Stdio {
    let (reader, writer) = UnixStream::pair().unwrap();
    drop(reader);
    Stdio::from(OwnedFd::from(writer))
}

/// The directory of a policy that trusts the system's key.
fn trust(system: &System) -> String {
    let trust = system.directory.path().join("trust");
    for (path, content) in system.policy("") {
        let path = trust.join(Path::new(path).strip_prefix("usr/lib/ostree-seal").unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    format!("--trust={}", trust.display())
}

#[test]
fn a_reader_that_goes_away_changes_no_exit_code_and_is_no_error() {
    let system = System::sealable();
    assert_eq!(system.deploy(&["--defer-verity"]).code, Some(0));
    let (repo, sysroot) = (repo_arg(&system.repo()), format!("--sysroot={}", system.root.display()));
    let directory = system.directory.path();
    let path = |name: &str| directory.join(name).display().to_string();
    let (image, again, key, release) = (path("image"), path("again"), path("key"), path("key.key"));
    seal(&["convert", &repo, "os", &image]).ok();
    let dump = path("dump");
    fs::write(&dump, run(env!("CARGO_BIN_EXE_ostree-seal"), &["dump", &image]) + "\n").unwrap();
    let (from_dump, image_arg, trust) =
        (format!("--from-dump={dump}"), format!("--image={image}"), trust(&system));
    let (key_arg, product) = (format!("--key={release}"), format!("--product={PRODUCT}"));
    for args in [
        &["convert", &repo, "os", &again][..],
        &["convert", &repo, "os", &again, "--json"],
        &["digest", &repo, "os"],
        &["dump", &image],
        &["mkimage", &from_dump, &again],
        &["mkimage", &from_dump, "-"],
        &["keygen", "--name=example.com/k", &key],
        &["sign", &repo, "os", &key_arg, &product, "--index=7"],
        &["note", "text", &repo, "os", &product, "--index=7"],
        &["verify", &trust, &repo, "os"],
        // Refused, for want of a note: that stays the answer.
        &["verify", &trust, &image_arg],
        &["status", &sysroot],
        &["status", &sysroot, "--json"],
        &["doctor", &sysroot],
        &["deploy", &sysroot, "--defer-verity"],
        &["--help"],
        &["--version"],
    ] {
        // Keys are not overwritten, so each of the two runs makes its own.
        let fresh = |run: u32| {
            args.iter()
                .map(|arg| if *arg == key { format!("{key}{run}") } else { (*arg).to_owned() })
                .collect::<Vec<_>>()
        };
        if args[0] == "sign" {
            fs::copy(path("key2.key"), &release).unwrap();
        }
        let listened = program().args(fresh(1)).output().unwrap();
        let alone = program().args(fresh(2)).stdout(nobody_reads()).output().unwrap();
        assert_eq!(alone.status.code(), listened.status.code(), "{args:?}");
        assert_eq!(String::from_utf8(alone.stderr), String::from_utf8(listened.stderr), "{args:?}");
    }
}

#[test]
fn a_reader_of_messages_that_goes_away_is_no_panic() {
    let output = program().args(["digest", "--repo=/nowhere", "os"]).stderr(nobody_reads()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}

/// Clears the screen, paints, and turns the line around.
const HOSTILE: &str = "1\u{1b}[2J\u{1b}[32msealed\u{9b}0m\u{202e}x";

/// Whether a terminal would do anything but show this and go to the next line.
fn acts(text: &str) -> bool {
    text.chars().any(|c| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c))
}

#[test]
fn text_from_outside_is_shown_and_never_obeyed() {
    let system = System::new();
    let commit = system.commit(HOSTILE, &system.policy(""));
    system.sign(&commit, &system.statement(&commit, 7), &[&system.key]);
    system.deploy_tree();
    let (repo, sysroot) = (repo_arg(&system.repo()), format!("--sysroot={}", system.root.display()));
    let trust = trust(&system);
    let image = system.directory.path().join(HOSTILE).display().to_string();
    let mut shown = String::new();
    for args in [
        &["deploy", &sysroot, "--defer-verity"][..],
        &["status", &sysroot],
        &["status", &sysroot, "--json"],
        &["deploy", &sysroot, "--defer-verity", "--json"],
        &["doctor", &sysroot],
        &["verify", &trust, &repo, "os"],
        &["digest", &repo, HOSTILE],
        &["digest", "--repo", HOSTILE, "os"],
        &["convert", &repo, "os", &format!("{image}/{HOSTILE}")],
        &["dump", HOSTILE],
        &["verify", &format!("--trust={HOSTILE}"), &repo, "os"],
        &["sign", &repo, "os", &format!("--key={HOSTILE}")],
        &["note", "attach", &format!("--key={HOSTILE}"), &format!("--signature={HOSTILE}"), "--note=x"],
        &["keygen", &format!("--name={HOSTILE}"), "x"],
        &["mkimage", &format!("--from-dump={HOSTILE}"), "x"],
    ] {
        let result = seal(args);
        let said = result.stdout + &result.stderr;
        assert!(!acts(&said), "{args:?}: {said:?}");
        shown.push_str(&said);
    }
    assert!(shown.contains("1\\u{1b}[2J\\u{1b}[32msealed"), "{shown}");
    // For programs nothing is lost.
    let status = seal(&["status", &sysroot, "--json"]).ok();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["deployments"][0]["version"], HOSTILE);
}

#[test]
fn an_empty_ref_is_refused_by_every_command() {
    let system = System::sealable();
    let repo = repo_arg(&system.repo());
    let (directory, trust) = (scratch(), trust(&system));
    let path = |name: &str| directory.path().join(name).display().to_string();
    let prefix = path("key");
    seal(&["keygen", "--name=example.com/k", &prefix]).ok();
    let (key, public) = (format!("--key={prefix}.key"), format!("--key={prefix}.vkey"));
    fs::write(path("signature"), [0; 64]).unwrap();
    let (image, signature) = (path("image"), format!("--signature={}", path("signature")));
    for args in [
        &["convert", &repo, "", &image][..],
        &["digest", &repo, ""],
        &["sign", &repo, "", &key, "--product=example.com/os", "--index=1"],
        &["note", "text", &repo, "", "--product=example.com/os", "--index=1"],
        &["note", "attach", &public, &signature, &repo, ""],
        &["verify", &trust, &repo, ""],
    ] {
        let result = seal(args);
        assert_eq!((result.code, result.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(
            result.stderr.contains("a value is required for '<REF>'") || result.stderr.contains("[REF]"),
            "{args:?}: {}",
            result.stderr
        );
    }
    let source = ostree_seal::repo::Source::open(&system.repo()).unwrap();
    let error = format!("{:#}", source.commit("").unwrap_err());
    assert!(error.contains("the name of the commit is empty"), "{error}");
}

#[test]
fn a_ref_that_is_not_there_names_a_near_one_or_how_to_list_them() {
    let system = System::sealable();
    let repo = repo_arg(&system.repo());
    run("ostree", &["refs", &repo, "--create=debian/13/x86_64", "os"]);
    let near = seal(&["digest", &repo, "debain/13/x86_64"]);
    assert_eq!(near.code, Some(1));
    assert!(near.stderr.contains("did you mean debian/13/x86_64?"), "{}", near.stderr);
    let far = seal(&["digest", &repo, "something-else"]);
    let hint = format!("`ostree refs {repo}` lists those that there are");
    assert!(far.stderr.contains(&hint), "{}", far.stderr);
    let typed = hint.split('`').nth(1).unwrap();
    assert!(Run::of(Command::new("sh").args(["-c", typed])).ok().contains("debian/13/x86_64"));
}

#[test]
fn a_file_that_never_ends_is_read_to_its_limit_and_no_further() {
    let system = System::sealable();
    let (trust, repo) = (trust(&system), repo_arg(&system.repo()));
    let prefix = system.directory.path().join("key").display().to_string();
    seal(&["keygen", "--name=example.com/k", &prefix]).ok();
    let public = format!("--key={prefix}.vkey");
    for args in [
        &["dump", "/dev/zero"][..],
        &["mkimage", "--from-dump=/dev/zero", "x"],
        &["verify", &trust, "--image=/dev/zero"],
        &["verify", "--trust=/dev/zero", &repo, "os"],
        &["note", "attach", "--key=/dev/zero", "--signature=/dev/zero", "--note=x"],
        &["note", "attach", &public, "--signature=/dev/zero", "--note=x"],
        &["note", "attach", &public, "--signature=/dev/null", "--text=/dev/zero", "--note=x"],
        &["keygen", "--name=example.com/x", "--public=/dev/zero", "x"],
        &["sign", &repo, "os", "--key=/dev/zero", "--product=a", "--index=1"],
    ] {
        let limited = Command::new("bash")
            .args(["-c", "ulimit -v 4000000; exec timeout 60 \"$@\"", "bash"])
            .arg(program().get_program())
            .args(args)
            .output()
            .unwrap();
        let code = limited.status.code();
        assert!(
            matches!(code, Some(1 | 3)),
            "{args:?}: {code:?} {}",
            String::from_utf8_lossy(&limited.stderr)
        );
    }
}
