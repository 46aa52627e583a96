//! `deploy` on a disk that fails and in a process that dies: at each system call that changes the disk, in turn. Needs
//! strace, which fails or kills at the n-th call.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: a panic is its answer, and nobody links it"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::system::{System, digest_of, is_immutable, set_immutable};
use common::{Run, is_root, object, repo_arg, run};
use ostree_seal_trust::digest::Digest;

/// All calls by which `deploy` changes a disk. Calls that open files are apart, since most of them only read.
const CHANGING: &str = "trace=write,writev,pwrite64,fsync,fdatasync,syncfs,rename,renameat,renameat2,link,linkat,symlink,\
                        symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir,fchmod,fchmodat,fchown,fchownat,ftruncate,\
                        utimensat,fsetxattr,setxattr,fallocate,copy_file_range,ioctl,flock";

/// Not every architecture has `open`.
const OPENING: &str = "trace=?open,openat";

const OURS: [&str; 3] = [".ostree.cfs", ".ostree.seal", ".ostree.seal-deferred"];

/// A system, and what a whole run leaves in its deployment.
struct Bench {
    system: System,
    deployment: PathBuf,
    whole: BTreeMap<String, Digest>,
}

impl Bench {
    fn new() -> Self {
        let system = System::sealable();
        let deployment = system.only_deployment();
        system.deploy(&["--defer-verity"]).ok();
        let whole = files(&deployment);
        assert_eq!(whole.keys().map(String::as_str).collect::<Vec<_>>(), OURS);
        let bench = Self { system, deployment, whole };
        bench.reset();
        bench
    }

    /// Takes away what a run has left.
    fn reset(&self) {
        set_immutable(&self.deployment, false);
        for name in files(&self.deployment).keys() {
            fs::remove_file(self.deployment.join(name)).unwrap();
        }
        set_immutable(&self.deployment, true);
    }

    fn traced(&self, options: &[&str]) -> Run {
        Run::of(&mut self.traced_command(options))
    }

    fn traced_command(&self, options: &[&str]) -> Command {
        let inner = self.system.deploy_command(&["--defer-verity", "--threads=1"]);
        let log = self.system.directory.path().join("strace");
        let mut command = Command::new("strace");
        command.args(["-f", "-q", "-o"]).arg(log).args(options).arg("--");
        command.arg(inner.get_program()).args(inner.get_args());
        command
    }

    fn log(&self) -> String {
        fs::read_to_string(self.system.directory.path().join("strace")).unwrap()
    }

    /// Options with which strace sees only calls that have the deployment as their directory or path: ours name it by its
    /// whole path or have it open, libostree's name it from the sysroot on.
    fn of_deployment(&self) -> [&str; 4] {
        let from_sysroot = self.deployment.strip_prefix(&self.system.root).unwrap();
        ["-P", self.deployment.to_str().unwrap(), "-P", from_sysroot.to_str().unwrap()]
    }

    /// Each call that a whole run makes, as name and number: strace counts each name and each thread by itself, and only
    /// what its options select.
    fn calls(&self, options: &[&str]) -> Vec<(String, usize)> {
        assert_eq!(self.traced(options).code, Some(0));
        let log = self.log();
        let mut most = BTreeMap::<String, BTreeMap<&str, usize>>::new();
        for line in log.lines().filter(|line| !line.contains("resumed")) {
            let mut words = line.split_whitespace();
            let (Some(thread), Some(call)) = (words.next(), words.next()) else { continue };
            let Some((name, _)) = call.split_once('(') else { continue };
            *most.entry(name.to_owned()).or_default().entry(thread).or_default() += 1;
        }
        self.reset();
        let numbered = |(name, counts): (String, BTreeMap<&str, usize>)| {
            let most = counts.into_values().max().unwrap();
            (1..=most).map(move |nth| (name.clone(), nth))
        };
        most.into_iter().flat_map(numbered).collect()
    }

