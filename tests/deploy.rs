//! `deploy` where there is no fs-verity: on a build host. What needs fs-verity runs in the guests, see `tests/vm`.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: a panic is its answer, and nobody links it"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use common::system::{System, digest_of, is_immutable, note, set_immutable};
use common::{Run, is_root, object, seal};
use ostree_seal::signing::PrivateKey;
use ostree_seal_trust::digest::Digest;

const IMAGE: &str = ".ostree.cfs";
const NOTE: &str = ".ostree.seal";
const DEFERRED: &str = ".ostree.seal-deferred";

/// Name, inode and content digest of the files in a deployment's directory, without its subdirectories.
fn snapshot(deployment: &Path) -> BTreeMap<String, (u64, Digest)> {
    let files = fs::read_dir(deployment).unwrap().map(Result::unwrap);
    files
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| {
            let path = entry.path();
            let name = entry.file_name().into_string().unwrap();
            (name, (entry.metadata().unwrap().ino(), digest_of(&path)))
        })
        .collect()
}

/// A deploy that is refused, says these words, and changes nothing.
fn assert_refused(system: &System, args: &[&str], words: &[&str]) {
    let deployment = system.only_deployment();
    let before = snapshot(&deployment);
    let run = system.deploy(&[args, &["--defer-verity"]].concat());
    assert_eq!(run.code, Some(3), "{} {}", run.stdout, run.stderr);
    for word in words {
        assert!(run.stderr.contains(word), "{word} is not in {}", run.stderr);
    }
    assert_eq!(run.stdout, "", "{}", run.stderr);
    assert_eq!(run.stderr.trim_end().lines().count(), 1, "{}", run.stderr);
    assert_eq!(snapshot(&deployment), before);
    assert!(is_immutable(&deployment));
}

#[test]
fn deferred_deploy_places_image_and_note_and_says_what_is_left() {
    if !is_root("deferred_deploy_places_image_and_note_and_says_what_is_left") {
        return;
    }
    let system = System::sealable();
    let deployment = system.only_deployment();
    let line = system.deploy(&["--defer-verity"]).ok();
    assert!(line.contains("deferred, index 7,") && line.contains("example.com/release+"), "{line}");
    assert!(line.ends_with("; its policy was read in the tree: the deployment has no initramfs"), "{line}");
    let digest = seal(&["digest", &common::repo_arg(&system.repo()), "os"]).ok();
    assert_eq!(digest_of(&deployment.join(IMAGE)).to_string(), digest);
    let statement = system.statement(&system.only_commit(), 7);
    assert_eq!(fs::read_to_string(deployment.join(NOTE)).unwrap(), note(&statement, &[&system.key]));
    assert!(fs::read_to_string(deployment.join(DEFERRED)).unwrap().contains("ostree-seal deploy"));
    assert_eq!(snapshot(&deployment).len(), 3);
    assert_eq!(fs::metadata(deployment.join(IMAGE)).unwrap().permissions().mode() & 0o7777, 0o644);
    assert!(is_immutable(&deployment));
}

#[test]
fn a_second_run_writes_nothing() {
    if !is_root("a_second_run_writes_nothing") {
        return;
    }
    let system = System::sealable();
    system.deploy(&["--defer-verity"]).ok();
    let before = snapshot(&system.only_deployment());
    let report = system.deploy(&["--defer-verity", "--json"]).ok();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report[0]["image"], &report[0]["note"]), (&"kept".into(), &"kept".into()), "{report}");
    assert_eq!(report[0]["outcome"], "deferred");
    assert_eq!(report[0]["policy_from_tree"], "the deployment has no initramfs");
    assert_eq!(snapshot(&system.only_deployment()), before);
}

#[test]
fn another_image_in_the_deployment_is_replaced() {
    if !is_root("another_image_in_the_deployment_is_replaced") {
        return;
    }
    let system = System::sealable();
    let deployment = system.only_deployment();
    set_immutable(&deployment, false);
    fs::write(deployment.join(IMAGE), "what libostree made").unwrap();
    fs::write(deployment.join(".ostree-seal-abc123"), "left by a killed run").unwrap();
    system.deploy(&["--defer-verity"]).ok();
    let digest = system.statement(&system.only_commit(), 7).image;
    assert_eq!(digest_of(&deployment.join(IMAGE)), digest);
    assert_eq!(snapshot(&deployment).len(), 3);
    assert!(is_immutable(&deployment));
}

