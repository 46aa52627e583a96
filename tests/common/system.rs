//! An OSTree system in a scratch directory: committed, signed and deployed, as a build host does it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ostree::gio;
use ostree::glib;
use ostree::glib::prelude::ToVariant as _;
use ostree_seal::signing::PrivateKey;
use ostree_seal_trust::digest::Digest;
use ostree_seal_trust::note::{Statement, signature_line};
use tempfile::TempDir;

use super::{Run, program, repo_arg, run, scratch, seal};

const NEVER: Option<&gio::Cancellable> = gio::Cancellable::NONE;
const DEPLOYMENTS: &str = "ostree/deploy/test/deploy";
pub const PRODUCT: &str = "example.com/os";

/// A sysroot, and the key that its policy trusts.
pub struct System {
    pub directory: TempDir,
    pub root: PathBuf,
    pub key: PrivateKey,
}

impl System {
    /// A sysroot with nothing deployed.
    pub fn new() -> Self {
        let directory = scratch();
        let root = directory.path().join("sysroot");
        fs::create_dir(&root).unwrap();
        run("ostree", &["admin", "init-fs", "--modern", root.to_str().unwrap()]);
        let system = Self { directory, root, key: PrivateKey::generate("example.com/release").unwrap() };
        system.admin(&["os-init", "test"]);
        system
    }

    /// A sysroot whose one deployment holds a signed commit.
    pub fn sealable() -> Self {
        let system = Self::new();
        let commit = system.commit("1", &system.policy("minimum-index = 5\n"));
        system.sign(&commit, &system.statement(&commit, 7), &[&system.key]);
        system.deploy_tree();
        system
    }

    pub fn repo(&self) -> PathBuf {
        self.root.join("ostree/repo")
    }

    fn admin(&self, args: &[&str]) {
        let sysroot = format!("--sysroot={}", self.root.display());
        run("ostree", &[&["admin", args[0], &sysroot], &args[1..]].concat());
    }

    /// The files of a sealed policy that trusts the system's key.
    pub fn policy(&self, more: &str) -> Vec<(&'static str, String)> {
        let conf = format!("[seal]\nmode = sealed\nproduct = {PRODUCT}\n{more}");
        vec![
            ("usr/lib/ostree-seal/policy.conf", conf),
            ("usr/lib/ostree-seal/trusted.d/release.vkey", format!("{}\n", self.key.vkey())),
        ]
    }

    /// Commits a small OS of this version with these further files to the branch `os`.
    pub fn commit(&self, version: &str, files: &[(&'static str, String)]) -> String {
        let tree = self.directory.path().join(format!("tree-{version}"));
        let fixed = [
            ("usr/lib/os-release", "ID=test\n".to_owned()),
            ("usr/lib/modules/6.12/vmlinuz", "kernel".to_owned()),
            ("usr/bin/hello", format!("hello {version}\n")),
            ("usr/bin/large", version.repeat(100_000)),
            ("usr/share/empty", String::new()),
            ("usr/etc/hostname", "test\n".to_owned()),
        ];
        for (path, content) in fixed.iter().chain(files) {
            let path = tree.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        std::os::unix::fs::symlink("hello", tree.join("usr/bin/link")).unwrap();
        let version = format!("--add-metadata-string=version={version}");
        let (repo, tree) = (repo_arg(&self.repo()), tree.display().to_string());
        let what = ["commit", &repo, "-b", "os", &version, &tree];
        run("ostree", &[&what[..], &["--owner-uid=0", "--owner-gid=0", "--no-xattrs"]].concat())
    }

    /// Deploys the branch `os`.
    pub fn deploy_tree(&self) {
        self.admin(&["deploy", "--os=test", "os"]);
    }

    /// Deploys a second version beside the first, signed with the index 8, and returns its directory.
    pub fn deploy_second(&self) -> PathBuf {
        let commit = self.commit("2", &self.policy("minimum-index = 5\n"));
        self.sign(&commit, &self.statement(&commit, 8), &[&self.key]);
        self.deploy_tree();
        self.deployment(&commit)
    }

    /// What a note says of a commit.
    pub fn statement(&self, commit: &str, index: u64) -> Statement {
        let digest = seal(&["digest", &repo_arg(&self.repo()), commit]).ok();
        Statement { product: PRODUCT.parse().unwrap(), image: digest.parse().unwrap(), index, commit: None }
    }

    /// Stores a note in a commit's detached metadata.
    pub fn sign(&self, commit: &str, statement: &Statement, keys: &[&PrivateKey]) {
        self.attach(commit, &[note(statement, keys)]);
    }

    /// Stores notes in a commit's detached metadata.
    pub fn attach(&self, commit: &str, notes: &[String]) {
        let repo = ostree::Repo::new_for_path(self.repo());
        repo.open(NEVER).unwrap();
        let metadata = glib::VariantDict::new(None);
        metadata.insert_value("ostree-seal.note", &notes.to_variant());
        repo.write_commit_detached_metadata(commit, Some(&metadata.end()), NEVER).unwrap();
    }

    /// The directory of the deployment of this commit.
    pub fn deployment(&self, commit: &str) -> PathBuf {
        self.root.join(DEPLOYMENTS).join(format!("{commit}.0"))
    }

    /// The one deployment's commit.
    pub fn only_commit(&self) -> String {
        let entries = fs::read_dir(self.root.join(DEPLOYMENTS)).unwrap();
        let names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let commits: Vec<&str> = names.iter().filter_map(|name| name.strip_suffix(".0")).collect();
        assert_eq!(commits.len(), 1, "{names:?}");
        commits[0].to_owned()
    }

    pub fn only_deployment(&self) -> PathBuf {
        self.deployment(&self.only_commit())
    }

    /// `ostree-seal deploy` with these arguments.
    pub fn deploy_command(&self, args: &[&str]) -> Command {
        let mut command = program();
        command.arg("deploy").arg(format!("--sysroot={}", self.root.display())).args(args);
        command
    }

    pub fn deploy(&self, args: &[&str]) -> Run {
        Run::of(&mut self.deploy_command(args))
    }
}

impl Drop for System {
    /// Deployments are immutable, and would stay.
    fn drop(&mut self) {
        for entry in fs::read_dir(self.root.join(DEPLOYMENTS)).into_iter().flatten().flatten() {
            set_immutable(&entry.path(), false);
        }
    }
}

/// A signed note.
pub fn note(statement: &Statement, keys: &[&PrivateKey]) -> String {
    let text = statement.to_string();
    let signatures: String =
        keys.iter().map(|key| signature_line(key.id(), &key.sign(text.as_bytes()))).collect();
    format!("{text}\n{signatures}")
}

pub fn is_immutable(path: &Path) -> bool {
    let directory = fs::File::open(path).unwrap();
    rustix::fs::ioctl_getflags(&directory).unwrap().contains(rustix::fs::IFlags::IMMUTABLE)
}

pub fn set_immutable(path: &Path, immutable: bool) {
    let Ok(directory) = fs::File::open(path) else { return };
    let Ok(mut flags) = rustix::fs::ioctl_getflags(&directory) else { return };
    flags.set(rustix::fs::IFlags::IMMUTABLE, immutable);
    rustix::fs::ioctl_setflags(&directory, flags).unwrap();
}

/// The digest of a file's content.
pub fn digest_of(path: &Path) -> Digest {
    ostree_seal::merkle::digest(&fs::read(path).unwrap())
}
