//! The running trust against an update server that serves what it likes, and against mistakes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ostree_seal_root::check::policy as files;
use ostree_seal_root::read::Mounted;
use ostree_seal_root::tell::run_files::RunFiles;
use ostree_seal_root::tell::trust::{leave, leave_deployments};
use ostree_seal_trust::digest::Digest;
use ostree_seal_trust::evidence::{Evidence, Subject};
use ostree_seal_trust::names::CommitId;
use ostree_seal_trust::note::{Statement, signature_line};
use ostree_seal_trust::policy::{KeyFile, Policy, PolicyFiles, SealedPolicy};
use ostree_seal_trust::vkey::Vkey;
use tempfile::TempDir;

use super::allowed::Allowed;
use super::changes::{Demands, Effect, TrustChange, between};
use super::judge::{Candidate, Continuity, Objection, Way, judge, proofs};
use super::running::RunningSystem;
use crate::repo::Checksum;
use crate::signing::PrivateKey;

mod rotation; // other keys from release to release

const IMAGE: Digest = Digest([0x1a; 32]);
const COMMIT: [u8; 32] = [0xc0; 32];

fn name_of(commit: [u8; 32]) -> String {
    format!("os/{}.0", Checksum(commit))
}

fn new_key(name: &str) -> PrivateKey {
    PrivateKey::generate(name).unwrap()
}

fn statement() -> Statement {
    Statement {
        product: "example.com/os".parse().unwrap(),
        image: IMAGE,
        index: 8,
        commit: Some(CommitId(COMMIT)),
    }
}

/// What an update server serves for one commit.
fn evidence(statement: &Statement, keys: &[&PrivateKey]) -> Evidence {
    let text = statement.to_string();
    let line = |key: &&PrivateKey| signature_line(key.id(), &key.sign(text.as_bytes()));
    let note = format!("{text}\n{}", keys.iter().map(line).collect::<String>());
    let subject = Subject::Commit(CommitId(COMMIT));
    Evidence { subject, note: Some(note.into_bytes()), commit: None, parent: None }
}

/// What a running, sealed system has in `/run/ostree-seal`.
struct Device {
    run: TempDir,
}