#[test]
fn the_image_that_libostree_wrote_is_kept_if_it_is_the_signed_one() {
    if !is_root("the_image_that_libostree_wrote_is_kept_if_it_is_the_signed_one") {
        return;
    }
    let system = System::sealable();
    let deployment = system.only_deployment();
    set_immutable(&deployment, false);
    // Byte for byte libostree's, as tests/convert.rs shows.
    let image = deployment.join(IMAGE);
    seal(&["convert", &common::repo_arg(&system.repo()), "os", image.to_str().unwrap()]).ok();
    let before = fs::metadata(&image).unwrap();
    let report = system.deploy(&["--defer-verity", "--json"]).ok();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report[0]["image"], &report[0]["note"]), (&"kept".into(), &"written".into()), "{report}");
    let after = fs::metadata(&image).unwrap();
    assert_eq!((after.ino(), after.mtime_nsec()), (before.ino(), before.mtime_nsec()));
    assert_eq!(snapshot(&deployment).len(), 3);
}

#[test]
fn all_deployments_are_sealed_although_one_is_refused() {
    if !is_root("all_deployments_are_sealed_although_one_is_refused") {
        return;
    }
    let system = System::sealable();
    let signed = system.only_deployment();
    let unsigned = system.commit("2", &system.policy(""));
    system.deploy_tree();
    let run = system.deploy(&["--all", "--defer-verity"]);
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    assert!(run.stderr.contains(&format!("{unsigned}.0")), "{}", run.stderr);
    assert!(run.stdout.starts_with("1 test 1 ") && run.stdout.lines().count() == 1, "{}", run.stdout);
    assert_eq!(snapshot(&signed).len(), 3);
    assert_eq!(snapshot(&system.deployment(&unsigned)).len(), 0);
}

#[test]
fn the_deployment_whose_number_is_given_is_sealed_and_no_other() {
    if !is_root("the_deployment_whose_number_is_given_is_sealed_and_no_other") {
        return;
    }
    let system = System::sealable();
    let older = system.only_deployment();
    let newer = system.deploy_second();
    let line = system.deploy(&["1", "--defer-verity"]).ok();
    assert!(line.starts_with("1 test 1 ") && line.contains("deferred, index 7,"), "{line}");
    let sealed = snapshot(&older);
    assert_eq!((sealed.len(), snapshot(&newer).len()), (3, 0));
    let line = system.deploy(&["0", "--defer-verity"]).ok();
    assert!(line.starts_with("0 test 2 ") && line.contains("deferred, index 8,"), "{line}");
    assert_eq!((snapshot(&older), snapshot(&newer).len()), (sealed, 3));
}

#[test]
fn without_verity_nothing_is_changed_and_the_sentence_says_what_to_do() {
    if !is_root("without_verity_nothing_is_changed_and_the_sentence_says_what_to_do") {
        return;
    }
    let system = System::sealable();
    let before = snapshot(&system.only_deployment());
    let tmp = common::names(&system.repo().join("tmp"));
    let run = system.deploy(&[]);
    if run.code == Some(0) {
        println!("SKIP without_verity_nothing_is_changed: this host has fs-verity");
        return;
    }
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("CONFIG_FS_VERITY") || run.stderr.contains("tune2fs"), "{}", run.stderr);
    assert_eq!(snapshot(&system.only_deployment()), before);
    assert_eq!(common::names(&system.repo().join("tmp")), tmp);
    assert!(is_immutable(&system.only_deployment()));
}

#[test]
fn refuses_unsigned_commit() {
    if !is_root("refuses_unsigned_commit") {
        return;
    }
    let system = System::new();
    system.commit("1", &system.policy(""));
    system.deploy_tree();
    assert_refused(&system, &[], &["no accepted signature covers"]);
}

#[test]
fn refuses_note_by_unknown_key() {
    if !is_root("refuses_note_by_unknown_key") {
        return;
    }
    let system = System::sealable();
    let stranger = PrivateKey::generate("example.com/stranger").unwrap();
    let commit = system.only_commit();
    system.sign(&commit, &system.statement(&commit, 7), &[&stranger]);
    assert_refused(&system, &[], &["example.com/stranger"]);
}

#[test]
fn refuses_index_below_the_floor() {
    if !is_root("refuses_index_below_the_floor") {
        return;
    }
    let system = System::sealable();
    let commit = system.only_commit();
    system.sign(&commit, &system.statement(&commit, 4), &[&system.key]);
    assert_refused(&system, &[], &["4", "5"]);
}

