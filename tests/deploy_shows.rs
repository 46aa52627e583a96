//! What `deploy` and `status` show of a system, on a terminal and elsewhere.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: a panic is its answer, and nobody links it"
)]

mod common;

use common::system::System;
use common::{is_root, on_a_terminal, seal};

#[test]
fn progress_is_shown_on_a_terminal_and_nowhere_else() {
    if !is_root("progress_is_shown_on_a_terminal_and_nowhere_else") {
        return;
    }
    let system = System::sealable();
    let args = ["--defer-verity", "--fsck"];
    let shown = on_a_terminal(&system.deploy_command(&args));
    for step in ["checking contents", "making the image"] {
        let counts = |line: &str| line.contains(step) && line.contains('/') && line.ends_with("s left");
        assert!(shown.split(['\r', '\n', '\x1b']).any(counts), "{step} is not in {shown:?}");
    }
    let run = system.deploy(&args);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
}

#[test]
fn status_says_what_the_next_boot_will_do() {
    if !is_root("status_says_what_the_next_boot_will_do") {
        return;
    }
    let system = System::sealable();
    let status = |system: &System| {
        let sysroot = format!("--sysroot={}", system.root.display());
        let json = seal(&["status", &sysroot, "--json"]).ok();
        let page = seal(&["status", &sysroot]).ok();
        (serde_json::from_str::<serde_json::Value>(&json).unwrap(), page)
    };
    let (json, page) = status(&system);
    assert_eq!(json["deployments"][0]["verdict"], "refused", "{json}");
    assert!(page.contains("is refused by its initramfs"), "{page}");

    system.deploy(&["--defer-verity"]).ok();
    let (json, page) = status(&system);
    let entry = &json["deployments"][0];
    assert_eq!(entry["verdict"], "deferred", "{json}");
    assert_eq!((&entry["version"], &entry["objects_with_verity"]), (&"1".into(), &0.into()), "{json}");
    assert!(entry["objects"].as_u64().unwrap() >= 6, "{json}");
    assert!(page.contains("fs-verity is not enabled yet"), "{page}");
    assert_eq!(entry["policy_from_tree"], "the deployment has no initramfs", "{json}");
    assert!(page.contains("policy.conf was read in the tree: the deployment has no initramfs"), "{page}");

    let system = System::new();
    system.commit("1", &[]);
    system.deploy_tree();
    assert_eq!(status(&system).0["deployments"][0]["verdict"], "foreign");
}

/// How many lines of a terminal of 80 columns a text without escape sequences takes.
fn lines_of_80_columns(text: &str) -> usize {
    text.lines().map(|line| line.chars().count().div_ceil(80).max(1)).sum()
}

#[test]
fn status_has_colour_on_a_terminal_only_and_fits_one_screen() {
    if !is_root("status_has_colour_on_a_terminal_only_and_fits_one_screen") {
        return;
    }
    let system = System::sealable();
    system.deploy_second();
    for (step, colour) in [("refused", "\x1b[31m"), ("deferred", "\x1b[33m")] {
        let sysroot = format!("--sysroot={}", system.root.display());
        let page = seal(&["status", &sysroot]).ok();
        assert!(!page.contains('\x1b'), "{step}: {page:?}");
        assert!(page.contains("\n0 test 2 ") && page.contains("\n1 test 1 "), "{step}: {page}");
        let lines = lines_of_80_columns(&page);
        assert!(lines <= 24, "{step}: {lines} lines: {page}");
        let mut command = common::program();
        let shown = on_a_terminal(command.args(["status", &sysroot]));
        // Nothing but colours is added.
        let mut pieces = shown.split("\x1b[");
        let bare: String =
            pieces.next().into_iter().chain(pieces.map(|piece| piece.split_once('m').unwrap().1)).collect();
        assert_eq!(bare.replace('\r', "").trim_end(), page, "{step}");
        assert!(shown.contains(&format!("{colour}{step}\x1b[0m")), "{step}: {shown:?}");
        system.deploy(&["--all", "--defer-verity"]).ok();
        println!("{step}: {lines} lines");
    }
}
