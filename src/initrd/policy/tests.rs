use std::io::Write;
use std::path::Path;

use ostree_seal_root::check::error::CheckError;
use ostree_seal_trust::digest::Digest;
use ostree_seal_trust::policy::SealedPolicy;
use ostree_seal_trust::vkey::Vkey;

use super::{Bootable, Origin, Trust, bootable, bootable_staged, of_deployment};
use crate::refused::Refused;

/// Public keys of RFC 8032, 7.1.
const KEYS: [&str; 3] = [
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
];

const SEALED: &str = "[seal]\nmode = sealed\nproduct = example.com/os\n";
const UNSEALED: &str = "[seal]\nmode = unsealed\n";
const INITRAMFS: &str = "usr/lib/modules/6.12/initramfs.img";

fn key(index: usize) -> String {
    let public: Digest = KEYS[index].parse().unwrap();
    Vkey::new(&format!("example.com/{index}"), &public.0).unwrap().to_string()
}

/// A deployment's tree with these files.
fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    root
}

/// Adds a kernel and an initramfs with these files.
fn add_initramfs(root: &Path, files: &[(&str, &str)]) {
    add_initramfs_of(root, tree(files).path());
}

/// Adds a kernel and an initramfs with what is in this directory.
fn add_initramfs_of(root: &Path, content: &Path) {
    let modules = root.join("usr/lib/modules/6.12");
    std::fs::create_dir_all(&modules).unwrap();
    std::fs::write(modules.join("vmlinuz"), "kernel").unwrap();
    let mut cpio = std::process::Command::new("sh")
        .args(["-c", "find . ! -type d | cpio --quiet -o -H newc"])
        .current_dir(content)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut archive = Vec::new();
    std::io::Read::read_to_end(cpio.stdout.as_mut().unwrap(), &mut archive).unwrap();
    assert!(cpio.wait().unwrap().success());
    std::fs::File::create(modules.join("initramfs.img")).unwrap().write_all(&archive).unwrap();
}

fn trust(root: &Path) -> anyhow::Result<Trust> {
    of_deployment(root, &bootable(root, &[]))
}

fn sealed(root: &Path) -> (SealedPolicy, Origin) {
    match trust(root).unwrap() {
        Trust::Sealed { policy, origin } => (*policy, origin),
        other => panic!("{other:?}"),
    }
}

fn refused(root: &Path) -> String {
    trust(root).unwrap_err().downcast_ref::<Refused>().unwrap().to_string()
}

fn names(policy: &SealedPolicy) -> Vec<String> {
    policy.trusted().iter().map(|key| key.id().name.clone()).collect()
}

#[test]
fn a_tree_that_knows_nothing_of_sealing_is_foreign() {
    let root = tree(&[("usr/lib/os-release", "")]);
    assert!(matches!(trust(root.path()).unwrap(), Trust::Foreign));
    add_initramfs(root.path(), &[("usr/bin/sh", "")]);
    assert!(matches!(trust(root.path()).unwrap(), Trust::Foreign));
}

#[test]
fn the_initramfs_decides_and_not_the_tree() {
    let root = tree(&[("usr/lib/ostree-seal/policy.conf", UNSEALED)]);
    let in_initramfs = [
        ("usr/lib/ostree-seal/policy.conf", SEALED),
        ("usr/lib/ostree-seal/trusted.d/a.vkey", &key(0)),
        ("usr/bin/ostree-seal-root", "program"),
    ];
    add_initramfs(root.path(), &in_initramfs);
    let (policy, origin) = sealed(root.path());
    assert_eq!(names(&policy), ["example.com/0"]);
    assert_eq!(origin, Origin::Initramfs(root.path().join(INITRAMFS)));
}