#[test]
fn refuses_note_for_another_image() {
    if !is_root("refuses_note_for_another_image") {
        return;
    }
    let system = System::sealable();
    let commit = system.only_commit();
    let mut statement = system.statement(&commit, 7);
    let found = statement.image.to_string();
    statement.image.0[0] ^= 1;
    system.sign(&commit, &statement, &[&system.key]);
    assert_refused(&system, &[], &[&statement.image.to_string(), &found]);
}

#[test]
fn refuses_note_file_of_another_product() {
    if !is_root("refuses_note_file_of_another_product") {
        return;
    }
    let system = System::sealable();
    let mut statement = system.statement(&system.only_commit(), 7);
    statement.product = "example.com/other".parse().unwrap();
    let path = system.directory.path().join("note");
    fs::write(&path, note(&statement, &[&system.key])).unwrap();
    assert_refused(&system, &[&format!("--note={}", path.display())], &["example.com/other"]);
}

#[test]
fn refuses_damaged_object_and_names_it() {
    if !is_root("refuses_damaged_object_and_names_it") {
        return;
    }
    let system = System::sealable();
    let names = run_ostree(&["ls", &common::repo_arg(&system.repo()), "-C", "os", "/usr/bin/large"]);
    let checksum = names.split_whitespace().nth(4).unwrap();
    let path = object(&system.repo(), checksum, "file");
    let mut content = fs::read(&path).unwrap();
    content[5000] ^= 1;
    fs::write(&path, content).unwrap();
    assert_refused(&system, &[], &[checksum, "ostree fsck --delete"]);
    assert_refused(&system, &["--fsck"], &[checksum, "ostree fsck --delete"]);
}

#[test]
fn refuses_commit_with_a_missing_object_and_names_it() {
    if !is_root("refuses_commit_with_a_missing_object_and_names_it") {
        return;
    }
    let system = System::sealable();
    let names = run_ostree(&["ls", &common::repo_arg(&system.repo()), "-C", "os", "/usr/bin/large"]);
    let checksum = names.split_whitespace().nth(4).unwrap();
    fs::remove_file(object(&system.repo(), checksum, "file")).unwrap();
    assert_refused(&system, &[], &[checksum, "is missing from", "pull the commit again"]);
}

#[test]
fn an_unsealed_or_foreign_deployment_is_left_as_it_is() {
    if !is_root("an_unsealed_or_foreign_deployment_is_left_as_it_is") {
        return;
    }
    let system = System::new();
    system.commit("1", &[]);
    system.deploy_tree();
    let line = system.deploy(&[]).ok();
    assert!(line.contains("left as it is"), "{line}");
    assert_eq!(snapshot(&system.only_deployment()).len(), 0);

    let system = System::new();
    system.commit("1", &[("usr/lib/ostree-seal/policy.conf", "[seal]\nmode = unsealed\n".to_owned())]);
    system.deploy_tree();
    let line = system.deploy(&[]).ok();
    assert!(line.contains("unsealed"), "{line}");
    assert_eq!(snapshot(&system.only_deployment()).len(), 0);
}

#[test]
fn two_runs_at_once_both_succeed() {
    if !is_root("two_runs_at_once_both_succeed") {
        return;
    }
    let system = System::sealable();
    let runs: Vec<_> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..4).map(|_| scope.spawn(|| system.deploy(&["--defer-verity"]))).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    for run in runs {
        assert_eq!(run.code, Some(0), "{}", run.stderr);
    }
    assert_eq!(snapshot(&system.only_deployment()).len(), 3);
}

#[test]
fn says_that_a_deployment_does_not_exist() {
    if !is_root("says_that_a_deployment_does_not_exist") {
        return;
    }
    let system = System::sealable();
    let run = system.deploy(&["3"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("there is no deployment 3"), "{}", run.stderr);
    // Nothing is booted here, so nothing is pending.
    let run = system.deploy(&["--pending"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), ""), "{}", run.stderr);
}

