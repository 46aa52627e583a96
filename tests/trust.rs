//! What runs decides what may come: real commits, as an update server serves them, against the trust of a running system,
//! which is given to the deploy step as a directory. And the command `trust`. What needs a running system is in
//! `tests/vm/upgrade`.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: a panic is its answer, and nobody links it"
)]

mod common;

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use common::system::{System, note};
use common::{Run, is_root, program, seal};
use ostree_seal::continuity::allowed::Allowed;
use ostree_seal::continuity::changes::TrustChange;
use ostree_seal::continuity::judge::Continuity;
use ostree_seal::continuity::running::RunningSystem;
use ostree_seal::deploy::{self, Outcome, Progress, Request, Step, VerityTiming};
use ostree_seal::refused::is_refusal;
use ostree_seal::signing::PrivateKey;
use ostree_seal::sysroot::Sysroot;
use ostree_seal_trust::note::Statement;
use ostree_seal_trust::vkey::Vkey;
use tempfile::TempDir;

/// What a running system has in `/run/ostree-seal`: it runs index 7 under the system's policy.
fn running(system: &System, more: &str, trusted: &[&Vkey], revoked: &[&Vkey]) -> TempDir {
    let run = common::scratch();
    let put = |name: &str, text: &str| {
        let path = run.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put("state.json", r#"{"mode":"sealed","index":7}"#);
    put("trust/policy.conf", &format!("[seal]\nmode = sealed\nproduct = example.com/os\n{more}"));
    put("trust/trusted.d/release.vkey", &system.key.vkey().to_string());
    for (directory, keys) in [("trusted.d", trusted), ("revoked.d", revoked)] {
        for (number, key) in keys.iter().enumerate() {
            put(&format!("trust/{directory}/{number}.vkey"), &key.to_string());
        }
    }
    run
}

/// What was told of the changes.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Progress for Told {
    fn begin(&self, _: Step, _: usize) {}
    fn object(&self) {}
    fn objects(&self, _: u64, _: u64) {}
    fn end(&self) {}
    fn warn(&self, _: &str) {}

    fn changes(&self, changes: Vec<TrustChange>) {
        *self.0.lock().unwrap() = changes.iter().map(ToString::to_string).collect();
    }
}

/// What became of the deployment at the top of the order, or why it was refused; and the changes that were told.
fn update(system: &System, run: &Path) -> (Result<Continuity, String>, Vec<String>) {
    update_with(system, run, None)
}

fn update_with(
    system: &System,
    run: &Path,
    note: Option<Vec<u8>>,
) -> (Result<Continuity, String>, Vec<String>) {
    let sysroot = Sysroot::open(&system.root, false).unwrap();
    let lock = sysroot.lock(|| {}).unwrap();
    let deployment = sysroot.deployments().unwrap().swap_remove(0);
    let told = Told::default();
    let one = NonZeroUsize::MIN;
    let running = RunningSystem::read(run, || anyhow::bail!("there is no initramfs"));
    let allowed = Allowed::read(run).unwrap();
    let request = Request {
        note,
        verity: VerityTiming::Deferred,
        fsck: false,
        threads: one,
        queue_depth: one,
        running: &running,
        allowed: &allowed,
        progress: &told,
    };
    let outcome = match deploy::seal(&lock, &deployment, &request) {
        Ok(Outcome::Sealed(sealed)) => Ok(sealed.continuity),
        Ok(other) => panic!("{other:?}"),
        Err(error) => {
            assert!(is_refusal(&error), "{error:#}");
            assert!(!deployment.directory.join(".ostree.cfs").exists(), "{error:#}");
            Err(format!("{error:#}"))
        }
    };
    (outcome, told.0.into_inner().unwrap())
}

/// The files of a policy of the attacker's own, which trusts his key.
fn policy_of(key: &PrivateKey, more: &str) -> Vec<(&'static str, String)> {
    vec![
        (
            "usr/lib/ostree-seal/policy.conf",
            format!("[seal]\nmode = sealed\nproduct = example.com/os\n{more}"),
        ),
        ("usr/lib/ostree-seal/trusted.d/own.vkey", format!("{}\n", key.vkey())),
    ]
}

fn is_refused(update: &(Result<Continuity, String>, Vec<String>), words: &str) {
    let error = update.0.as_ref().unwrap_err();
    assert!(error.contains("the running system doesn't vouch") && error.contains(words), "{error}");
    assert!(error.contains("--allow-untrusted"), "{error}");
}

fn is_vouched(update: &(Result<Continuity, String>, Vec<String>)) {
    assert!(matches!(update.0, Ok(Continuity::Vouched(_))), "{update:?}");
}

#[test]
fn an_update_with_its_own_keys_and_policy_is_refused_and_its_changes_are_told() {
    if !is_root("an_update_with_its_own_keys_and_policy_is_refused_and_its_changes_are_told") {
        return;
    }
    let system = System::new();
    let own = PrivateKey::generate("example.com/release").unwrap();
    let commit = system.commit("1", &policy_of(&own, ""));
    system.sign(&commit, &system.statement(&commit, 99), &[&own]);
    system.deploy_tree();
    let run = running(&system, "minimum-index = 7\n", &[], &[]);
    let refused = update(&system, run.path());
    is_refused(&refused, "0 of 1 trusted keys signed the note");
    let own_id = format!("key {} is trusted from then on", own.id());
    let our_id = format!("key {} is no longer trusted", system.key.id());
    let floor = "minimum-index changes from 7 to 0 (LOOSENS)".to_owned();
    assert_eq!(refused.1, [own_id, our_id, floor]);
    // Where nothing runs, nobody is asked: so it was, and is on a build host.
    assert_eq!(update(&system, &run.path().join("nowhere")), (Ok(Continuity::NobodyToAsk), vec![]));
}

#[test]
fn an_older_release_a_revoked_key_and_a_floor_of_what_runs_refuse_a_signed_update() {
    if !is_root("an_older_release_a_revoked_key_and_a_floor_of_what_runs_refuse_a_signed_update") {
        return;
    }
    let system = System::new();
    let old_key = PrivateKey::generate("example.com/old").unwrap();
    let mut files = system.policy("");
    files.push(("usr/lib/ostree-seal/trusted.d/old.vkey", format!("{}\n", old_key.vkey())));
    let commit = system.commit("1", &files);
    system.deploy_tree();

    system.sign(&commit, &system.statement(&commit, 6), &[&system.key]);
    let run = running(&system, "", &[], &[]);
    let error = update(&system, run.path()).0.unwrap_err();
    assert!(
        error.contains("has index 7, this deployment has 6") && error.contains("--allow-downgrade"),
        "{error}"
    );

    system.sign(&commit, &system.statement(&commit, 8), &[&old_key]);
    let run = running(&system, "", &[old_key.vkey()], &[old_key.vkey()]);
    is_refused(&update(&system, run.path()), "revoked");
    let run = running(&system, "minimum-index = 9\n", &[old_key.vkey()], &[]);
    is_refused(&update(&system, run.path()), "an index of 9 or more");
    let run = running(&system, "threshold = 2\n", &[old_key.vkey()], &[]);
    is_refused(&update(&system, run.path()), "1 of 2 trusted keys");

    let foreign = Statement { product: "example.com/tv".parse().unwrap(), ..system.statement(&commit, 8) };
    system.sign(&commit, &foreign, &[&system.key]);
    let run = running(&system, "", &[], &[]);
    let error = update(&system, run.path()).0.unwrap_err();
    assert!(error.contains("product example.com/os, the signature is for example.com/tv"), "{error}");
}

#[test]
fn keys_are_changed_by_signing_with_both_in_one_note_or_in_two() {
    if !is_root("keys_are_changed_by_signing_with_both_in_one_note_or_in_two") {
        return;
    }
    let system = System::new();
    let new = PrivateKey::generate("example.com/new").unwrap();
    let commit = system.commit("1", &policy_of(&new, ""));
    system.deploy_tree();
    let statement = system.statement(&commit, 8);
    let run = running(&system, "", &[], &[]);
    is_refused(&update_with(&system, run.path(), Some(note(&statement, &[&new]).into_bytes())), "0 of 1");
    // The note that is given is for the new initramfs, and the commit's own for the running one.
    system.sign(&commit, &statement, &[&system.key]);
    let given = Some(note(&statement, &[&new]).into_bytes());
    is_vouched(&update_with(&system, run.path(), given));
    system.sign(&commit, &statement, &[&system.key, &new]);
    is_vouched(&update(&system, run.path()));
}

#[test]
fn what_an_administrator_allows_is_one_commit_and_said_so() {
    if !is_root("what_an_administrator_allows_is_one_commit_and_said_so") {
        return;
    }
    let system = System::new();
    let own = PrivateKey::generate("example.com/own").unwrap();
    let commit = system.commit("1", &policy_of(&own, ""));
    system.sign(&commit, &system.statement(&commit, 8), &[&own]);
    system.deploy_tree();
    let run = running(&system, "", &[], &[]);
    fs::write(run.path().join("allowed-untrusted"), "00".repeat(32)).unwrap();
    is_refused(&update(&system, run.path()), "0 of 1");
    fs::write(run.path().join("allowed-untrusted"), format!("{commit}\n")).unwrap();
    assert!(matches!(update(&system, run.path()).0, Ok(Continuity::Allowed(_))));
    // There is no running system to be asked here, and the option does not pretend that there is.
    let refused = system.deploy(&["--pending", "--allow-untrusted", &commit]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("no system runs from"), "{}", refused.stderr);
    let usage = system.deploy(&["--pending", "--allow-untrusted", "main"]);
    assert_eq!(usage.code, Some(2), "{}", usage.stderr);
}

#[test]
fn sixty_four_megabytes_of_notes_are_refused_and_hide_nothing_elsewhere() {
    if !is_root("sixty_four_megabytes_of_notes_are_refused_and_hide_nothing_elsewhere") {
        return;
    }
    let system = System::sealable();
    let commit = system.only_commit();
    let good = note(&system.statement(&commit, 7), &[&system.key]);
    let noise: Vec<String> = (0..64).map(|n| char::from(b'!' + n).to_string().repeat(1 << 20)).collect();
    let notes: Vec<String> = noise.into_iter().chain([good.clone()]).collect();
    system.attach(&commit, &notes);
    let run = running(&system, "", &[], &[]);
    match update(&system, run.path()).0 {
        Ok(continuity) => assert!(matches!(continuity, Continuity::Vouched(_)), "{continuity:?}"),
        Err(error) => assert!(error.contains("bytes"), "{error}"),
    }
    system.attach(&commit, &[good]);
    is_vouched(&update(&system, run.path()));
}

/// A directory with a policy; keys of their own.
fn policy_directory(conf: &str, trusted: &[&Vkey], revoked: &[&Vkey]) -> TempDir {
    let directory = common::scratch();
    fs::write(directory.path().join("policy.conf"), conf).unwrap();
    for (name, keys) in [("trusted.d", trusted), ("revoked.d", revoked)] {
        fs::create_dir(directory.path().join(name)).unwrap();
        for (number, key) in keys.iter().enumerate() {
            fs::write(directory.path().join(name).join(format!("{number}.vkey")), key.to_string()).unwrap();
        }
    }
    directory
}

fn diff(a: &Path, b: &Path, more: &[&str]) -> Run {
    Run::of(program().args(["trust", "diff"]).args([a, b]).args(more))
}

#[test]
fn trust_diff_ends_as_diff_does_and_marks_what_loosens() {
    let [a, b] = ["a", "b"].map(|name| PrivateKey::generate(&format!("example.com/{name}")).unwrap());
    let strict = policy_directory("[seal]\nmode = sealed\nthreshold = 2\n", &[a.vkey(), b.vkey()], &[]);
    let loose = policy_directory("[seal]\nmode = sealed\n", &[a.vkey()], &[b.vkey()]);
    let same = diff(strict.path(), strict.path(), &[]);
    assert_eq!((same.code, same.stdout.as_str(), same.stderr.as_str()), (Some(0), "", ""));
    let different = diff(strict.path(), loose.path(), &[]);
    assert_eq!(different.code, Some(1));
    let expected = format!("key {} is revoked\nthreshold changes from 2 to 1 (LOOSENS)\n", b.id());
    assert_eq!((different.stdout, different.stderr.as_str()), (expected, ""));
    let json = diff(strict.path(), loose.path(), &["--json"]);
    assert_eq!(json.code, Some(1));
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&json["same"], json["changes"].as_array().unwrap().len()), (&false.into(), 2), "{json}");
    assert_eq!((&json["changes"][1]["effect"], &json["changes"][1]["to"]), (&"loosens".into(), &"1".into()));
    for trouble in [diff(strict.path(), Path::new("/nowhere"), &[]), seal(&["trust", "diff", "one"])] {
        assert_eq!((trouble.code, trouble.stdout.as_str()), (Some(2), ""), "{}", trouble.stderr);
    }
}

