//! What the hooks of dracut, initramfs-tools and mkinitcpio put into an initramfs, and where they give up. The functions that
//! these programs lend them are replaced by the least that they do.

#![allow(clippy::unwrap_used, reason = "a test program: a panic is its answer, and nobody links it")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

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
    dracutsysrootdir=$TREE initdir=$INITRAMFS
    . "$HOOK"
    mkdir -p "$initdir/etc/systemd/system"
    install
"#;

const INITRAMFS_TOOLS: &str = r#"
    export DESTDIR=$INITRAMFS
    exec sh "$HOOK"
"#;

/// What the hook sources: `copy_exec` of the program, modules.
const HOOK_FUNCTIONS: &str = "copy_exec() { :; }\nmanual_add_modules() { :; }\n";

const MKINITCPIO: &str = r#"
    BUILDROOT=$INITRAMFS
    add_dir() { mkdir -p "$BUILDROOT$1"; }
    for nothing in map add_module add_binary add_systemd_unit add_symlink; do eval "$nothing() { :; }"; done
    error() { echo "$1" >&2; }
    . "$HOOK"
    build
"#;

/// One program that makes an initramfs: what runs our hook, the hook, and the paths in it that the test turns into paths
/// below its tree.
struct Generator {
    name: &'static str,
    harness: &'static str,
    hook: &'static str,
    below_tree: &'static [(&'static str, &'static str)],
}

const GENERATORS: [Generator; 3] = [
    Generator {
        name: "dracut",
        harness: DRACUT,
        hook: "dracut/50ostree-seal/module-setup.sh",
        below_tree: &[],
    },
    Generator {
        name: "initramfs-tools",
        harness: INITRAMFS_TOOLS,
        hook: "initramfs-tools/hooks/ostree-seal",
        below_tree: &[
            ("from=/", "from=$TREE/"),
            ("\"/$place/", "\"$TREE/$place/"),
            ("\"/$conf\"", "\"$TREE/$conf\""),
            (". /usr/share", ". $TREE/usr/share"),
        ],
    },
    Generator {
        name: "mkinitcpio",
        harness: MKINITCPIO,
        hook: "mkinitcpio/install/ostree-seal",
        below_tree: &[
            ("from=/", "from=$TREE/"),
            ("from=$to", "from=$TREE$to"),
            ("\"/$place/", "\"$TREE/$place/"),
            ("do ! there \"$key\" || put \"$key\"", "do ! there \"$TREE$key\" || put \"$TREE$key\""),
        ],
    },
];

