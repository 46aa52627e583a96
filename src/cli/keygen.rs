//! `ostree-seal keygen`: make a key pair.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use base64ct::{Base64, Encoding as _};
use clap::Args;
use fn_error_context::context;
use ostree_seal_trust::vkey::Vkey;

use super::{input, print};
use crate::atomic;
use crate::seal::decode_public_key;
use crate::signing::PrivateKey;

/// Make a key pair for signing images
///
/// Writes the private key to PREFIX.key, which only its owner may read, and the public one to PREFIX.vkey, which belongs
/// into trusted.d of the policy. No file is ever overwritten. Prints the public key.
#[derive(Debug, Args)]
pub(super) struct KeygenArgs {
    /// Name of the key, as signatures show it: a URL without its scheme, such as example.com/release-2026
    #[arg(long, value_name = "KEYNAME", required_unless_present = "to_ostree")]
    name: Option<String>,

    /// Take the private key from a file with a secret key for `ostree sign --sign-type=ed25519`
    #[arg(long, value_name = "FILE", requires = "name")]
    from_ostree: Option<PathBuf>,

    /// Write only PREFIX.vkey, of a public key whose private half is elsewhere: PEM or DER as openssl writes it, base64
    /// as ostree does, hex, or 32 raw bytes
    #[arg(long, value_name = "FILE", requires = "name", conflicts_with_all = ["from_ostree", "to_ostree"])]
    public: Option<PathBuf>,

    /// Write the key for ostree too, to PREFIX.ostree-secret and PREFIX.ostree-public; without --name, the key that
    /// is in PREFIX.key already
    #[arg(long)]
    to_ostree: bool,

    /// What the files' names begin with
    #[arg(value_name = "PREFIX")]
    prefix: PathBuf,
}

pub(super) fn run(args: &KeygenArgs) -> anyhow::Result<()> {
    let files = Files::with_prefix(&args.prefix);
    if let (Some(name), Some(public)) = (&args.name, &args.public) {
        let key = read_public(name, public)?;
        write_public(&files.public, &key.to_string())?;
        return print::line(&key);
    }
    let key = match (&args.name, &args.from_ostree) {
        (Some(name), Some(path)) => files.write_new(&PrivateKey::read_ostree(name, path)?)?,
        (Some(name), None) => files.write_new(&PrivateKey::generate(name)?)?,
        (None, _) => PrivateKey::read(&files.private)?.vkey().clone(),
    };
    if args.to_ostree {
        let private = PrivateKey::read(&files.private)?;
        write_public(&files.ostree_public, &Base64::encode_string(key.public_bytes()))?;
        private.write_ostree(&files.ostree_secret)?;
    }
    print::line(&key)
}

struct Files {
    private: PathBuf,
    public: PathBuf,
    ostree_secret: PathBuf,
    ostree_public: PathBuf,
}

impl Files {
    fn with_prefix(prefix: &Path) -> Self {
        let file = |suffix: &str| {
            let mut path = prefix.as_os_str().to_owned();
            path.push(suffix);
            PathBuf::from(path)
        };
        Self {
            private: file(".key"),
            public: file(".vkey"),
            ostree_secret: file(".ostree-secret"),
            ostree_public: file(".ostree-public"),
        }
    }

    /// The public half is written first: a private key whose public half nobody has is worse than the reverse.
    fn write_new(&self, key: &PrivateKey) -> anyhow::Result<Vkey> {
        for path in [&self.private, &self.public] {
            ensure!(
                fs::symlink_metadata(path).is_err(),
                "{} exists already; choose another PREFIX",
                path.display()
            );
        }
        write_public(&self.public, &key.vkey().to_string())?;
        if let Err(error) = key.write(&self.private) {
            fs::remove_file(&self.public).context("removing the public key again")?;
            bail!(error);
        }
        Ok(key.vkey().clone())
    }
}

#[context("reading the public key {}", path.display())]
fn read_public(name: &str, path: &Path) -> anyhow::Result<Vkey> {
    Ok(Vkey::new(name, &decode_public_key(&input::read(path, input::SMALL_MAX)?)?)?)
}

#[context("writing the public key {}", path.display())]
fn write_public(path: &Path, line: &str) -> anyhow::Result<()> {
    Ok(atomic::create(path, 0o644, |file| file.write_all(format!("{line}\n").as_bytes()))?)
}
