//! The name of a product and the id of a commit: small texts with one spelling each.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use crate::digest::{Digest, ParseDigestError};

/// The most bytes that a product name has.
pub const PRODUCT_MAX: usize = 255;

/// What an image is meant for, such as `example.com/os`: 1 to [`PRODUCT_MAX`] printable ASCII characters without
/// space. Compared byte by byte; ASCII alone, so that no two spellings look alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product(String);

/// A text that is no [`Product`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductError;

/// The SHA-256 of a commit object, which is its name in an OSTree repository.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CommitId(pub [u8; 32]);

impl Product {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Product {
    type Err = ProductError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits =
            (1..=PRODUCT_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Self(text.to_owned())) } else { Err(ProductError) }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ProductError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a product has 1 to {PRODUCT_MAX} printable ASCII characters and no space")
    }
}

impl core::error::Error for ProductError {}

/// Exactly 64 lower-case hex digits, as for [`Digest`].
impl FromStr for CommitId {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Digest::from_hex(text.as_bytes()).map(|digest| Self(digest.0))
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Digest(self.0).fmt(f)
    }
}

impl fmt::Debug for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommitId({self})")
    }
}