#[test]
fn the_boot_entrys_initramfs_and_its_overlays_come_before_the_trees() {
    let root = tree(&[]);
    add_initramfs(
        root.path(),
        &[("usr/bin/ostree-seal-root", ""), ("usr/lib/ostree-seal/policy.conf", UNSEALED)],
    );
    let overlay = tree(&[]);
    let files =
        [("usr/lib/ostree-seal/policy.conf", SEALED), ("usr/lib/ostree-seal/trusted.d/a.vkey", &key(1))];
    add_initramfs(overlay.path(), &files);
    let paths = [root.path().join(INITRAMFS), overlay.path().join(INITRAMFS)];
    let found = of_deployment(root.path(), &bootable(root.path(), &paths)).unwrap();
    assert!(matches!(found, Trust::Sealed { policy, .. } if names(&policy) == ["example.com/1"]));
}

#[test]
fn the_overlays_of_a_staged_deployment_come_behind_the_trees_initramfs() {
    let (root, overlay) = (tree(&[]), tree(&[]));
    let unsealed = [("usr/bin/ostree-seal-root", ""), ("usr/lib/ostree-seal/policy.conf", UNSEALED)];
    let key = key(1);
    let files =
        [("usr/lib/ostree-seal/policy.conf", SEALED), ("usr/lib/ostree-seal/trusted.d/a.vkey", &*key)];
    add_initramfs(overlay.path(), &files);
    let overlays = [overlay.path().join(INITRAMFS)];
    // libostree names overlays only where there is an initramfs.
    assert!(matches!(bootable_staged(root.path(), &overlays), Bootable::None));
    add_initramfs(root.path(), &unsealed);
    let found = of_deployment(root.path(), &bootable_staged(root.path(), &overlays)).unwrap();
    assert!(matches!(found, Trust::Sealed { policy, .. } if names(&policy) == ["example.com/1"]));
    let none = bootable_staged(root.path(), &[root.path().join("missing")]);
    assert!(matches!(none, Bootable::Unreadable(..)));
}

#[test]
fn refuses_initramfs_without_policy() {
    let root = tree(&[("usr/lib/ostree-seal/policy.conf", SEALED)]);
    add_initramfs(root.path(), &[("usr/bin/ostree-seal-root", "program")]);
    let error = trust(root.path()).unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(CheckError::PolicyMissing { .. })), "{error:#}");
}

#[test]
fn refuses_sealed_tree_whose_initramfs_lacks_the_program() {
    let root = tree(&[
        ("usr/lib/ostree-seal/policy.conf", SEALED),
        ("usr/lib/ostree-seal/trusted.d/a.vkey", &key(0)),
    ]);
    add_initramfs(root.path(), &[("usr/lib/ostree-seal/policy.conf", SEALED)]);
    let refused = refused(root.path());
    assert!(refused.contains("holds no ostree-seal-root") && refused.contains("dracut"), "{refused}");
}

#[test]
fn refuses_initramfs_whose_revocation_is_a_symlink() {
    let key = key(0);
    let in_initramfs = [
        ("usr/lib/ostree-seal/policy.conf", SEALED),
        ("usr/lib/ostree-seal/trusted.d/old.vkey", &key),
        ("usr/bin/ostree-seal-root", "program"),
    ];
    // What the tree says doesn't count: the initramfs may have been made of another one.
    for in_tree in [&in_initramfs[..2], &[]] {
        let (root, content) = (tree(in_tree), tree(&in_initramfs));
        let revoked = content.path().join("usr/lib/ostree-seal/revoked.d");
        std::fs::create_dir(&revoked).unwrap();
        std::os::unix::fs::symlink("../trusted.d/old.vkey", revoked.join("old.vkey")).unwrap();
        add_initramfs_of(root.path(), content.path());
        let refused = refused(root.path());
        assert!(refused.contains("initramfs.img:/usr/lib/ostree-seal/revoked.d/old.vkey is "), "{refused}");
        assert!(refused.contains("symbolic link") && refused.contains("dracut"), "{refused}");
    }
}

#[test]
fn a_symlink_to_a_layout_in_a_foreign_initramfs_is_none_of_our_business() {
    let (root, content) = (tree(&[]), tree(&[("etc/ostree/layout", "")]));
    std::os::unix::fs::symlink("layout", content.path().join("etc/ostree/prepare-root.conf")).unwrap();
    std::os::unix::fs::symlink("etc", content.path().join("usr")).unwrap();
    add_initramfs_of(root.path(), content.path());
    assert!(matches!(trust(root.path()).unwrap(), Trust::Foreign));
}