#[test]
fn a_cleanup_leaves_nothing_of_ours() {
    if !is_root("a_cleanup_leaves_nothing_of_ours") {
        return;
    }
    let system = System::sealable();
    system.deploy(&["--defer-verity"]).ok();
    let sysroot = format!("--sysroot={}", system.root.display());
    run_ostree(&["admin", "undeploy", &sysroot, "0"]);
    run_ostree(&["admin", "cleanup", &sysroot]);
    let found = common::run(
        "find",
        &[system.root.to_str().unwrap(), "-name", ".ostree.*", "-o", "-name", ".ostree-seal*"],
    );
    assert_eq!(found, "");
}

fn run_ostree(args: &[&str]) -> String {
    Run::of(std::process::Command::new("ostree").args(args)).ok()
}

/// Runs a script in a directory of nobody's, as nobody, with our program as `$seal`.
fn as_nobody(script: &str, directory: &Path) -> Run {
    let seal = directory.join("ostree-seal");
    fs::copy(env!("CARGO_BIN_EXE_ostree-seal"), &seal).unwrap();
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-e", "-c", script]);
    Run::of(command.current_dir(directory).env("HOME", directory).env("seal", seal))
}

/// A directory that nobody can reach and owns, unlike one below a home directory.
fn nobodys_directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(directory.path(), Some(65534), Some(65534)).unwrap();
    directory
}

#[test]
fn deferred_deploy_needs_no_root_where_libostree_needs_none() {
    if !is_root("deferred_deploy_needs_no_root_where_libostree_needs_none") {
        return;
    }
    // A rootless build: libostree can deploy only files that belong to the user.
    const BUILD: &str = r#"
        mkdir -p root/ostree/repo tree/usr/lib/modules/6.12 tree/usr/etc tree/usr/lib/ostree-seal/trusted.d
        ostree admin init-fs --modern root; rm -r root/ostree/repo
        ostree init --repo=root/ostree/repo --mode=bare-user-only
        ostree admin os-init --sysroot=root test
        "$seal" keygen --name=example.com/release release
        cp release.vkey tree/usr/lib/ostree-seal/trusted.d
        printf '[seal]\nmode = sealed\n' >tree/usr/lib/ostree-seal/policy.conf
        echo ID=test >tree/usr/lib/os-release; echo kernel >tree/usr/lib/modules/6.12/vmlinuz
        ostree commit --repo=root/ostree/repo -b os --owner-uid=0 --owner-gid=0 --no-xattrs tree
        "$seal" sign --repo=root/ostree/repo os --key=release.key --product=example.com/os --index=1
        ostree admin deploy --sysroot=root --os=test os
        "$seal" deploy --sysroot=root --defer-verity
    "#;
    let directory = nobodys_directory();
    let run = as_nobody(BUILD, directory.path());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.contains("deferred, index 1"), "{}", run.stdout);
    let found = common::run("find", &[directory.path().to_str().unwrap(), "-name", ".ostree.*"]);
    assert_eq!(found.lines().count(), 3, "{found}");
}

#[test]
fn deploy_in_somebody_elses_sysroot_says_who_may() {
    if !is_root("deploy_in_somebody_elses_sysroot_says_who_may") {
        return;
    }
    let system = System::sealable();
    let directory = nobodys_directory();
    common::run(
        "cp",
        &["-a", system.root.to_str().unwrap(), directory.path().join("root").to_str().unwrap()],
    );
    let run = as_nobody(r#""$seal" deploy --sysroot=root --defer-verity"#, directory.path());
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("this takes root, or the user who owns the sysroot"), "{}", run.stderr);
    assert_eq!(run.stderr.trim_end().lines().count(), 1, "{}", run.stderr);
}

#[test]
fn refuses_layout_that_the_boot_can_not_follow() {
    if !is_root("refuses_layout_that_the_boot_can_not_follow") {
        return;
    }
    let system = System::new();
    let mut files = system.policy("");
    let layout = "[root]\ntransient = true\ntransient-ro = true\n".to_owned();
    files.push(("usr/lib/ostree/prepare-root.conf", layout));
    let commit = system.commit("1", &files);
    system.sign(&commit, &system.statement(&commit, 7), &[&system.key]);
    system.deploy_tree();
    let words = ["usr/lib/ostree/prepare-root.conf: root.transient and root.transient-ro are both true"];
    assert_refused(&system, &[], &words);
    let json = seal(&["status", &format!("--sysroot={}", system.root.display()), "--json"]).ok();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["deployments"][0]["verdict"], "refused", "{json}");
    assert!(json["deployments"][0]["reason"].as_str().unwrap().contains(words[0]), "{json}");
}