    /// Runs with this done to the nth call of this name, of those that the options select.
    fn injected(&self, options: &[&str], (name, nth): &(String, usize), fault: &str) -> Run {
        let (trace, inject) = (format!("trace={name}"), format!("inject={name}:{fault}:when={nth}"));
        self.traced(&[options, &["-e", &trace, "-e", &inject]].concat())
    }

    /// Each of these calls fails in a run of its own: either that is told in one sentence, or all is as it should be,
    /// since some may fail without harm, such as looking for a terminal or unlocking. Returns how many were told.
    fn fail<'a>(
        &self,
        options: &[&str],
        calls: impl IntoIterator<Item = &'a (String, usize)>,
        error: &str,
    ) -> usize {
        let mut told = 0;
        for call in calls {
            let what = format!("{error} of {call:?}");
            let run = self.injected(options, call, &format!("error={error}"));
            assert!(self.log().contains("(INJECTED)"), "{what}: there was no such call");
            if run.code == Some(0) {
                println!("{what}: no harm");
                assert_eq!(files(&self.deployment), self.whole, "{what}: done, but not all is there");
            } else {
                // What the boot will ask can't be told if policy or layout can't be read: that may be a refusal.
                let may_refuse = run.stderr.contains(": reading the policy of ");
                let is_told = run.code == Some(1) || may_refuse && run.code == Some(3);
                assert!(is_told, "{what}: {:?} {}", run.code, run.stderr);
                assert_eq!(run.stderr.trim_end().lines().count(), 1, "{what}: {}", run.stderr);
                println!("{what}: {}", run.stderr.trim_end());
                told += 1;
            }
            self.check(&what);
            self.reset();
        }
        told
    }

    /// What is there under a final name is whole, and the next run completes it.
    fn check(&self, what: &str) {
        for (name, digest) in files(&self.deployment) {
            if let Some(whole) = self.whole.get(&name) {
                assert_eq!(digest, *whole, "{what}: {name} is not whole");
            }
        }
        let run = self.system.deploy(&["--defer-verity"]);
        assert_eq!(run.code, Some(0), "{what}: the next run: {}", run.stderr);
        assert_eq!(files(&self.deployment), self.whole, "{what}");
        assert!(is_immutable(&self.deployment), "{what}");
    }
}

/// The object of a file in the commit that is deployed.
fn object_of(system: &System, path: &str) -> PathBuf {
    let listed = run("ostree", &["ls", &repo_arg(&system.repo()), "-C", "os", path]);
    object(&system.repo(), listed.split_whitespace().nth(4).unwrap(), "file")
}

/// The files in a directory, by name.
fn files(directory: &Path) -> BTreeMap<String, Digest> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| (entry.file_name().into_string().unwrap(), digest_of(&entry.path())))
        .collect()
}

fn can_run(test: &str) -> bool {
    let strace = Command::new("strace").arg("-V").output().is_ok();
    if !strace {
        println!("SKIP {test}: needs strace");
    }
    strace && is_root(test)
}

#[test]
fn killed_at_any_call_the_next_run_finishes_the_job() {
    if !can_run("killed_at_any_call_the_next_run_finishes_the_job") {
        return;
    }
    let bench = Bench::new();
    let calls = bench.calls(&["-e", CHANGING]);
    assert!(calls.len() > 20, "{calls:?}");
    for call in &calls {
        let run = bench.injected(&[], call, "signal=KILL");
        assert_ne!(run.code, Some(0), "killed at {call:?}: it was not");
        bench.check(&format!("killed at {call:?}"));
        bench.reset();
    }
    println!("killed at each of {} calls", calls.len());
}