#[test]
fn refuses_initramfs_that_starts_ostree_prepare_root_and_not_the_program() {
    let key = key(0);
    let with_units = |policy: &str, units: &[&str]| {
        let root = tree(&[]);
        let ours = [
            ("usr/lib/ostree-seal/policy.conf", policy),
            ("usr/lib/ostree-seal/trusted.d/a.vkey", &key),
            ("usr/bin/ostree-seal-root", "program"),
        ];
        let units = units.iter().map(|unit| (*unit, ""));
        add_initramfs(root.path(), &ours.into_iter().chain(units).collect::<Vec<_>>());
        root
    };
    let prepare_root = "usr/lib/systemd/system/ostree-prepare-root.service";
    let pulled_in = "etc/systemd/system/initrd-root-fs.target.requires/ostree-seal-root.service";
    let refused = refused(with_units(SEALED, &[prepare_root]).path());
    assert!(refused.contains("initramfs.img starts ostree-prepare-root"), "{refused}");
    assert!(refused.contains("not ostree-seal-root") && refused.contains("dracut"), "{refused}");
    // One with an /init of its own names neither.
    for units in [&[prepare_root, pulled_in][..], &[pulled_in], &[]] {
        sealed(with_units(SEALED, units).path());
    }
    let unsealed = trust(with_units(UNSEALED, &[prepare_root]).path()).unwrap();
    assert!(matches!(unsealed, Trust::Unsealed(_)));
}

#[test]
fn it_is_said_why_the_trees_policy_was_taken() {
    let why = |root: &Path| match trust(root).unwrap() {
        Trust::Unsealed(origin) => origin.why_tree().map(str::to_owned),
        other => panic!("{other:?}"),
    };
    let policy = ("usr/lib/ostree-seal/policy.conf", UNSEALED);
    let root = tree(&[policy]);
    assert_eq!(why(root.path()).unwrap(), "the deployment has no initramfs");
    add_initramfs(root.path(), &[policy]);
    assert!(why(root.path()).unwrap().ends_with("initramfs.img holds no ostree-seal-root"));
    std::fs::write(root.path().join(INITRAMFS), "no cpio").unwrap();
    let unreadable = why(root.path()).unwrap();
    assert!(unreadable.contains("initramfs.img: at byte 0: neither cpio nor a known"), "{unreadable}");
    add_initramfs(root.path(), &[policy, ("usr/bin/ostree-seal-root", "")]);
    assert_eq!(why(root.path()), None);
}

const LAYOUTS: [&str; 2] = ["usr/lib/ostree/prepare-root.conf", "etc/ostree/prepare-root.conf"];
const BOTH: &str = "[root]\ntransient = true\ntransient-ro = true\n";

#[test]
fn refuses_initramfs_whose_layout_the_boot_can_not_follow() {
    for policy in [SEALED, UNSEALED] {
        let key = key(0);
        let ours = [
            ("usr/lib/ostree-seal/policy.conf", policy),
            ("usr/lib/ostree-seal/trusted.d/a.vkey", &key),
            ("usr/bin/ostree-seal-root", "program"),
        ];
        // The tree's own is good, and doesn't count.
        let root = tree(&[(LAYOUTS[0], "[root]\ntransient = true\n")]);
        let with = |layouts: &[(&str, &str)]| add_initramfs(root.path(), &[&ours, layouts].concat());
        with(&[(LAYOUTS[0], "[root]\ntransient = true\n"), (LAYOUTS[1], "[root]\ntransient-ro = true\n")]);
        trust(root.path()).unwrap();
        let words =
            [(BOTH, "transient-ro are both true"), ("[etc]\ntransient = yes\n", "expected true or false")];
        for (text, word) in words {
            for [bad, good] in [LAYOUTS, [LAYOUTS[1], LAYOUTS[0]]] {
                with(&[(bad, text), (good, "")]);
                let refused = refused(root.path());
                assert!(
                    refused.contains(&format!("reading {}:/{bad}: ", root.path().join(INITRAMFS).display()))
                );
                assert!(refused.contains(word), "{refused}");
            }
        }
    }
}

