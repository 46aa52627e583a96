//! What the dracut module puts into an initramfs, with dracut's own functions replaced by what they do to a symlink.

#![allow(clippy::unwrap_used, reason = "a test program: a panic is its answer, and nobody links it")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// dracut installs a symlink as a symlink, and its target beside it.
const DRACUT: &str = r#"
    set -e
    inst_simple() {
        mkdir -p "$(dirname "$initdir${2:-$1}")"
        cp -P "$dracutsysrootdir${1#"$dracutsysrootdir"}" "$initdir${2:-$1}"
    }
    inst_multiple() { for f in "$@"; do [ ! -e "$dracutsysrootdir$f" ] || inst_simple "$f"; done; }
    dfatal() { echo "$1" >&2; }
    SYSTEMCTL=true
    systemdsystemunitdir=/usr/lib/systemd/system
    . "$0"
    mkdir -p "$initdir/etc/systemd/system"
    install
"#;

fn install(tree: &Path, initramfs: &Path) {
    let module = concat!(env!("CARGO_MANIFEST_DIR"), "/dracut/50ostree-seal/module-setup.sh");
    let mut bash = Command::new("bash");
    bash.args(["-c", DRACUT, module]).env("dracutsysrootdir", tree).env("initdir", initramfs);
    let output = bash.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_is_a_symlink_in_the_tree_is_a_file_in_the_initramfs() {
    let (tree, initramfs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let links = [
        ("etc/ostree-seal/policy.conf", "other.conf", "etc/ostree-seal/other.conf"),
        ("etc/ostree-seal/trusted.d/new.vkey", "../../keys/new", "etc/keys/new"),
        ("usr/lib/ostree-seal/revoked.d/old.vkey", "../old", "usr/lib/ostree-seal/old"),
        ("etc/ostree/prepare-root.conf", "../layout", "etc/layout"),
    ];
    for (name, target, path) in links {
        for path in [name, path] {
            fs::create_dir_all(tree.path().join(path).parent().unwrap()).unwrap();
        }
        symlink(target, tree.path().join(name)).unwrap();
        fs::write(tree.path().join(path), name).unwrap();
    }
    install(tree.path(), initramfs.path());
    let expected = [
        ("usr/lib/ostree-seal/policy.conf", links[0].0),
        ("usr/lib/ostree-seal/trusted.d/etc-new.vkey", links[1].0),
        ("usr/lib/ostree-seal/revoked.d/old.vkey", links[2].0),
        ("etc/ostree/prepare-root.conf", links[3].0),
    ];
    for (name, content) in expected {
        let path = initramfs.path().join(name);
        assert!(path.symlink_metadata().is_ok_and(|found| found.is_file()), "{name} is no file");
        assert_eq!(fs::read_to_string(path).unwrap(), content);
    }
}
