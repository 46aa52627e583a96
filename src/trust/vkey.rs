//! Verifier keys: `NAME+HASH+BASE64`, the text form of a public key in C2SP's signed-note format.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec;
use core::fmt;

use base64ct::{Base64, Encoding};
use ed25519_dalek::VerifyingKey;
use sha2::{Digest as _, Sha256};

use crate::digest::lower_hex;

/// The signature type of Ed25519 keys, the only one that counts here.
pub const TYPE_ED25519: u8 = 1;

/// The most bytes that a key name has.
pub const NAME_MAX: usize = 255;

/// What a signature line says about its key: a name, and the first bytes of a hash over name, type and key.
///
/// It tells keys apart and proves nothing: two keys with equal public bytes are one key under two names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId {
    /// The name, usually a URL without its scheme.
    pub name: String,
    /// The first four bytes of SHA-256 over name, newline, type byte and key bytes.
    pub hash: [u8; 4],
}

/// An Ed25519 public key under a name. Small-order keys, under which anything may verify, are never one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vkey {
    id: KeyId,
    key: VerifyingKey,
}

/// Why a text is not a [`Vkey`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VkeyError {
    /// Not `NAME+HASH+BASE64` on one line.
    Shape,
    /// The name is empty, too long, or has a space, a control character or a plus sign.
    Name,
    /// The hash is not eight lower-case hex digits.
    Hash,
    /// The key is not base64, or has no byte.
    Base64,
    /// The key's first byte names a signature type other than Ed25519.
    UnknownType(u8),
    /// An Ed25519 key of this many bytes instead of 32.
    Length(usize),
    /// The 32 bytes are no point of the curve, or one of small order.
    NotAKey,
    /// The hash in the text is not the key's; this one is.
    OtherHash([u8; 4]),
}

impl Vkey {
    /// Reads `NAME+HASH+BASE64`, with or without one newline at the end.
    pub fn parse(text: &[u8]) -> Result<Self, VkeyError> {
        let text = core::str::from_utf8(text).map_err(|_| VkeyError::Shape)?;
        let line = text.strip_suffix('\n').unwrap_or(text);
        let mut parts = line.splitn(3, '+');
        let (Some(name), Some(hash), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(VkeyError::Shape);
        };
        if !is_name(name) {
            return Err(VkeyError::Name);
        }
        let hash = parse_hash(hash).ok_or(VkeyError::Hash)?;
        let bytes = Base64::decode_vec(key).map_err(|_| VkeyError::Base64)?;
        let (kind, bytes) = bytes.split_first().ok_or(VkeyError::Base64)?;
        if *kind != TYPE_ED25519 {
            return Err(VkeyError::UnknownType(*kind));
        }
        let bytes = bytes.try_into().map_err(|_| VkeyError::Length(bytes.len()))?;
        let vkey = Self::new(name, bytes)?;
        if vkey.id.hash == hash { Ok(vkey) } else { Err(VkeyError::OtherHash(vkey.id.hash)) }
    }

    /// The key with these public bytes under this name.
    pub fn new(name: &str, public: &[u8; 32]) -> Result<Self, VkeyError> {
        if !is_name(name) {
            return Err(VkeyError::Name);
        }
        let key = VerifyingKey::from_bytes(public).map_err(|_| VkeyError::NotAKey)?;
        if key.is_weak() {
            return Err(VkeyError::NotAKey);
        }
        Ok(Self { id: KeyId { name: name.to_owned(), hash: key_hash(name, public) }, key })
    }

    /// Name and hash.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The 32 bytes of RFC 8032. Keys are compared by these, never by name.
    pub fn public_bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Whether these bytes are this key's signature of the message: 64 bytes, canonical, no point of small order.
    pub fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = ed25519_dalek::Signature::from_slice(signature) else { return false };
        self.key.verify_strict(message, &signature).is_ok()
    }
}

/// Whether a text can name a key: 1 to [`NAME_MAX`] bytes without space, control character or plus sign.
pub fn is_name(name: &str) -> bool {
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    !name.is_empty() && name.len() <= NAME_MAX && !name.contains(odd)
}

/// The key hash of an Ed25519 key.
fn key_hash(name: &str, public: &[u8; 32]) -> [u8; 4] {
    let mut hash = Sha256::new();
    hash.update(name.as_bytes());
    hash.update([b'\n', TYPE_ED25519]);
    hash.update(public);
    let hash: [u8; 32] = hash.finalize().into();
    [hash[0], hash[1], hash[2], hash[3]]
}

fn parse_hash(hex: &str) -> Option<[u8; 4]> {
    let mut hash = [0; 4];
    lower_hex(hex.as_bytes(), &mut hash).ok()?;
    Some(hash)
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.hash;
        write!(f, "{}+{a:02x}{b:02x}{c:02x}{d:02x}", self.name)
    }
}

/// `NAME+HASH+BASE64`, without a newline.
impl fmt::Display for Vkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![TYPE_ED25519];
        bytes.extend_from_slice(self.public_bytes());
        write!(f, "{}+{}", self.id, Base64::encode_string(&bytes))
    }
}

impl fmt::Display for VkeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape => write!(f, "it is not one line NAME+HASH+BASE64"),
            Self::Name => {
                write!(f, "a key name has 1 to {NAME_MAX} bytes without space, control character or plus")
            }
            Self::Hash => write!(f, "the key hash is not 8 lower-case hex digits"),
            Self::Base64 => write!(f, "the key is not base64"),
            Self::UnknownType(kind) => write!(f, "its type is {kind}, only 1 (Ed25519) is known here"),
            Self::Length(found) => write!(f, "an Ed25519 key has 32 bytes, found {found}"),
            Self::NotAKey => write!(f, "its 32 bytes are no usable Ed25519 public key"),
            Self::OtherHash([a, b, c, d]) => {
                write!(f, "its hash does not belong to name and key; {a:02x}{b:02x}{c:02x}{d:02x} would")
            }
        }
    }
}

impl core::error::Error for VkeyError {}