/// A cpio archive of a directory, as the kernel unpacks it.
fn initramfs_of(directory: &Path, image: &Path) {
    let status = Command::new("sh")
        .args(["-c", "find . -mindepth 1 | cpio --quiet -o -H newc"])
        .current_dir(directory)
        .stdout(Stdio::from(fs::File::create(image).unwrap()))
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn trust_show_reads_directories_trees_and_initramfs_images_and_refuses_links() {
    let key = PrivateKey::generate("example.com/release").unwrap();
    let conf = "[seal]\nmode = sealed\nproduct = example.com/os\nminimum-index = 7\n";
    let policy = policy_directory(conf, &[key.vkey()], &[]);
    let tree = common::scratch();
    let inside = tree.path().join("usr/lib/ostree-seal");
    fs::create_dir_all(inside.parent().unwrap()).unwrap();
    assert!(Command::new("cp").arg("-a").args([policy.path(), &inside]).status().unwrap().success());
    fs::write(inside.join("ostree-seal-root"), "program").unwrap();
    let image = common::scratch();
    let image = image.path().join("initramfs.img");
    initramfs_of(tree.path(), &image);
    for what in [policy.path(), tree.path(), &image] {
        let shown = Run::of(program().args(["trust", "show", "--json"]).arg(what)).ok();
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!((&shown["mode"], &shown["minimum_index"]), (&"sealed".into(), &7.into()), "{shown}");
        assert_eq!(shown["trusted"][0], key.vkey().to_string());
        assert_eq!(diff(policy.path(), what, &[]).code, Some(0));
        let page = Run::of(program().args(["trust", "show"]).arg(what)).ok();
        assert!(page.contains("product   example.com/os") && page.contains("floor     7"), "{page}");
    }
    fs::rename(inside.join("policy.conf"), tree.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("../../../elsewhere", inside.join("policy.conf")).unwrap();
    initramfs_of(tree.path(), &image);
    let refused = Run::of(program().args(["trust", "show"]).arg(&image));
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(3), ""), "{}", refused.stderr);
    fs::write(&image, "no archive").unwrap();
    let unreadable = Run::of(program().args(["trust", "show"]).arg(&image));
    assert_eq!((unreadable.code, unreadable.stdout.as_str()), (Some(1), ""), "{}", unreadable.stderr);
}

#[test]
fn trust_shows_deployments_by_number_and_no_running_system_where_there_is_none() {
    if !is_root("trust_shows_deployments_by_number_and_no_running_system_where_there_is_none") {
        return;
    }
    let system = System::sealable();
    let sysroot = format!("--sysroot={}", system.root.display());
    let page = seal(&["trust", "show", "0", &sysroot]).ok();
    assert!(page.contains(&system.key.vkey().to_string()), "{page}");
    for what in ["running", "7"] {
        let missing = seal(&["trust", "show", what, &sysroot]);
        assert_eq!((missing.code, missing.stdout.as_str()), (Some(1), ""), "{what}: {}", missing.stderr);
    }
}
