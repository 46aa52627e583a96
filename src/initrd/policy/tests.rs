use std::io::Write;
use std::path::Path;

use ostree_seal_root::check::error::CheckError;
use ostree_seal_trust::digest::Digest;
use ostree_seal_trust::policy::SealedPolicy;
use ostree_seal_trust::vkey::Vkey;

use super::{Bootable, Origin, Trust, of_deployment};
use crate::beneath::Below;
use crate::initrd::bootable::{self, Candidates};
use crate::refused::Refused;
use ostree_seal_root::error::BootError;
use ostree_seal_root::layout::prepare_root_conf::{self, PLACES};
use ostree_seal_root::read::Mounted;

mod unreadable; // what can not be read

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
        .args(["-c", "find . | cpio --quiet -o -H newc"])
        .current_dir(content)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut archive = Vec::new();
    std::io::Read::read_to_end(cpio.stdout.as_mut().unwrap(), &mut archive).unwrap();
    assert!(cpio.wait().unwrap().success());
    std::fs::File::create(modules.join("initramfs.img")).unwrap().write_all(&archive).unwrap();
}

/// What boots a tree without a boot entry.
fn in_tree(root: &Path, overlays: &[Below]) -> Candidates {
    Candidates::read(bootable::of_tree(&Below::new(root, ""), overlays)).unwrap()
}