/// A tree with policy and a key, and the initramfs that is made of it. Its path has `/etc/` in it, as a build directory may.
struct Scene {
    root: TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { root: tempfile::tempdir().unwrap() };
        scene.write("usr/lib/ostree-seal/policy.conf", "[seal]\nmode = sealed\n");
        scene.write("usr/lib/ostree-seal/trusted.d/release.vkey", "release");
        scene.write("usr/share/initramfs-tools/hook-functions", HOOK_FUNCTIONS);
        scene
    }

    fn tree(&self) -> PathBuf {
        self.root.path().join("etc/tree")
    }

    fn initramfs(&self) -> PathBuf {
        self.root.path().join("initramfs")
    }

    fn place(&self, path: &str) -> PathBuf {
        let path = self.tree().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.place(path), text).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        symlink(target, self.place(path)).unwrap();
    }

    fn run(&self, generator: &Generator) -> Output {
        let mut hook =
            fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(generator.hook)).unwrap();
        for (path, below) in generator.below_tree {
            assert!(hook.contains(path), "{} has no {path}", generator.hook);
            hook = hook.replace(path, below);
        }
        let file = self.root.path().join("hook");
        fs::write(&file, hook).unwrap();
        fs::create_dir_all(self.initramfs().join("usr/lib/ostree-seal")).unwrap();
        let mut bash = Command::new("timeout");
        bash.args(["10", "bash", "-c", generator.harness]);
        bash.env("HOOK", file).env("TREE", self.tree()).env("INITRAMFS", self.initramfs());
        bash.env("CONFDIR", self.tree().join("none")).output().unwrap()
    }

    /// Makes the initramfs, which has to succeed.
    fn make(&self, generator: &Generator) {
        let output = self.run(generator);
        assert!(output.status.success(), "{}: {}", generator.name, said(&output));
    }

    /// The names in `usr/lib/ostree-seal/DIRECTORY` of the initramfs.
    fn names(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.initramfs().join("usr/lib/ostree-seal").join(directory)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_is_a_symlink_in_the_tree_is_a_file_in_the_initramfs() {
    let links = [
        ("etc/ostree-seal/policy.conf", "other.conf", "etc/ostree-seal/other.conf"),
        ("etc/ostree-seal/trusted.d/new.vkey", "../../keys/new", "etc/keys/new"),
        ("usr/lib/ostree-seal/revoked.d/old.vkey", "../old", "usr/lib/ostree-seal/old"),
        ("etc/ostree/prepare-root.conf", "../layout", "etc/layout"),
    ];
    let expected = [
        ("usr/lib/ostree-seal/policy.conf", links[0].0),
        ("usr/lib/ostree-seal/trusted.d/etc-new.vkey", links[1].0),
        ("usr/lib/ostree-seal/revoked.d/usr-old.vkey", links[2].0),
        ("etc/ostree/prepare-root.conf", links[3].0),
    ];
    for generator in &GENERATORS {
        let scene = Scene::new();
        for (name, target, path) in links {
            scene.write(path, name);
            scene.link(name, target);
        }
        scene.make(generator);
        for (name, content) in expected {
            let path = scene.initramfs().join(name);
            let is_file = path.symlink_metadata().is_ok_and(|found| found.is_file());
            assert!(is_file, "{}: {name} is no file", generator.name);
            assert_eq!(fs::read_to_string(path).unwrap(), content, "{}", generator.name);
        }
    }
}

#[test]
fn what_would_give_a_shell_gives_up_first() {
    let units = [
        ("dracut", ["emergency", "rescue", "dracut-emergency"].as_slice()),
        ("mkinitcpio", &["emergency", "rescue"]),
    ];
    for (name, units) in units {
        let scene = Scene::new();
        scene.make(GENERATORS.iter().find(|generator| generator.name == name).unwrap());
        for unit in units {
            let path =
                scene.initramfs().join(format!("etc/systemd/system/{unit}.service.d/ostree-seal.conf"));
            let expected = "[Service]\nExecStartPre=-/usr/lib/ostree-seal/ostree-seal-root --give-up\n";
            assert_eq!(fs::read_to_string(path).unwrap(), expected, "{name}: {unit}");
        }
    }
    // initramfs-tools runs each of scripts/panic itself.
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("initramfs-tools/scripts/panic/ostree-seal");
    let text = fs::read_to_string(script).unwrap();
    let root = tempfile::tempdir().unwrap();
    let program = root.path().join("program");
    fs::write(&program, "#!/bin/sh\necho \"gave up: $1\"\n").unwrap();
    Command::new("chmod").arg("755").arg(&program).status().unwrap();
    let text = text.replace("/usr/lib/ostree-seal/ostree-seal-root", program.to_str().unwrap());
    for (argument, said) in [("prereqs", ""), ("", "gave up: --give-up\n")] {
        let output = Command::new("sh").args(["-c", &text, "panic", argument]).output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stdout).as_ref()), (Some(0), said));
    }
}

#[test]
fn no_key_takes_the_place_of_another() {
    for generator in &GENERATORS {
        let scene = Scene::new();
        scene.write("etc/ostree-seal/revoked.d/x.vkey", "the administrator's");
        scene.write("usr/lib/ostree-seal/revoked.d/etc-x.vkey", "the vendor's");
        scene.write("usr/lib/ostree-seal/revoked.d/x.vkey", "another of the vendor's");
        scene.make(generator);
        assert_eq!(
            scene.names("revoked.d"),
            ["etc-x.vkey", "usr-etc-x.vkey", "usr-x.vkey"],
            "{}",
            generator.name
        );
        let of_admin = scene.initramfs().join("usr/lib/ostree-seal/revoked.d/etc-x.vkey");
        assert_eq!(fs::read_to_string(of_admin).unwrap(), "the administrator's", "{}", generator.name);
    }
}

