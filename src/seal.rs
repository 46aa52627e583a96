//! Notes in the making: the statement about an image, and signatures added to it wherever they were made.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use base64ct::{Base64, Encoding as _};
use fn_error_context::context;
use ostree_seal_trust::names::Product;
use ostree_seal_trust::note::{NOTE_MAX, Note, SIGNATURES_MAX, signature_line};
use ostree_seal_trust::vkey::Vkey;

use crate::atomic;

/// What a note says beside the digest: from the command line, from the commit's metadata, or from both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bindings {
    /// What the image is meant for.
    pub product: Option<Product>,
    /// The release's place in the order of releases.
    pub index: Option<u64>,
}

impl Bindings {
    /// These, completed by others. Where both say something, they must say the same.
    pub fn and(self, commit: Self) -> anyhow::Result<Self> {
        Ok(Self {
            product: same("product", self.product, commit.product)?,
            index: same("index", self.index, commit.index)?,
        })
    }

    /// Both values, or which one is missing.
    pub fn complete(self) -> anyhow::Result<(Product, u64)> {
        let product = self.product.context(
            "no product is given; use --product=example.com/os, or commit with \
             --add-metadata-string=ostree-seal.product=example.com/os",
        )?;
        let index = self.index.context(
            "no index is given; use --index=42, or commit with --add-metadata='ostree-seal.index=uint64 42'",
        )?;
        Ok((product, index))
    }

    /// Reads what a commit object says.
    pub fn of_commit(bytes: &[u8]) -> anyhow::Result<Self> {
        let commit = ostree_seal_trust::commit::SignedCommit::parse(bytes).context("reading the commit")?;
        let product = commit.product().context("reading the commit's product")?;
        let product = product.map(str::parse).transpose().context("reading the commit's product")?;
        Ok(Self { product, index: commit.index().context("reading the commit's index")? })
    }
}

fn same<T: PartialEq + std::fmt::Display>(
    name: &str,
    given: Option<T>,
    commit: Option<T>,
) -> anyhow::Result<Option<T>> {
    match (given, commit) {
        (Some(given), Some(commit)) if given != commit => {
            bail!("--{name} is {given}, but the commit's ostree-seal.{name} is {commit}")
        }
        (given, commit) => Ok(given.or(commit)),
    }
}

/// What became of a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The whole note.
    pub note: String,
    /// Whether the key's signature was there before.
    pub before: bool,
}

/// Adds a signature to a note of this text, which is begun if there is none. The signature must be the key's, and the
/// same key doesn't sign twice.
pub fn add_signature(note: Option<&str>, text: &str, key: &Vkey, signature: &[u8]) -> anyhow::Result<Signed> {
    ensure!(
        key.signed(text.as_bytes(), signature),
        "the signature is not one of {} over this text",
        key.id()
    );
    let line = signature_line(key.id(), signature);
    let Some(note) = note else {
        return Ok(Signed { note: format!("{text}\n{line}"), before: false });
    };
    let parsed = Note::parse(note.as_bytes()).context("reading the note that is to be signed")?;
    ensure!(parsed.text == text, "the note that is there says something else:\n{}", parsed.text);
    let same = |name: &str, hash| name == key.id().name && hash == key.id().hash;
    let before = parsed
        .signatures
        .iter()
        .any(|line| line.body.as_ref().is_some_and(|(hash, _)| same(line.name, *hash)));
    if before {
        let broken = parsed.signatures.iter().any(|line| {
            line.body
                .as_ref()
                .is_some_and(|(hash, bytes)| same(line.name, *hash) && !key.signed(text.as_bytes(), bytes))
        });
        ensure!(!broken, "the note has a broken signature of {} already", key.id());
        return Ok(Signed { note: note.to_owned(), before: true });
    }
    ensure!(parsed.signatures.len() < SIGNATURES_MAX, "the note has {SIGNATURES_MAX} signatures already");
    let note = format!("{note}{line}");
    ensure!(note.len() <= NOTE_MAX, "the note would have {} bytes, {NOTE_MAX} are possible", note.len());
    Ok(Signed { note, before: false })
}

/// The 64 bytes of an Ed25519 signature, however the tool that made it writes them: raw, base64 or hex.
pub fn decode_signature(bytes: &[u8]) -> anyhow::Result<[u8; 64]> {
    if let Ok(raw) = bytes.try_into() {
        return Ok(raw);
    }
    let text: String = std::str::from_utf8(bytes).unwrap_or_default().split_whitespace().collect();
    let decoded = match text.len() {
        88 => Base64::decode_vec(&text).ok(),
        128 => decode_hex(text.as_bytes()),
        _ => None,
    };
    decoded.and_then(|signature| signature.try_into().ok()).with_context(|| {
        format!("found {} bytes, which are no Ed25519 signature, raw, in base64 or in hex", bytes.len())
    })
}

/// How an Ed25519 `SubjectPublicKeyInfo` begins in DER (RFC 8410); the 32 bytes of the key follow.
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The 32 bytes of an Ed25519 public key as openssl (PEM, DER), ostree (base64) and others (hex, raw) write it.
pub fn decode_public_key(bytes: &[u8]) -> anyhow::Result<[u8; 32]> {
    let pem = bytes.strip_prefix(b"-----BEGIN PUBLIC KEY-----").map(|rest| {
        let end = rest.iter().position(|byte| *byte == b'-').unwrap_or(rest.len());
        &rest[..end]
    });
    let text: String =
        std::str::from_utf8(pem.unwrap_or(bytes)).unwrap_or_default().split_whitespace().collect();
    let decoded = match text.len() {
        64 if pem.is_none() => decode_hex(text.as_bytes()),
        44 | 60 => Base64::decode_vec(&text).ok(),
        _ => Some(bytes.to_vec()),
    };
    let key = decoded.as_deref().map(|key| key.strip_prefix(&SPKI).unwrap_or(key));
    key.and_then(|key| key.try_into().ok())
        .with_context(|| format!("found {} bytes, which are no Ed25519 public key", bytes.len()))
}

fn decode_hex(hex: &[u8]) -> Option<Vec<u8>> {
    let byte = |digits: &[u8]| {
        let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.contains('+'))?;
        u8::from_str_radix(digits, 16).ok()
    };
    hex.chunks(2).map(byte).collect()
}

/// The note in a file, if there is one.
pub fn read_note(path: &Path) -> anyhow::Result<Option<String>> {
    let text = |bytes| String::from_utf8(bytes).with_context(|| format!("{} is not text", path.display()));
    read_note_bytes(path)?.map(text).transpose()
}

/// The bytes of a note, if there is one; not much more of them than a note can have.
#[context("reading the note {}", path.display())]
pub fn read_note_bytes(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut note = Vec::new();
    file.take(NOTE_MAX as u64 + 1).read_to_end(&mut note)?;
    Ok(Some(note))
}

/// Writes a note under its name when all of it is on the disk.
#[context("writing the note {}", path.display())]
pub fn write_note(path: &Path, note: &str) -> anyhow::Result<()> {
    Ok(atomic::replace(path, 0o644, |file| file.write_all(note.as_bytes()))?)
}

#[cfg(test)]
mod tests;