impl Device {
    /// It runs index 7, with these keys in `trusted.d` and `revoked.d`.
    fn new(conf: &str, trusted: &[&Vkey], revoked: &[&Vkey]) -> Self {
        let run = tempfile::tempdir().unwrap();
        write(&run.path().join("state.json"), r#"{"mode":"sealed","index":7}"#);
        write(&run.path().join("trust/policy.conf"), &format!("[seal]\nmode = sealed\n{conf}"));
        for (directory, keys) in [("trusted.d", trusted), ("revoked.d", revoked)] {
            for (number, key) in keys.iter().enumerate() {
                write(&run.path().join(format!("trust/{directory}/{number}.vkey")), &key.to_string());
            }
        }
        write(&run.path().join("deployments"), &format!("{}\n", name_of([0x77; 32])));
        Self { run }
    }

    fn running(&self) -> RunningSystem {
        RunningSystem::read(self.run.path(), || anyhow::bail!("the initramfs is not asked"))
    }

    fn allowed(&self) -> Allowed {
        Allowed::read(self.run.path()).unwrap()
    }

    fn judge(&self, evidence: &[Evidence]) -> Result<Continuity, Objection> {
        self.judge_of(COMMIT, Way::Staged, evidence)
    }

    fn judge_of(&self, commit: [u8; 32], way: Way, evidence: &[Evidence]) -> Result<Continuity, Objection> {
        let candidate = Candidate { commit: Checksum(commit), name: &name_of(commit), way };
        judge(&self.running(), &self.allowed(), candidate, |policy| proofs(IMAGE, evidence, policy))
    }

    /// The update is refused, for a reason with these words.
    fn refuses(&self, evidence: &[Evidence], words: &str) {
        match self.judge(evidence) {
            Err(Objection::NotVouched { why, .. }) if why.contains(words) => {}
            other => panic!("expected '{words}', found {other:?}"),
        }
    }

    fn vouches(&self, evidence: &[Evidence]) {
        match self.judge(evidence) {
            Ok(Continuity::Vouched(proof)) => assert_eq!(proof.digest(), IMAGE),
            other => panic!("{other:?}"),
        }
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

const CONF: &str = "product = example.com/os\nminimum-index = 5\n";

fn parse(conf: &str, trusted: &[&Vkey], revoked: &[&Vkey]) -> SealedPolicy {
    let device = Device::new(conf, trusted, revoked);
    match Policy::parse(&files::read(&Mounted, &device.run.path().join("trust")).unwrap()).unwrap() {
        Policy::Sealed(policy) => policy,
        Policy::Unsealed(_) => panic!("it is unsealed"),
    }
}

#[test]
fn a_release_of_the_running_systems_key_is_vouched_for() {
    let key = new_key("example.com/release");
    Device::new(CONF, &[key.vkey()], &[]).vouches(&[evidence(&statement(), &[&key])]);
}

/// The policy of the update itself is asked nowhere here: whatever keys, product or floor it brings is worth nothing.
#[test]
fn an_update_that_vouches_for_itself_is_not_vouched_for() {
    let (key, own) = (new_key("example.com/release"), new_key("example.com/release"));
    let device = Device::new(CONF, &[key.vkey()], &[]);
    device.refuses(&[evidence(&statement(), &[&own])], "0 of 1 trusted keys signed the note");
    let nothing = Evidence { note: None, ..evidence(&statement(), &[]) };
    device.refuses(&[nothing], "no accepted signature covers");
    device.refuses(&[], "no accepted signature covers");
}

#[test]
fn what_our_key_signed_for_something_else_is_not_vouched_for() {
    let key = new_key("example.com/release");
    let device = Device::new(CONF, &[key.vkey()], &[]);
    let of = |statement: Statement| [evidence(&statement, &[&key])];
    device.refuses(&of(Statement { product: "example.com/tv".parse().unwrap(), ..statement() }), "product");
    device
        .refuses(&of(Statement { commit: Some(CommitId([1; 32])), ..statement() }), "the note is for commit");
    device.refuses(&of(Statement { image: Digest([2; 32]), ..statement() }), "the signed digest is");
    device.refuses(&of(Statement { index: 4, ..statement() }), "an index of 5 or more");
}

#[test]
fn a_revoked_key_and_one_key_under_two_names_vouch_for_nothing() {
    let (key, old) = (new_key("example.com/release"), new_key("example.com/old"));
    let device = Device::new(CONF, &[key.vkey(), old.vkey()], &[old.vkey()]);
    device.refuses(&[evidence(&statement(), &[&old])], "revoked");

    let twin = Vkey::new("example.com/twin", key.vkey().public_bytes()).unwrap();
    let conf = format!("{CONF}threshold = 2\n");
    let device = Device::new(&conf, &[key.vkey(), &twin, old.vkey()], &[]);
    let text = statement().to_string();
    let signature = key.sign(text.as_bytes());
    let lines = signature_line(key.id(), &signature) + &signature_line(twin.id(), &signature);
    let twice =
        Evidence { note: Some(format!("{text}\n{lines}").into_bytes()), ..evidence(&statement(), &[]) };
    device.refuses(&[twice], "1 of 2 trusted keys");
    device.vouches(&[evidence(&statement(), &[&key, &old])]);
}

/// Among what a server serves, garbage hides nothing that is good, in whatever order.
#[test]
fn one_good_note_among_bad_ones_suffices_and_the_highest_index_counts() {
    let (key, own) = (new_key("example.com/release"), new_key("example.com/own"));
    let device = Device::new(CONF, &[key.vkey()], &[]);
    let older = evidence(&Statement { index: 6, ..statement() }, &[&key]);
    let good = evidence(&statement(), &[&key]);
    let garbage = Evidence { note: Some(vec![0x1b; 1000]), ..good.clone() };
    device.vouches(&[garbage.clone(), older.clone(), good.clone(), evidence(&statement(), &[&own])]);
    device.vouches(&[good, older, garbage]);
}

#[test]
fn an_update_does_not_go_back_and_a_rollback_does() {
    let key = new_key("example.com/release");
    let device = Device::new(CONF, &[key.vkey()], &[]);
    let old = [evidence(&Statement { index: 6, ..statement() }, &[&key])];
    let downgrade = Objection::Downgrade { commit: Checksum(COMMIT), running: 7, found: Some(6) };
    assert_eq!(device.judge(&old), Err(downgrade.clone()));
    device.vouches(&[evidence(&Statement { index: 7, ..statement() }, &[&key])]);

    let there = [0x77; 32];
    assert_eq!(device.judge_of(there, Way::InOrder, &[]), Ok(Continuity::WasThere));
    // Staged anew, it is an update like any other.
    device.judge_of(there, Way::Staged, &[]).unwrap_err();
    device.judge_of(COMMIT, Way::InOrder, &[]).unwrap_err();
    fs::remove_file(device.run.path().join("deployments")).unwrap();
    device.judge_of(there, Way::InOrder, &[]).unwrap_err();

    // What is allowed is this commit alone, and this objection alone.
    let commit = Checksum(COMMIT);
    Allowed { untrusted: Some(commit), downgrade: Some(Checksum(there)) }
        .remember(device.run.path())
        .unwrap();
    assert_eq!(device.judge(&old), Err(downgrade.clone()));
    Allowed { untrusted: None, downgrade: Some(commit) }.remember(device.run.path()).unwrap();
    assert_eq!(device.judge(&old), Ok(Continuity::Allowed(Box::new(downgrade))));
}

#[test]
fn an_administrator_lets_one_commit_through_by_name_and_no_other() {
    let (key, own) = (new_key("example.com/release"), new_key("example.com/own"));
    let device = Device::new(CONF, &[key.vkey()], &[]);
    let update = [evidence(&statement(), &[&own])];
    let other = Allowed { untrusted: Some(Checksum([1; 32])), downgrade: Some(Checksum(COMMIT)) };
    other.remember(device.run.path()).unwrap();
    device.refuses(&update, "0 of 1 trusted keys");
    Allowed { untrusted: Some(Checksum(COMMIT)), downgrade: None }.remember(device.run.path()).unwrap();
    match device.judge(&update) {
        Ok(Continuity::Allowed(objection)) => assert_eq!(objection.word(), "continuity/not-vouched"),
        other => panic!("{other:?}"),
    }
    for text in ["", "c0", "../../etc/shadow", &"C0".repeat(32)] {
        fs::write(device.run.path().join("allowed-untrusted"), text).unwrap();
        Allowed::read(device.run.path()).unwrap_err();
    }
}

#[test]
fn where_nothing_sealed_runs_nobody_is_asked() {
    let key = new_key("example.com/release");
    let device = Device::new(CONF, &[key.vkey()], &[]);
    for state in [None, Some(r#"{"mode":"unsealed"}"#)] {
        let path = device.run.path().join("state.json");
        match state {
            None => fs::remove_file(path).unwrap(),
            Some(state) => fs::write(path, state).unwrap(),
        }
        assert_eq!(device.judge(&[]), Ok(Continuity::NobodyToAsk));
    }
}

/// A running trust that is broken vouches for nothing, instead of falling back to another one.
#[test]
fn a_running_trust_that_can_not_be_told_vouches_for_nothing() {
    let key = new_key("example.com/release");
    let update = [evidence(&statement(), &[&key])];
    let breaks: [(&str, &str, &str); 5] = [
        ("state.json", "{", "EOF"),
        ("state.json", r#"{"mode":"SEALED"}"#, "expected sealed or unsealed"),
        ("trust/policy.conf", "[seal]\nmode = unsealed\n", "says unsealed"),
        ("trust/policy.conf", "[seal]\nmode = sealed\nthreshold = 0\n", "threshold"),
        ("trust/revoked.d/x.vkey", "nonsense", "a revoked key can't be told"),
    ];
    for (file, text, words) in breaks {
        let device = Device::new(CONF, &[key.vkey()], &[]);
        write(&device.run.path().join(file), text);
        match device.judge(&update) {
            Err(Objection::Unknown { why, .. }) => assert!(why.contains(words), "{why}"),
            other => panic!("{file} {text}: {other:?}"),
        }
    }
}

#[test]
fn an_older_initramfs_that_left_no_trust_is_read_itself() {
    let key = new_key("example.com/release");
    let device = Device::new(CONF, &[key.vkey()], &[]);
    fs::remove_dir_all(device.run.path().join("trust")).unwrap();
    let policy = parse(CONF, &[key.vkey()], &[]);
    let running = RunningSystem::read(device.run.path(), || Ok(policy));
    assert_eq!(running.trust().unwrap().policy().trusted(), [key.vkey().clone()]);
    let running = RunningSystem::read(device.run.path(), || anyhow::bail!("it can't be read"));
    assert!(matches!(running, RunningSystem::Unknown(why) if why.ends_with("it can't be read")));
}

#[test]
fn every_change_of_trust_is_told_with_its_effect() {
    let [a, b, c] = ["a", "b", "c"].map(|name| new_key(&format!("example.com/{name}")));
    let strict = parse(
        "product = example.com/os\nminimum-index = 9\nthreshold = 2\n[tpm]\nmeasure = 15\n",
        &[a.vkey(), b.vkey()],
        &[c.vkey()],
    );
    let loose = parse(
        "product = example.com/tv\naccept = note, commit\non-refusal = emergency\n",
        &[a.vkey(), c.vkey()],
        &[],
    );
    let told = |from, to| -> BTreeMap<&'static str, Effect> {
        between(Demands::Sealed(from), Demands::Sealed(to)).iter().map(|c| (c.word(), c.effect())).collect()
    };
    let expected = [
        ("key-added", Effect::Rotates),
        ("key-removed", Effect::Tightens),
        ("revocation-dropped", Effect::Loosens),
        ("threshold", Effect::Loosens),
        ("product", Effect::Loosens),
        ("minimum-index", Effect::Loosens),
        ("accept", Effect::Loosens),
        ("on-refusal", Effect::Loosens),
        ("measure", Effect::Loosens),
    ];
    assert_eq!(told(&strict, &loose), BTreeMap::from(expected));
    let expected = [
        ("key-added", Effect::Rotates),
        ("key-revoked", Effect::Tightens),
        ("threshold", Effect::Tightens),
        ("product", Effect::Loosens),
        ("minimum-index", Effect::Tightens),
        ("accept", Effect::Tightens),
        ("on-refusal", Effect::Tightens),
        ("measure", Effect::Tightens),
    ];
    assert_eq!(told(&loose, &strict), BTreeMap::from(expected));
    assert_eq!(told(&loose, &loose), BTreeMap::new());
    let changes = between(Demands::Sealed(&strict), Demands::Unsealed);
    assert_eq!(changes, [TrustChange::Mode { from: "sealed", to: "unsealed" }]);
    assert_eq!(changes[0].to_string(), "mode changes from sealed to unsealed (LOOSENS)");
    let changes = between(Demands::Nothing, Demands::Sealed(&strict));
    assert_eq!(changes[0].effect(), Effect::Tightens);
    assert_eq!(between(Demands::Sealed(&strict), Demands::Nothing)[0].effect(), Effect::Loosens);
}

#[test]
fn another_pcr_or_a_tpm_that_may_be_missing_loosens() {
    let key = new_key("example.com/a");
    let policy = |tpm: &str| parse(&format!("[tpm]\nmeasure = 15\n{tpm}"), &[key.vkey()], &[]);
    let (required, optional) = (policy(""), policy("tpm = optional\n"));
    let other = parse("[tpm]\nmeasure = 14\n", &[key.vkey()], &[]);
    let told = |from, to| between(Demands::Sealed(from), Demands::Sealed(to));
    for (from, to, effect) in [
        (&required, &optional, Effect::Loosens),
        (&optional, &required, Effect::Tightens),
        (&required, &other, Effect::Loosens),
        (&optional, &other, Effect::Loosens),
    ] {
        let changes = told(from, to);
        assert_eq!(
            changes.iter().map(|change| (change.word(), change.effect())).collect::<Vec<_>>(),
            [("measure", effect)]
        );
    }
    let text = told(&required, &optional)[0].to_string();
    assert_eq!(text, "measure changes from PCR 15, required to PCR 15, optional (LOOSENS)");
}

#[test]
fn a_key_under_another_name_is_a_change_and_a_revocation_under_another_name_is_none() {
    let (key, old) = (new_key("example.com/a"), new_key("example.com/old"));
    let renamed = Vkey::new("example.com/b", key.vkey().public_bytes()).unwrap();
    let old_renamed = Vkey::new("example.com/older", old.vkey().public_bytes()).unwrap();
    let from = parse(CONF, &[key.vkey()], &[old.vkey()]);
    let to = parse(CONF, &[&renamed], &[&old_renamed]);
    let words: Vec<_> =
        between(Demands::Sealed(&from), Demands::Sealed(&to)).iter().map(TrustChange::word).collect();
    assert_eq!(words, ["key-added", "key-removed"]);
}

// What the boot program leaves.

fn key_file(path: &str, content: Result<&str, &str>) -> KeyFile {
    let content = content.map(|text| text.as_bytes().to_owned()).map_err(ToOwned::to_owned);
    KeyFile { path: path.to_owned(), content }
}

fn left_files() -> PolicyFiles {
    PolicyFiles {
        path: "/usr/lib/ostree-seal/policy.conf".to_owned(),
        conf: b"[seal]\nmode = unsealed\n".to_vec(),
        trusted: vec![key_file("/a/release.vkey", Ok("a")), key_file("/a/gone.vkey", Err("I/O error"))],
        revoked: vec![key_file("/b/old.vkey", Ok("b"))],
    }
}

#[test]
fn what_was_gone_by_is_left_with_the_same_bytes_for_everybody_to_read() {
    let run = tempfile::tempdir().unwrap();
    fs::create_dir(run.path().join("ostree-seal")).unwrap();
    leave(&left_files(), &mut RunFiles::new(run.path().to_owned())).unwrap();
    let left = run.path().join("ostree-seal/trust");
    let read = files::read(&Mounted, &left).unwrap();
    assert_eq!(read.conf, left_files().conf);
    let keys = |files: &[KeyFile]| -> Vec<Vec<u8>> {
        files.iter().map(|file| file.content.clone().unwrap()).collect()
    };
    assert_eq!((keys(&read.trusted), keys(&read.revoked)), (vec![b"a".to_vec()], vec![b"b".to_vec()]));
    let mode = |name: &str| fs::metadata(left.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("trusted.d") & 0o022, mode("policy.conf") & 0o133), (0, 0));
}

#[test]
fn what_can_not_be_left_whole_is_not_left_at_all() {
    let run = tempfile::tempdir().unwrap();
    fs::create_dir(run.path().join("ostree-seal")).unwrap();
    let mut files = RunFiles::new(run.path().to_owned());
    let mut broken = left_files();
    broken.trusted.push(key_file("/a/..", Ok("no name of a file")));
    leave(&broken, &mut files).unwrap_err();
    assert!(!run.path().join("ostree-seal/trust").exists());
    // One that is there already isn't ours, and isn't mixed with ours.
    fs::create_dir(run.path().join("ostree-seal/trust")).unwrap();
    leave(&left_files(), &mut files).unwrap_err();
    assert_eq!(fs::read_dir(run.path().join("ostree-seal/trust")).unwrap().count(), 0);
}

#[test]
fn the_deployments_that_are_there_are_listed() {
    let root = tempfile::tempdir().unwrap();
    for name in ["os/deploy/aa.0", "os/deploy/aa.1", "os/var", "other/deploy/bb.0", "half"] {
        fs::create_dir_all(root.path().join("ostree/deploy").join(name)).unwrap();
    }
    fs::write(root.path().join("ostree/deploy/os/deploy/aa.0.origin"), "").unwrap();
    fs::create_dir(root.path().join("ostree-seal")).unwrap();
    let mut files = RunFiles::new(root.path().to_owned());
    leave_deployments(fs::File::open(root.path()).unwrap(), &mut files).unwrap();
    let list = fs::read_to_string(root.path().join("ostree-seal/deployments")).unwrap();
    let mut lines: Vec<&str> = list.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["os/aa.0", "os/aa.1", "other/bb.0"]);
}