fn trust(root: &Path) -> anyhow::Result<Trust> {
    of_deployment(root, in_tree(root, &[]).first())
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
    let files = [&root, &overlay].map(|tree| Below::new(tree.path(), INITRAMFS));
    let entry = Candidates::read(Ok(vec![files.to_vec()])).unwrap();
    let found = of_deployment(root.path(), entry.first()).unwrap();
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
    let overlays = [Below::new(overlay.path(), INITRAMFS)];
    let staged = |overlays: &[Below]| in_tree(root.path(), overlays);
    // libostree names overlays only where there is an initramfs.
    assert!(matches!(staged(&overlays).first(), Bootable::None));
    add_initramfs(root.path(), &unsealed);
    let found = of_deployment(root.path(), staged(&overlays).first()).unwrap();
    assert!(matches!(found, Trust::Sealed { policy, .. } if names(&policy) == ["example.com/1"]));
    let none = staged(&[Below::new(root.path(), "missing")]);
    assert!(matches!(none.first(), Bootable::Unreadable(..)));
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
        let units = units.iter().map(|unit| (*unit, "[Unit]"));
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
    assert!(matches!(in_tree(root.path(), &[]).first(), Bootable::Unreadable(..)));
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

/// A refusal that what is in an initramfs can cause: its word, and what makes it of a good initramfs.
type Cause = (&'static str, fn(&Path));

fn write(root: &Path, name: &str, content: impl AsRef<[u8]>) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn remove(root: &Path, name: &str) {
    std::fs::remove_file(root.join(name)).unwrap();
}

const CONF: &str = "usr/lib/ostree-seal/policy.conf";
const TRUSTED: &str = "usr/lib/ostree-seal/trusted.d";
const REVOKED: &str = "usr/lib/ostree-seal/revoked.d";

const CAUSES: &[Cause] = &[
    ("policy/missing", |root| remove(root, CONF)),
    ("policy/unreadable", |root| write(root, CONF, vec![b'#'; (64 << 10) + 1])),
    ("policy/unreadable", |root| {
        remove(root, CONF);
        std::fs::create_dir(root.join(CONF)).unwrap();
    }),
    ("policy/unreadable", |root| write(root, REVOKED, "no directory")),
    ("policy/malformed", |root| write(root, CONF, "")),
    ("policy/malformed", |root| write(root, CONF, b"[seal]\nmode = sealed\xff\n")),
    ("policy/malformed", |root| write(root, CONF, "mode = sealed\n")),
    ("policy/malformed", |root| write(root, CONF, "[seal]\nmode = sealed\n[other]\n")),
    ("policy/malformed", |root| write(root, CONF, "[seal]\nmode = sealed\nkey = value\n")),
    ("policy/malformed", |root| write(root, CONF, "[seal]\nmode = sealed\nmode = sealed\n")),
    ("policy/malformed", |root| write(root, CONF, "[seal]\nmode = sealed\n[seal]\n")),
    ("policy/malformed", |root| write(root, CONF, "[seal]\nmode = maybe\n")),
    ("policy/malformed", |root| write(root, CONF, "[seal]\nmode = sealed\nproduct = a b\n")),
    ("policy/malformed", |root| write(root, CONF, "[seal]\nmode = sealed\naccept = all\n")),
    ("policy/malformed", |root| write(root, CONF, "[seal]\nmode = sealed\nthreshold = 0\n")),
    ("policy/malformed", |root| write(root, CONF, "[seal]\nmode = sealed\nminimum-index = 01\n")),
    ("policy/malformed", |root| write(root, CONF, "[seal]\nmode = sealed\non-refusal = shell\n")),
    ("policy/malformed", |root| write(root, CONF, "[seal]\nmode = sealed\nno line\n")),
    ("policy/too-many-files", |root| {
        (0..256).for_each(|number| write(root, &format!("{TRUSTED}/{number}.vkey"), "no key"));
    }),
    ("policy/too-many-files", |root| {
        (0..257).for_each(|number| write(root, &format!("{REVOKED}/{number}.txt"), "no key"));
    }),
    ("policy/too-many-files", |root| {
        write(root, CONF, UNSEALED);
        (0..256).for_each(|number| write(root, &format!("{TRUSTED}/{number}.vkey"), "no key"));
    }),
    ("policy/revocation-not-understood", |root| write(root, &format!("{REVOKED}/a.vkey"), "no key")),
    ("policy/revocation-not-understood", |root| {
        write(root, &format!("{REVOKED}/a.vkey"), vec![b'a'; (64 << 10) + 1]);
    }),
    ("policy/revocation-not-understood", |root| {
        std::fs::create_dir_all(root.join(REVOKED).join("a.vkey")).unwrap();
    }),
    ("policy/too-few-keys", |root| remove(root, &format!("{TRUSTED}/a.vkey"))),
    ("policy/too-few-keys", |root| write(root, &format!("{TRUSTED}/a.vkey"), vec![b'a'; (64 << 10) + 1])),
    ("policy/too-few-keys", |root| write(root, &format!("{REVOKED}/a.vkey"), key(0))),
    ("layout/not-understood", |root| write(root, PLACES[0], BOTH)),
    ("layout/not-understood", |root| write(root, PLACES[1], b"\xff")),
    ("layout/not-understood", |root| write(root, PLACES[0], "no line")),
    ("layout/not-understood", |root| write(root, PLACES[1], "[etc]\ntransient=maybe\n")),
    ("layout/not-understood", |root| write(root, PLACES[1], vec![b'#'; (1 << 20) + 1])),
    ("layout/not-understood", |root| std::fs::create_dir_all(root.join(PLACES[1])).unwrap()),
    ("layout/not-understood", |root| write(root, "etc/ostree", "no directory")),
];

/// What the program says of the policy and the layout below its root, as [`ostree_seal_root::run`] reads them.
fn boots(root: &Path) -> Result<(), BootError> {
    let directory = root.join("usr/lib/ostree-seal");
    ostree_seal_root::check::policy::load(&directory).map_err(BootError::unchecked)?;
    prepare_root_conf::read(&Mounted, PLACES.map(|name| root.join(name)))?;
    Ok(())
}

/// The policy is the program's own code, so the gate's word for it is the boot's. What the gate doesn't read at all, since it
/// is no file or no directory, and the layout, it refuses in words of its own.
fn assert_gate_refuses(root: &Path, word: &str, of: &str) {
    let error = trust(root).map(|_| ()).expect_err(of);
    let found = error.downcast_ref::<CheckError>().map(CheckError::name);
    let refused = error.downcast_ref::<ostree_seal_trust::policy::PolicyError>().is_some();
    let in_own_words = error.downcast_ref::<Refused>().is_some();
    assert!(found == Some(word) || refused || in_own_words, "{of}, {word}: {found:?} {error:#}");
}

#[test]
fn what_the_boot_refuses_of_an_initramfs_the_gate_refuses_in_image_and_tree() {
    let good = |root: &Path| {
        write(root, CONF, SEALED);
        write(root, &format!("{TRUSTED}/a.vkey"), key(0));
    };
    let reached = |cause: Option<fn(&Path)>, word: &str| {
        let (seen, image, in_tree) = (tree(&[]), tree(&[]), tree(&[]));
        for root in [&seen, &in_tree] {
            good(root.path());
            cause.iter().for_each(|cause| cause(root.path()));
        }
        write(seen.path(), "usr/bin/ostree-seal-root", "program");
        add_initramfs_of(image.path(), seen.path());
        match boots(seen.path()) {
            Ok(()) => {
                trust(image.path()).unwrap();
                trust(in_tree.path()).unwrap();
            }
            Err(error) => {
                assert_eq!(error.name(), word, "{error}");
                assert_gate_refuses(image.path(), word, "the image");
                // Without a policy, a tree knows nothing of sealing.
                if word != "policy/missing" {
                    assert_gate_refuses(in_tree.path(), word, "the tree");
                }
            }
        }
    };
    reached(None, "");
    CAUSES.iter().for_each(|(word, cause)| reached(Some(*cause), word));
    // Every word that such files can cause has a cause above.
    let about_files = |word: &&str| word.starts_with("policy/") || word.starts_with("layout/");
    for word in BootError::names().filter(about_files) {
        assert!(CAUSES.iter().any(|(caused, _)| *caused == word), "nothing causes {word}");
    }
}

#[test]
fn refuses_initramfs_that_linux_unpacks_otherwise_than_it_seems() {
    let key = key(0);
    let ours = [("usr/lib/ostree-seal/policy.conf", SEALED), ("usr/lib/ostree-seal/trusted.d/a.vkey", &*key)];
    let root = tree(&ours);
    add_initramfs(root.path(), &[ours[0], ours[1], ("usr/bin/ostree-seal-root", "program")]);
    sealed(root.path());
    let image = root.path().join(INITRAMFS);
    let mut bytes = std::fs::read(&image).unwrap();
    bytes.extend(b"garbage");
    std::fs::write(&image, bytes).unwrap();
    let refused = refused(root.path());
    assert!(refused.contains("what Linux would unpack of it can't be told"), "{refused}");
    assert!(refused.contains("make the initramfs again and commit the tree again"), "{refused}");
}

#[test]
fn refuses_initramfs_whose_unit_is_masked() {
    let (root, content) = (tree(&[]), tree(&[]));
    write(content.path(), CONF, SEALED);
    write(content.path(), &format!("{TRUSTED}/a.vkey"), key(0));
    write(content.path(), "usr/bin/ostree-seal-root", "program");
    write(content.path(), "usr/lib/systemd/system/ostree-seal-root.service", "[Unit]");
    std::fs::create_dir_all(content.path().join("etc/systemd/system")).unwrap();
    let mask = content.path().join("etc/systemd/system/ostree-seal-root.service");
    std::os::unix::fs::symlink("/dev/null", mask).unwrap();
    add_initramfs_of(root.path(), content.path());
    let refused = refused(root.path());
    assert!(refused.contains("/etc/systemd/system/ostree-seal-root.service is empty or a link to /dev/null"));
}
