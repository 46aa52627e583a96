//! Each hint, typed as it stands: it must work, or name what is really wrong.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: a panic is its answer, and nobody links it"
)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::system::System;
use common::{Run, is_root, names, program, repo_arg, run, scratch, seal};
use tempfile::TempDir;

/// A directory with a small repository `repo` and a key `release`, as in the tutorial.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(scratch());
        desk.shell("mkdir -p tree/usr/bin && echo hello >tree/usr/bin/hello && ostree init --repo=repo --mode=bare-user");
        desk.shell("ostree commit --repo=repo --branch=os --tree=dir=tree");
        desk.shell("ostree-seal keygen --name=example.com/release release");
        desk
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn try_shell(&self, line: &str) -> Run {
        let directory = Path::new(env!("CARGO_BIN_EXE_ostree-seal")).parent().unwrap();
        let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
        Run::of(Command::new("bash").args(["-ec", line]).env("PATH", path).current_dir(self.path()))
    }

    fn shell(&self, line: &str) -> String {
        self.try_shell(line).ok()
    }

    /// What a command that fails with this code says.
    fn fails(&self, code: i32, line: &str) -> String {
        let run = self.try_shell(line);
        assert_eq!(run.code, Some(code), "{line}: {}{}", run.stdout, run.stderr);
        run.stderr
    }
}

/// The part of a sentence from here to the next comma or the end.
fn from<'s>(sentence: &'s str, start: &str) -> &'s str {
    let at = sentence.find(start).unwrap_or_else(|| panic!("no {start} in: {sentence}"));
    sentence[at..].split([',', '\n']).next().unwrap().trim_end()
}

#[test]
fn what_is_missing_in_a_commit_is_given_as_the_hint_says() {
    let desk = Desk::new();
    let product = desk.fails(1, "ostree-seal sign --repo=repo os --key=release.key");
    let option = from(&product, "--product=").to_owned();
    let metadata = from(&product, "--add-metadata-string").to_owned();
    let index = desk.fails(1, &format!("ostree-seal sign --repo=repo os --key=release.key {option}"));
    let (number, more) = (from(&index, "--index="), from(&index, "--add-metadata="));
    desk.shell(&format!("ostree-seal sign --repo=repo os --key=release.key {option} {number}"));
    desk.shell(&format!("ostree commit --repo=repo --branch=os --tree=dir=tree {metadata} {more}"));
    let signed = desk.shell("ostree-seal sign --repo=repo os --key=release.key");
    assert!(signed.contains("product     example.com/os\nindex       42\n"), "{signed}");
}

#[test]
fn a_signature_is_attached_to_the_only_note_that_a_commit_has() {
    let desk = Desk::new();
    desk.shell(
        "openssl genpkey -algorithm ed25519 -out far.pem && openssl pkey -in far.pem -pubout -out far.pub",
    );
    desk.shell("ostree-seal keygen --name=example.com/far --public=far.pub far");
    desk.shell("ostree-seal note text --repo=repo os --product=example.com/os --index=1 >text");
    desk.shell("openssl pkeyutl -sign -rawin -inkey far.pem -in text -out signature");
    let attach = "ostree-seal note attach --key=far.vkey --signature=signature --repo=repo os";
    let none = desk.fails(1, attach);
    assert!(none.contains("os has no note yet"), "{none}");
    let hint = from(&none, "--text=").replace("FILE", "text");
    desk.shell("ostree-seal sign --repo=repo os --key=release.key --product=example.com/os --index=1");
    let attached = desk.shell(attach);
    assert!(
        attached.starts_with("signature of example.com/far+") && attached.ends_with(" added"),
        "{attached}"
    );
    desk.shell("ostree-seal sign --repo=repo os --key=release.key --product=example.com/os --index=2");
    assert!(desk.fails(1, attach).contains("os has several notes"));
    desk.shell(&format!("{attach} {hint}"));
}

#[test]
fn who_signs_again_with_another_index_is_told_of_the_first_note() {
    let desk = Desk::new();
    let sign = |index: u32| {
        desk.try_shell(&format!(
            "ostree-seal sign --repo=repo os --key=release.key --product=example.com/os --index={index}"
        ))
    };
    assert_eq!(sign(1).stderr, "");
    let second = sign(2);
    assert_eq!(second.code, Some(0));
    assert_eq!(
        second.stderr,
        "note: the commit keeps its other note, too: product example.com/os, index 1\n"
    );
}

#[test]
fn the_public_key_is_told_from_the_private_one() {
    let desk = Desk::new();
    let said = desk.fails(1, "ostree-seal sign --repo=repo os --key=release.vkey --product=a --index=1");
    assert!(said.contains("it is the public key example.com/release+"), "{said}");
}