#[test]
fn without_an_initramfs_the_layout_is_the_trees() {
    let policy = ("usr/lib/ostree-seal/policy.conf", UNSEALED);
    for place in ["usr/lib", "usr/etc", "etc"] {
        let path = format!("{place}/ostree/prepare-root.conf");
        let root = tree(&[policy, (&path, BOTH)]);
        assert!(refused(root.path()).contains(&path));
        let damaged =
            tree(&[policy, (&path, BOTH), ("usr/lib/modules/6.12/vmlinuz", ""), (INITRAMFS, "no cpio")]);
        assert!(refused(damaged.path()).contains(&path));
        add_initramfs(root.path(), &[("usr/bin/ostree-seal-root", ""), policy]);
        assert!(matches!(trust(root.path()).unwrap(), Trust::Unsealed(Origin::Initramfs(_))));
    }
    // What an administrator wrote on the machine, where the tree has a directory of its own, came after the initramfs.
    let root = tree(&[policy, ("usr/etc/ostree/remotes.conf", ""), ("etc/ostree/prepare-root.conf", BOTH)]);
    assert!(matches!(trust(root.path()).unwrap(), Trust::Unsealed(_)));
}

#[test]
fn nobody_asks_for_the_layout_of_a_foreign_system() {
    let root = tree(&[(LAYOUTS[0], BOTH)]);
    assert!(matches!(trust(root.path()).unwrap(), Trust::Foreign));
    add_initramfs(root.path(), &[(LAYOUTS[0], BOTH)]);
    assert!(matches!(trust(root.path()).unwrap(), Trust::Foreign));
}

#[test]
fn a_damaged_initramfs_leaves_the_word_to_the_tree() {
    let root = tree(&[
        ("usr/lib/ostree-seal/policy.conf", SEALED),
        ("usr/lib/ostree-seal/trusted.d/a.vkey", &key(0)),
        ("usr/lib/modules/6.12/vmlinuz", ""),
        (INITRAMFS, "no cpio"),
    ]);
    assert!(matches!(bootable(root.path(), &[]), Bootable::Unreadable(..)));
    let policy = root.path().join("usr/lib/ostree-seal/policy.conf");
    assert_eq!(sealed(root.path()).1.path(), policy);
}

#[test]
fn the_administrators_policy_replaces_the_vendors_and_keys_add_up() {
    let root = tree(&[
        ("usr/lib/ostree-seal/policy.conf", UNSEALED),
        ("usr/lib/ostree-seal/trusted.d/vendor.vkey", &key(0)),
        ("usr/lib/ostree-seal/trusted.d/both.vkey", &key(1)),
        ("usr/etc/ostree-seal/policy.conf", SEALED),
        ("usr/etc/ostree-seal/trusted.d/both.vkey", &key(2)),
    ]);
    let (policy, origin) = sealed(root.path());
    assert_eq!(names(&policy), ["example.com/2", "example.com/1", "example.com/0"]);
    assert_eq!(origin.path(), root.path().join("usr/etc/ostree-seal/policy.conf"));
}

#[test]
fn the_administrators_keys_count_beside_the_vendors_policy() {
    let root = tree(&[
        ("usr/lib/ostree-seal/policy.conf", SEALED),
        ("usr/lib/ostree-seal/trusted.d/vendor.vkey", &key(0)),
        ("usr/etc/ostree-seal/revoked.d/vendor.vkey", &key(0)),
        ("usr/etc/ostree-seal/trusted.d/mine.vkey", &key(1)),
    ]);
    assert_eq!(names(&sealed(root.path()).0), ["example.com/1"]);
}

#[test]
fn an_unsealed_policy_is_seen_as_such() {
    let root = tree(&[("usr/etc/ostree-seal/policy.conf", UNSEALED)]);
    assert!(matches!(trust(root.path()).unwrap(), Trust::Unsealed(Origin::Tree(..))));
}
