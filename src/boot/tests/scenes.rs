//! Each directory in `scenes/` is a boot: a script that changes a root directory which would boot, and how that ends. The
//! real program runs in it, as the only difference to an initramfs below a chroot, in a mount namespace of its own.
//!
//! What needs fs-verity is in `tests/vm/boot`; here is what ends before the image is measured, and the unsealed root.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const COMMIT: &str = "1111111111111111111111111111111111111111111111111111111111111111";

/// What the shell does in the mount namespace. The root and the disk are mounts, as they are in an initramfs.
const HARNESS: &str = r#"
set -e
mount --bind "$1" "$1"
cd "$1"
mount --bind sysroot sysroot
mount -t tmpfs run run
mkdir -p run/systemd/journal
: >run/systemd/journal/socket
mount --bind journal run/systemd/journal/socket
mount -t proc proc proc
if [ -e cmdline ]; then mount --bind cmdline proc/cmdline; else mount --bind /dev/null proc/cmdline; fi
mount --rbind /dev dev
cat proc/self/mountinfo >before
status=0
env -i "$(command -v chroot)" . /ostree-seal-root 2>said || status=$?
echo "$status" >status
cat proc/self/mountinfo >after
find run -mindepth 1 | grep -v -x -e run/systemd -e run/systemd/journal -e run/systemd/journal/socket | sort >left
set +e
sh ./then >seen 2>&1
true
"#;

/// How a scene ends: lines of its file `expect`.
#[derive(Debug, Default)]
struct Expected {
    /// `exit N`.
    exit: String,
    /// `says TEXT`: part of the one line.
    says: Vec<String>,
    /// `journal LINE`: a line of what the journal got, such as `PRIORITY=4`.
    journal: Vec<String>,
    /// `sees LINE`: the lines that the commands in `then` print, all of them.
    sees: Vec<String>,
}

#[test]
fn every_scene_ends_as_it_should() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIP every_scene_ends_as_it_should: only root can mount");
        return;
    }
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenes");
    let mut scenes: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    scenes.sort();
    assert!(!scenes.is_empty());
    let failed: Vec<String> = scenes.iter().filter_map(|scene| play(scene).err()).collect();
    assert!(failed.is_empty(), "{} of {} scenes:\n{}", failed.len(), scenes.len(), failed.join("\n"));
}

fn play(scene: &Path) -> Result<(), String> {
    let name = scene.file_name().unwrap().to_string_lossy().into_owned();
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("scenes").join(&name);
    if root.exists() {
        fs::remove_dir_all(&root).unwrap();
    }
    stage(&root);
    for line in read(&scene.join("change")).lines() {
        change(&root, line);
    }
    write(&root.join("then"), &read(&scene.join("then")));
    let journal = UnixDatagram::bind(root.join("journal")).unwrap();
    journal.set_nonblocking(true).unwrap();
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", HARNESS, "harness"])
        .arg(&root)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{name}: the harness ended with {status}");
    write(&root.join("journaled"), &received(&journal));
    let ended = judge(&expected(&read(&scene.join("expect"))), &root);
    println!(
        "{name}: {}",
        ended.as_ref().map_or_else(String::clone, |()| read(&root.join("said")).trim().to_owned())
    );
    ended.map_err(|error| format!("{name}: {error}"))
}

fn judge(expected: &Expected, root: &Path) -> Result<(), String> {
    let file = |name| read(&root.join(name));
    let same = |what: &str, expected: &str, found: &str| {
        if expected == found {
            Ok(())
        } else {
            Err(format!("{what}: expected '{expected}', found '{found}'"))
        }
    };
    same(&format!("exit status, with '{}'", file("said").trim()), &expected.exit, file("status").trim())?;
    if expected.exit != "0" {
        same("lines said", "1", &file("said").lines().count().to_string())?;
        same("mounts", &file("before"), &file("after"))?;
        same("left in /run", "", &file("left"))?;
    }
    for text in &expected.says {
        if !file("said").contains(text.as_str()) {
            return Err(format!("expected '{text}' in '{}'", file("said")));
        }
    }
    for line in &expected.journal {
        if !file("journaled").lines().any(|found| found == line) {
            return Err(format!("expected '{line}' in the journal, found '{}'", file("journaled")));
        }
    }
    same("seen", &expected.sees.join("\n"), file("seen").trim_end())
}

/// What was sent to the journal and is still in its socket.
fn received(journal: &UnixDatagram) -> String {
    let mut all = Vec::new();
    let mut message = vec![0; 64 << 10];
    while let Ok(len) = journal.recv(&mut message) {
        all.extend(&message[..len]);
    }
    String::from_utf8(all).unwrap()
}