#[test]
fn verify_says_what_was_not_given() {
    let desk = Desk::new();
    let path = desk.fails(1, "ostree-seal verify --trust=nope --repo=repo os");
    assert!(path.contains("there is no directory nope; --trust names one"), "{path}");
    desk.shell("mkdir -p trust/trusted.d && cp release.vkey trust/trusted.d");
    let empty = desk.fails(3, "ostree-seal verify --trust=trust --repo=repo os");
    assert!(
        empty.contains("no policy at trust/policy.conf; --trust names a directory with policy.conf"),
        "{empty}"
    );
    assert!(!empty.contains("initramfs"), "{empty}");
    desk.shell(
        "printf '[seal]\\nmode = sealed\\n' >trust/policy.conf && ostree-seal convert --repo=repo os os.cfs",
    );
    desk.shell("ostree-seal sign --repo=repo os --key=release.key --product=a --index=1 --note=os.note");
    let note = desk.fails(3, "ostree-seal verify --trust=trust --image=os.cfs");
    let hint = from(&note, "--note=").replace("FILE", "os.note");
    desk.shell(&format!("ostree-seal verify --trust=trust --image=os.cfs {hint}"));
    // There is no deployment that could be sealed again.
    desk.shell("printf '\\001' | dd of=os.cfs bs=1 seek=5000 conv=notrunc status=none");
    let changed = desk.fails(3, "ostree-seal verify --trust=trust --image=os.cfs --note=os.note");
    assert!(
        changed.contains("make the image of the signed commit again") && !changed.contains("deploy"),
        "{changed}"
    );
}

#[test]
fn a_policy_whose_only_key_is_revoked_says_so_first() {
    let desk = Desk::new();
    desk.shell("mkdir -p trust/trusted.d trust/revoked.d && cp release.vkey trust/trusted.d && cp release.vkey trust/revoked.d");
    desk.shell("printf '[seal]\\nmode = sealed\\n' >trust/policy.conf");
    let said = desk.fails(3, "ostree-seal verify --trust=trust --repo=repo os");
    let (revoked, more) = (said.find("is revoked").unwrap(), said.find("put more .vkey files").unwrap());
    assert!(revoked < more && said.contains("a signature of one key"), "{said}");
}

#[test]
fn a_note_that_can_not_be_written_is_said_once() {
    let desk = Desk::new();
    let sign = "ostree-seal sign --repo=repo os --key=release.key --product=a --index=1 --note=/proc/x.note";
    let said = desk.fails(1, sign);
    assert_eq!(said, "error: writing the note /proc/x.note: No such file or directory (os error 2)\n");
    let image = desk.fails(1, "ostree-seal convert --repo=repo os /proc/x.cfs");
    assert!(!image.contains(".ostree-seal-"), "{image}");
}

#[test]
fn a_bad_dump_is_no_wrong_command_line() {
    let desk = Desk::new();
    desk.fails(1, "echo bad >bad.dump; ostree-seal mkimage --from-dump=bad.dump x.cfs");
}

#[test]
fn advice_for_another_system_is_typed_for_that_one() {
    if !is_root("advice_for_another_system_is_typed_for_that_one") {
        return;
    }
    let system = System::sealable();
    let sysroot = format!("--sysroot={}", system.root.display());
    system.deploy(&["--defer-verity"]).ok();
    let findings = Run::of(program().args(["doctor", &sysroot, "--json"])).stdout;
    let findings: serde_json::Value = serde_json::from_str(&findings).unwrap();
    let fixes: Vec<&str> = findings["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|finding| finding["fix"].as_str())
        .collect();
    let deploys: Vec<&&str> = fixes.iter().filter(|fix| fix.starts_with("ostree-seal deploy")).collect();
    assert!(!deploys.is_empty() && deploys.iter().all(|fix| fix.contains(&sysroot)), "{fixes:?}");
}

#[test]
fn keygen_on_a_full_disk_leaves_no_half_of_a_pair() {
    if !is_root("keygen_on_a_full_disk_leaves_no_half_of_a_pair") {
        return;
    }
    let desk = Desk::new();
    // Each file takes a page; the directory none.
    for pages in 0..3 {
        let line = format!(
            "mkdir full && mount -t tmpfs -o size={}k tmpfs full && for n in $(seq {}); do echo x >full/$n; done; \
             code=0; ostree-seal keygen --name=example.com/x full/key || code=$?; ls full/key* 2>/dev/null | wc -l; exit $code",
            4 * (pages + 2),
            2
        );
        let unshared = ["--mount", "bash", "-ec", &line];
        let directory = Path::new(env!("CARGO_BIN_EXE_ostree-seal")).parent().unwrap();
        let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
        let result =
            Run::of(Command::new("unshare").args(unshared).env("PATH", path).current_dir(desk.path()));
        let left = result.stdout.lines().last().unwrap();
        match result.code {
            Some(0) => assert_eq!(left, "2", "{pages}"),
            _ => assert_eq!((result.code, left), (Some(1), "0"), "{pages}: {}", result.stderr),
        }
        assert_eq!(result.code == Some(0), pages == 2, "{pages}: {}", result.stderr);
        fs::remove_dir(desk.path().join("full")).unwrap();
    }
}

#[test]
fn a_run_that_was_killed_between_link_and_rename_leaves_nothing_for_ever() {
    let desk = Desk::new();
    fs::write(desk.path().join(".ostree-seal-killed"), "half").unwrap();
    desk.shell("ostree-seal convert --repo=repo os os.cfs");
    assert!(!names(desk.path()).iter().any(|name| name.starts_with(".ostree-seal-")));
    assert!(!seal(&["digest", &repo_arg(&desk.path().join("repo")), "os"]).ok().is_empty());
    run("true", &[]);
}
