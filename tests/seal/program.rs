use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ostree::gio;
use ostree::glib::{Variant, VariantDict};

/// A directory with a repository, whose branch `os` has one commit, and what a test puts beside it.
pub struct Workshop {
    directory: tempfile::TempDir,
}

/// What a program said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// What went to stdout, after success.
    #[track_caller]
    pub fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }

    /// What went to stderr, after this exit code.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        assert!(self.err.starts_with("error: ") && self.err.lines().count() == 1, "{}", self.err);
        self.err
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap()
    }
}

impl Workshop {
    pub fn new() -> Self {
        Self::with_metadata(&[
            "--add-metadata-string=ostree-seal.product=example.com/os",
            "--add-metadata=ostree-seal.index=uint64 42",
        ])
    }

    /// A repository whose commit has this metadata.
    pub fn with_metadata(metadata: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let workshop = Self { directory };
        fs::create_dir_all(workshop.path("tree/usr/bin")).unwrap();
        fs::write(workshop.path("tree/usr/bin/hello"), "hello\n".repeat(1000)).unwrap();
        workshop.ostree(&["init", "--repo=repo", "--mode=bare-user"]).done();
        workshop.commit(metadata);
        workshop
    }

    /// One more commit on the branch `os`; its id.
    pub fn commit(&self, metadata: &[&str]) -> String {
        let common =
            ["commit", "--repo=repo", "--branch=os", "--owner-uid=0", "--owner-gid=0", "--no-xattrs"];
        let mut arguments = [common.as_slice(), metadata].concat();
        arguments.extend(["--canonical-permissions", "--subject=A release", "--body=It has a body.", "tree"]);
        self.ostree(&arguments).done().trim().to_owned()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Said {
        let output = Command::new(program).args(arguments).current_dir(self.directory.path()).output();
        Said::of(output.unwrap_or_else(|error| panic!("{program}: {error}")))
    }

    pub fn seal(&self, arguments: &[&str]) -> Said {
        self.run(env!("CARGO_BIN_EXE_ostree-seal"), arguments)
    }

    pub fn ostree(&self, arguments: &[&str]) -> Said {
        self.run("ostree", arguments)
    }

    pub fn openssl(&self, arguments: &[&str]) -> Said {
        self.run("openssl", arguments)
    }

    /// The commit that a ref names.
    pub fn id(&self, rev: &str) -> String {
        self.ostree(&["rev-parse", "--repo=repo", rev]).done().trim().to_owned()
    }

    /// A new key pair in NAME.key and NAME.vkey; its name and hash.
    pub fn keygen(&self, name: &str) -> String {
        let vkey = self.seal(&["keygen", &format!("--name=example.com/{name}"), name]).done();
        vkey.split('+').take(2).collect::<Vec<_>>().join("+")
    }

    /// A policy in `trust` that trusts these keys.
    pub fn trust(&self, conf: &str, keys: &[&str]) {
        if self.path("trust").exists() {
            fs::remove_dir_all(self.path("trust")).unwrap();
        }
        self.write("trust/policy.conf", conf);
        for key in keys {
            self.write(&format!("trust/trusted.d/{key}.vkey"), self.read(&format!("{key}.vkey")));
        }
    }

    pub fn object(&self, id: &str, suffix: &str) -> PathBuf {
        self.path(&format!("repo/objects/{}/{}.{suffix}", &id[..2], &id[2..]))
    }

    pub fn repo(&self) -> ostree::Repo {
        let repo = ostree::Repo::new_for_path(self.path("repo"));
        repo.open(gio::Cancellable::NONE).unwrap();
        repo
    }

    /// Detached metadata as libostree reads it.
    pub fn detached(&self, id: &str) -> Option<Variant> {
        self.repo().read_commit_detached_metadata(id, gio::Cancellable::NONE).unwrap()
    }

    /// Sets a key of the detached metadata, through libostree.
    pub fn set_detached(&self, id: &str, key: &str, value: &Variant) {
        let detached = VariantDict::new(self.detached(id).as_ref());
        detached.insert_value(key, value);
        let detached = detached.end();
        self.repo().write_commit_detached_metadata(id, Some(&detached), gio::Cancellable::NONE).unwrap();
    }

    pub fn notes(&self, id: &str) -> Vec<String> {
        let detached = VariantDict::new(self.detached(id).as_ref());
        detached.lookup("ostree-seal.note").unwrap().unwrap_or_default()
    }
}

pub fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// The value of a key in a dictionary.
pub fn value(dictionary: &Variant, key: &str) -> Option<Variant> {
    VariantDict::new(Some(dictionary)).lookup_value(key, None)
}