fn expected(text: &str) -> Expected {
    let mut expected = Expected::default();
    for line in text.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "exit" => rest.clone_into(&mut expected.exit),
            "says" => expected.says.push(rest.to_owned()),
            "journal" => expected.journal.push(rest.to_owned()),
            "sees" => expected.sees.push(rest.to_owned()),
            _ => panic!("expect has the line '{line}'"),
        }
    }
    expected
}

/// A root directory that boots, unsealed.
fn stage(root: &Path) {
    let deployment = format!("ostree/deploy/os/deploy/{COMMIT}.0");
    let sysroot = root.join("sysroot");
    for directory in ["dev", "proc", "run", "usr/lib/ostree-seal/trusted.d", "usr/lib/ostree", "etc/ostree"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for directory in ["ostree/repo/objects/aa", "ostree/boot.1/os/0", "ostree/deploy/os/var"] {
        fs::create_dir_all(sysroot.join(directory)).unwrap();
    }
    for directory in ["etc", "usr/bin", "usr/etc", "var", "sysroot", "boot"] {
        fs::create_dir_all(sysroot.join(&deployment).join(directory)).unwrap();
    }
    copy_program(env!("CARGO_BIN_EXE_ostree-seal-root"), root);
    write(&root.join("usr/lib/ostree-seal/policy.conf"), "[seal]\nmode = unsealed\n");
    write(&root.join("cmdline"), "root=x ostree=/ostree/boot.1/os/0/0 quiet\n");
    symlink(format!("../../../../{deployment}"), sysroot.join("ostree/boot.1/os/0/0")).unwrap();
    let object = format!("ostree/repo/objects/aa/{}.file", "b".repeat(62));
    write(&sysroot.join(object), "hello\n");
    let deployment = sysroot.join(deployment);
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/small.cfs");
    fs::copy(data, deployment.join(".ostree.cfs")).unwrap();
    write(&deployment.join("etc/settings"), "changed\n");
    write(&deployment.join("usr/bin/hello"), "hello from the deployment\n");
    write(&deployment.join("usr/etc/settings"), "default of the deployment\n");
    fs::set_permissions(sysroot.join("ostree"), Permissions::from_mode(0o755)).unwrap();
}

/// Copies a program to the top of the root, and to their own places the libraries that a test build of it has.
fn copy_program(program: &str, root: &Path) {
    fs::copy(program, root.join(Path::new(program).file_name().unwrap())).unwrap();
    let libraries = Command::new("ldd").arg(program).output().unwrap();
    for word in String::from_utf8(libraries.stdout).unwrap().split_ascii_whitespace() {
        if let Some(path) = word.strip_prefix('/') {
            let copy = root.join(path);
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(word, copy).unwrap();
        }
    }
}

/// One line of `change`. Paths are relative to the root; `@` is the deployment's directory.
fn change(root: &Path, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let path =
        |word: &str| root.join(word.replace('@', &format!("sysroot/ostree/deploy/os/deploy/{COMMIT}.0")));
    let at = path(words.get(1).unwrap_or_else(|| panic!("change has the line '{line}'")));
    let rest = || {
        words[2..].join(" ").replace("\\n", "\n").replace('@', &format!("ostree/deploy/os/deploy/{COMMIT}.0"))
    };
    match words[0] {
        "remove" => remove(&at),
        "write" => {
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            write(&at, &rest());
        }
        "directory" => fs::create_dir_all(&at).unwrap(),
        "link" => symlink(rest(), &at).unwrap(),
        "fifo" => run("mkfifo", &[at.as_os_str()]),
        "device" => {
            run("mknod", &[at.as_os_str(), "c".as_ref(), "1".as_ref(), "5".as_ref()]);
            assert!(fs::metadata(&at).unwrap().file_type().is_char_device());
        }
        _ => panic!("change has the line '{line}'"),
    }
}

fn remove(path: &Path) {
    if fs::symlink_metadata(path).unwrap().is_dir() {
        fs::remove_dir_all(path).unwrap();
    } else {
        fs::remove_file(path).unwrap();
    }
}

fn run(program: &str, args: &[&std::ffi::OsStr]) {
    assert!(Command::new(program).args(args).status().unwrap().success(), "{program} {args:?}");
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

/// The text of a file, which is empty where there is none.
fn read(path: &Path) -> String {
    match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => panic!("{}: {error}", path.display()),
    }
}
