//! Why an object's bytes are not what its name says. How GVariants are read is in the trust package: one reader, so that
//! an image is made of the commit that was checked.

use std::fmt;

use ostree_seal_trust::gvariant::GVariantError;

/// Why an object is not of the form that it should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormatError {
    /// It is not the normal form of its type.
    Variant(GVariantError),
    /// A checksum has this many bytes instead of 32.
    Checksum(usize),
    /// A name is empty, `.`, `..` or holds a slash.
    Name(String),
}

impl From<GVariantError> for FormatError {
    fn from(error: GVariantError) -> Self {
        Self::Variant(error)
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variant(error) => error.fmt(f),
            Self::Checksum(len) => write!(f, "a checksum has {len} bytes instead of 32"),
            Self::Name(name) => write!(f, "{name:?} can't be a file name"),
        }
    }
}

impl std::error::Error for FormatError {}