#[test]
fn an_error_of_any_call_is_told_and_leaves_nothing_half() {
    if !can_run("an_error_of_any_call_is_told_and_leaves_nothing_half") {
        return;
    }
    let bench = Bench::new();
    let calls = bench.calls(&["-e", CHANGING]);
    let errors = [("EIO", 1), ("ENOSPC", 2), ("EROFS", 3)];
    let told: usize =
        errors.into_iter().map(|(error, step)| bench.fail(&[], calls.iter().step_by(step), error)).sum();
    assert!(told > 10, "{told} errors were told");
    println!("told of {told} errors");
}

#[test]
fn an_error_of_opening_anything_in_the_deployment_is_told_and_leaves_nothing_half() {
    if !can_run("an_error_of_opening_anything_in_the_deployment_is_told_and_leaves_nothing_half") {
        return;
    }
    let bench = Bench::new();
    let select = bench.of_deployment();
    let calls = bench.calls(&[&select[..], &["-e", OPENING]].concat());
    // What is there, image, note, mark, and each time the directory itself, by us and by libostree.
    assert!(calls.len() > 15, "{calls:?}");
    let told: usize = ["EIO", "ENOSPC"].into_iter().map(|error| bench.fail(&select, &calls, error)).sum();
    assert!(told > 15, "{told} errors were told");
    println!("told of {told} errors of {} calls", calls.len());
}

/// Waits until the program under strace has begun the image: it has an unnamed file in the deployment open.
fn wait_for_image(strace: u32, deployment: &Path) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        let children = fs::read_to_string(format!("/proc/{strace}/task/{strace}/children")).unwrap();
        let fds = children.split_whitespace().flat_map(|child| fs::read_dir(format!("/proc/{child}/fd")));
        let mut open = fds.flatten().flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
        if open.any(|path| path.parent() == Some(deployment)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the image was not begun");
}

#[test]
fn no_prune_can_run_while_an_image_is_made() {
    if !can_run("no_prune_can_run_while_an_image_is_made") {
        return;
    }
    let bench = Bench::new();
    let repo = repo_arg(&bench.system.repo());
    run("ostree", &[&repo, "config", "set", "core.lock-timeout-secs", "0"]);
    let prune = || Run::of(Command::new("ostree").args([repo.as_str(), "prune", "--refs-only"]));
    // The image waits for the disk for some seconds.
    let slow = ["-e", "trace=fsync", "-e", "inject=fsync:delay_enter=5000000:when=1"];
    let mut deploy = bench.traced_command(&slow).stdout(Stdio::null()).spawn().unwrap();
    wait_for_image(deploy.id(), &bench.deployment);
    let refused = prune();
    assert!(refused.stderr.contains("Locking repo exclusive failed"), "{refused:?}");
    assert!(deploy.try_wait().unwrap().is_none(), "it was over before the prune");
    assert_eq!(deploy.wait().unwrap().code(), Some(0));
    assert_eq!(files(&bench.deployment), bench.whole);
    prune().ok();
    run("ostree", &[&repo, "fsck"]);
    bench.check("pruned");
}

#[test]
fn an_object_that_cannot_be_read_is_named_and_nothing_is_lost() {
    if !can_run("an_object_that_cannot_be_read_is_named_and_nothing_is_lost") {
        return;
    }
    let bench = Bench::new();
    for path in ["/usr/bin/large", "/usr/bin/hello"] {
        let object = object_of(&bench.system, path);
        let reads = "read,readv,pread64,preadv,preadv2";
        let inject = format!("inject={reads}:error=EIO");
        let run =
            bench.traced(&["-P", object.to_str().unwrap(), "-e", &format!("trace={reads}"), "-e", &inject]);
        assert_eq!(run.code, Some(1), "{path}: {}", run.stderr);
        let name = object.file_name().unwrap().to_str().unwrap();
        assert!(run.stderr.contains(name) && run.stderr.contains("Input/output error"), "{}", run.stderr);
        assert_eq!(run.stderr.trim_end().lines().count(), 1, "{}", run.stderr);
        assert_eq!(files(&bench.deployment), BTreeMap::new());
        bench.check(path);
        bench.reset();
    }
}
