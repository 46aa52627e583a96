//! What the tests share: running the program, and repositories made of described trees.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

pub mod boot_files;
pub mod cache;
pub mod disks;
pub mod dumps;
pub mod oracle;
pub mod repo;
pub mod system;
pub mod trees;
pub mod whole_way;

/// A directory for one test, on the disk: a tmpfs has no user xattrs before Linux 6.6.
pub(crate) fn scratch() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// The program, to be given arguments.
pub(crate) fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_ostree-seal"))
}

/// Runs the program to its end.
pub(crate) fn seal(args: &[&str]) -> Run {
    Run::of(program().args(args))
}

/// Bash with the rights that an ordinary container has: root without CAP_SYS_ADMIN, which may neither mount nor make loop
/// devices. Who isn't root has no more than that anyway. It finds the program, and what administrators have in their PATH.
pub(crate) fn container_shell() -> Command {
    const RIGHTS: &str = "-all,+chown,+dac_override,+fsetid,+fowner,+mknod,+net_raw,+setgid,+setuid,+setfcap,+setpcap,\
        +net_bind_service,+sys_chroot,+kill,+audit_write";
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.arg(format!("--bounding-set={RIGHTS}")).arg("bash");
        command
    } else {
        Command::new("bash")
    };
    let programs = Path::new(env!("CARGO_BIN_EXE_ostree-seal")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}:/usr/sbin:/sbin", programs.display()));
    command
}

/// What a program did.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().unwrap();
        Self {
            code: status.code(),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    /// What a program that succeeds has printed, without the newline at the end.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout.strip_suffix('\n').unwrap_or(&self.stdout).to_owned()
    }
}

/// `--repo=DIR`
pub(crate) fn repo_arg(path: &Path) -> String {
    format!("--repo={}", path.display())
}

/// Runs a program that has to succeed, and returns its stdout.
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    Run::of(Command::new(program).args(args)).ok()
}

/// Converts a ref and returns digest and image.
pub(crate) fn convert(repo: &Path, rev: &str, image: &Path) -> (String, Vec<u8>) {
    let args = ["convert", &repo_arg(repo), rev, &image.display().to_string()];
    let digest = seal(&args).ok();
    (digest, std::fs::read(image).unwrap())
}

/// All names in a directory, in order.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The file of an object in a repository.
pub(crate) fn object(repo: &Path, checksum: &str, extension: &str) -> PathBuf {
    repo.join("objects").join(&checksum[..2]).join(format!("{}.{extension}", &checksum[2..]))
}

/// Whether this is root; else says that the test is skipped.
pub(crate) fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("SKIP {test}: needs root");
    }
    root
}

/// What a command shows on a terminal of 80 columns, with both of its outputs.
pub fn on_a_terminal(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line: Vec<&str> = words.map(|word| word.to_str().unwrap()).collect();
    // Without a name of its type a terminal gets no bar, and who doesn't want colours may have said so.
    let line = format!("stty cols 80; NO_COLOR= TERM=xterm {}", line.join(" "));
    run("script", &["--quiet", "--return", "--command", &line, "/dev/null"])
}
