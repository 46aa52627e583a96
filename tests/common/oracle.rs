//! The oracle: a Debian sid root whose ostree makes composefs images (`make oracle`).

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Run;
use super::cache::{cache, may_be_missing};

/// Makes a private mount namespace in which `$1` is also `/mnt` of the root `$0`, and runs the rest in there.
const ENTER: &str = r#"
    root=$0 dir=$1
    shift
    mount -t proc proc "$root/proc" && mount --bind "$dir" "$root/mnt" &&
        exec chroot "$root" sh -c 'cd /mnt && exec "$@"' sh "$@"
"#;

/// A root with sid's programs.
pub(crate) struct Oracle {
    root: PathBuf,
}

impl Oracle {
    /// The oracle, if it was made; else says that the test is skipped, or fails where that isn't allowed.
    pub(crate) fn find(test: &str) -> Option<Self> {
        let root =
            std::env::var_os("OSTREE_SEAL_ORACLE").map_or_else(|| cache().join("oracle-sid"), PathBuf::from);
        let reason = if !root.join("usr/bin/ostree").exists() {
            format!("no oracle in {} (make oracle)", root.display())
        } else if !rustix::process::geteuid().is_root() {
            "the oracle needs root".to_owned()
        } else {
            return Some(Self { root });
        };
        assert!(may_be_missing(), "{test}: {reason}");
        println!("SKIP {test}: {reason}");
        None
    }

    /// Runs a program in `directory`, which it sees as `/mnt`.
    pub(crate) fn run(&self, directory: &Path, program: &[&str]) -> Run {
        Run::of(
            Command::new("unshare")
                .args(["--mount", "--propagation=private", "sh", "-c", ENTER])
                .args([&self.root, directory])
                .args(program),
        )
    }
}