#[test]
fn a_hidden_key_counts_as_it_does_on_the_build_host() {
    for generator in &GENERATORS {
        let scene = Scene::new();
        scene.write("usr/lib/ostree-seal/revoked.d/.old.vkey", "hidden");
        scene.write("usr/lib/ostree-seal/trusted.d/.vkey", "no key, since its name has no stem");
        scene.make(generator);
        assert_eq!(scene.names("revoked.d"), ["usr-.old.vkey"], "{}", generator.name);
        assert_eq!(scene.names("trusted.d"), ["usr-release.vkey"], "{}", generator.name);
    }
}

#[test]
fn no_initramfs_is_made_without_a_key_that_can_not_be_copied() {
    type Breakage = (&'static str, fn(&Scene));
    let breakages: [Breakage; 9] = [
        ("a dangling link", |scene| scene.link("usr/lib/ostree-seal/revoked.d/old.vkey", "nothing")),
        ("a dangling link of the administrator", |scene| {
            scene.link("etc/ostree-seal/revoked.d/old.vkey", "nothing");
        }),
        ("a policy that is a dangling link", |scene| scene.link("etc/ostree-seal/policy.conf", "nothing")),
        ("a layout that is a dangling link", |scene| scene.link("etc/ostree/prepare-root.conf", "nothing")),
        ("keys of the administrator behind a dangling link", |scene| {
            scene.link("etc/ostree-seal/revoked.d", "nothing");
        }),
        ("keys in a dangling link", |scene| scene.link("usr/lib/ostree-seal/revoked.d", "nothing")),
        ("keys in a file", |scene| scene.write("etc/ostree-seal/revoked.d", "no directory")),
        ("a directory", |scene| {
            fs::create_dir_all(scene.place("usr/lib/ostree-seal/trusted.d/old.vkey")).unwrap();
        }),
        ("a fifo", |scene| {
            let fifo = scene.place("usr/lib/ostree-seal/revoked.d/old.vkey");
            assert!(Command::new("mkfifo").arg(fifo).status().unwrap().success());
        }),
    ];
    let of_directory = "revoked.d is no directory; this initramfs could not boot a sealed system";
    for generator in &GENERATORS {
        for (what, breakage) in breakages {
            let scene = Scene::new();
            breakage(&scene);
            let output = scene.run(generator);
            let said = said(&output);
            assert_eq!(output.status.code(), Some(1), "{} with {what}: {said}", generator.name);
            let sentence = "could not be copied; this initramfs could not boot a sealed system";
            assert!(
                said.contains(sentence)
                    || said.contains("there is no policy.conf")
                    || said.contains(of_directory),
                "{} with {what}: {said}",
                generator.name
            );
        }
    }
}

#[test]
fn no_initramfs_is_made_without_keys() {
    for generator in &GENERATORS {
        let scene = Scene::new();
        fs::remove_file(scene.tree().join("usr/lib/ostree-seal/trusted.d/release.vkey")).unwrap();
        let output = scene.run(generator);
        assert_eq!(output.status.code(), Some(1), "{}", generator.name);
        assert!(
            said(&output).contains("no trusted.d has a .vkey file"),
            "{}: {}",
            generator.name,
            said(&output)
        );
    }
}

/// The service that seals updates holds the sysroot's lock.
#[test]
fn the_service_that_seals_has_a_time_limit() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/ostree-seal-deploy.service");
    let unit = fs::read_to_string(unit).unwrap();
    assert!(unit.lines().any(|line| line == "TimeoutStartSec=30m"), "{unit}");
}
