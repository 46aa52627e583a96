//! Private keys: the only file that sees one. Whatever holds key material is wiped when it is dropped, and no error
//! quotes what was in a key file.

use std::fmt;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, anyhow, bail, ensure};
use base64ct::{Base64, Encoding as _};
use ed25519_dalek::{Signer as _, SigningKey};
use fn_error_context::context;
use ostree_seal_trust::vkey::{KeyId, TYPE_ED25519, Vkey};
use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::{Zeroize as _, Zeroizing};

use crate::atomic;

/// How a private key begins in the text form of Go's `sumdb/note`: `PRIVATE+KEY+NAME+HASH+BASE64`.
const PREFIX: &str = "PRIVATE+KEY+";

/// The most bytes of a key file.
const FILE_MAX: usize = 4096;

/// An Ed25519 key pair under a name.
pub struct PrivateKey {
    vkey: Vkey,
    key: SigningKey,
}

impl PrivateKey {
    /// A new key from the kernel's random numbers.
    pub fn generate(name: &str) -> anyhow::Result<Self> {
        let mut seed = Zeroizing::new([0; 32]);
        let length = getrandom(&mut *seed, GetRandomFlags::empty()).context("asking for random bytes")?;
        ensure!(length == seed.len(), "the kernel gave {length} random bytes instead of {}", seed.len());
        Self::from_seed(name, &seed)
    }

    /// Reads a key file that [`PrivateKey::write`] or Go's `sumdb/note` made.
    #[context("reading the private key {}", path.display())]
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        Self::parse(&read_secret(path)?)
    }

    /// Reads `PRIVATE+KEY+NAME+HASH+BASE64`, with or without one newline at the end.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let line = text.strip_suffix('\n').unwrap_or(text);
        if let Ok(public) = Vkey::parse(text.as_bytes()) {
            bail!(
                "it is the public key {}; the private one is in the .key file that was made with it",
                public.id()
            );
        }
        let parts: Vec<&str> = line.strip_prefix(PREFIX).unwrap_or_default().splitn(3, '+').collect();
        let [name, hash, base64] = parts[..] else {
            bail!("it is not one line {PREFIX}NAME+HASH+BASE64");
        };
        let bytes = decode::<33>(base64)?;
        ensure!(bytes[0] == TYPE_ED25519, "its type is {}, only 1 (Ed25519) is known here", bytes[0]);
        let mut seed = Zeroizing::new([0; 32]);
        seed.copy_from_slice(&bytes[1..]);
        let key = Self::from_seed(name, &seed)?;
        ensure!(
            key.vkey.id().to_string() == format!("{name}+{hash}"),
            "its hash does not belong to name and key"
        );
        Ok(key)
    }

    /// Reads a secret key in ostree's form: the base64 of seed and public key, 64 bytes.
    #[context("reading the ostree secret key {}", path.display())]
    pub fn read_ostree(name: &str, path: &Path) -> anyhow::Result<Self> {
        let text = read_secret(path)?;
        let bytes = decode::<64>(text.strip_suffix('\n').unwrap_or(&text))?;
        let mut seed = Zeroizing::new([0; 32]);
        seed.copy_from_slice(&bytes[..32]);
        let key = Self::from_seed(name, &seed)?;
        ensure!(
            key.vkey.public_bytes() == &bytes[32..],
            "its public half does not belong to its secret half"
        );
        Ok(key)
    }

    fn from_seed(name: &str, seed: &[u8; 32]) -> anyhow::Result<Self> {
        let key = SigningKey::from_bytes(seed);
        let vkey = Vkey::new(name, key.verifying_key().as_bytes())?;
        Ok(Self { vkey, key })
    }

    /// The public half.
    pub fn vkey(&self) -> &Vkey {
        &self.vkey
    }

    /// Name and hash.
    pub fn id(&self) -> &KeyId {
        self.vkey.id()
    }

    /// Signs a message (RFC 8032, no random numbers).
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }

    /// Writes a new file, mode 0600, that [`PrivateKey::read`] reads.
    #[context("writing the private key {}", path.display())]
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut bytes = Zeroizing::new([TYPE_ED25519; 33]);
        bytes[1..].copy_from_slice(self.key.as_bytes());
        let base64 = Zeroizing::new(Base64::encode_string(&*bytes));
        write_secret(path, &[PREFIX, &self.id().to_string(), "+", &base64, "\n"])
    }

    /// Writes a new file, mode 0600, in ostree's form.
    #[context("writing the ostree secret key {}", path.display())]
    pub fn write_ostree(&self, path: &Path) -> anyhow::Result<()> {
        let pair = Zeroizing::new(self.key.to_keypair_bytes());
        let base64 = Zeroizing::new(Base64::encode_string(&*pair));
        write_secret(path, &[&base64, "\n"])
    }
}

/// Decodes base64 of exactly `N` bytes. The error is the same for every wrong text.
fn decode<const N: usize>(base64: &str) -> anyhow::Result<Zeroizing<[u8; N]>> {
    let mut bytes = Zeroizing::new([0; N]);
    match Base64::decode(base64, &mut *bytes) {
        Ok(decoded) if decoded.len() == N => Ok(bytes),
        _ => bail!("the key in it is not the base64 of {N} bytes"),
    }
}

/// Reads a file into one buffer that never moves, so that nothing of it stays behind in freed memory.
fn read_secret(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_MAX + 2));
    File::open(path)?.take(FILE_MAX as u64 + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() <= FILE_MAX, "it has more than {FILE_MAX} bytes");
    // The buffer moves from one owner to the other, without a copy; on an error it is wiped by hand.
    String::from_utf8(std::mem::take(&mut *bytes)).map(Zeroizing::new).map_err(|error| {
        error.into_bytes().zeroize();
        anyhow!("it is not text")
    })
}

fn write_secret(path: &Path, parts: &[&str]) -> anyhow::Result<()> {
    Ok(atomic::create(path, 0o600, |file| parts.iter().try_for_each(|part| file.write_all(part.as_bytes())))?)
}

/// The public half only.
impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PrivateKey").field(&self.vkey.id()).finish()
    }
}

#[cfg(test)]
mod tests;
