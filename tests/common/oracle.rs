//! The oracle: a Debian sid root whose ostree makes composefs images (`make oracle`).

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Run;

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
        let root = std::env::var_os("OSTREE_SEAL_ORACLE").map_or_else(default_root, PathBuf::from);
        let reason = if !root.join("usr/bin/ostree").exists() {
            format!("no oracle in {} (make oracle)", root.display())
        } else if !rustix::process::geteuid().is_root() {
            "the oracle needs root".to_owned()
        } else {
            return Some(Self { root });
        };
        let required = std::env::var_os("OSTREE_SEAL_REQUIRE_ORACLE").is_some_and(|value| value == "1");
        assert!(!required, "{test}: {reason}");
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

/// Where `make oracle` makes it: CACHE of `tests/tools/common.sh`.
fn default_root() -> PathBuf {
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || named("HOME").unwrap_or_default().join(".cache");
    let cache = named("OSTREE_SEAL_CACHE")
        .unwrap_or_else(|| named("XDG_CACHE_HOME").unwrap_or_else(home).join("ostree-seal"));
    cache.join("oracle-sid")
}
