//! What runs in the initramfs is read by auditors, so the list of what it is made of is written down.

use std::collections::BTreeSet;
use std::process::Command;

#[test]
fn the_boot_program_depends_on_what_is_written_down_and_nothing_else() {
    let written: BTreeSet<&str> = include_str!("../src/boot/dependencies.txt")
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|name| !name.is_empty())
        .collect();

    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--locked", "--package", "ostree-seal-root", "--edges", "normal"]);
    cargo.args(["--prefix", "none", "--no-dedupe", "--format", "{p}"]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let found: BTreeSet<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "ostree-seal-root")
        .collect();

    assert_eq!(found, written, "left: cargo tree, right: src/boot/dependencies.txt");
}
