//! The fs-verity digest of a file: SHA-256, 4096-byte blocks, no salt (`Documentation/filesystems/fsverity.rst`).

use core::fmt;
use core::str::FromStr;

/// An fs-verity digest: SHA-256 over the descriptor of a Merkle tree with 4096-byte blocks and no salt.
///
/// Its text form is exactly 64 lower-case hex digits. Anything else, an empty text included, is an error and never
/// "no check" or a prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// Why a text is not a [`Digest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParseDigestError {
    /// The text has this many bytes instead of 64.
    Length(usize),
    /// The byte at this position is not one of `0-9a-f`.
    NotLowerHex(usize),
}

impl Digest {
    /// The digest that 64 lower-case hex digits spell.
    pub fn from_hex(hex: &[u8]) -> Result<Self, ParseDigestError> {
        let mut bytes = [0; 32];
        lower_hex(hex, &mut bytes)?;
        Ok(Self(bytes))
    }
}

/// Decodes lower-case hex into exactly as many bytes as there is room for.
pub(crate) fn lower_hex(hex: &[u8], bytes: &mut [u8]) -> Result<(), ParseDigestError> {
    if hex.len() != 2 * bytes.len() {
        return Err(ParseDigestError::Length(hex.len()));
    }
    for (position, digit) in hex.iter().enumerate() {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return Err(ParseDigestError::NotLowerHex(position)),
        };
        bytes[position / 2] = (bytes[position / 2] << 4) | value;
    }
    Ok(())
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_hex(text.as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl fmt::Display for ParseDigestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(found) => write!(f, "a digest has exactly 64 hex digits, found {found} bytes"),
            Self::NotLowerHex(position) => {
                write!(f, "a digest is lower-case hex, found another character at position {position}")
            }
        }
    }
}

impl core::error::Error for ParseDigestError {}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use super::{Digest, ParseDigestError};

    const EMPTY_FILE: &str = "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95";

    #[test]
    fn text_form_is_the_identity_in_both_directions() {
        let digest: Digest = EMPTY_FILE.parse().unwrap();
        assert_eq!(digest.0[..4], [0x3d, 0x24, 0x8c, 0xa5]);
        assert_eq!(digest.to_string(), EMPTY_FILE);
    }

    #[test]
    fn refuses_digest_of_other_length() {
        for len in [0, 1, 63, 65, 128] {
            let text = "a".repeat(len);
            assert_eq!(text.parse::<Digest>(), Err(ParseDigestError::Length(len)));
        }
    }

    #[test]
    fn refuses_digest_in_upper_case() {
        assert_eq!(EMPTY_FILE.to_uppercase().parse::<Digest>(), Err(ParseDigestError::NotLowerHex(1)));
    }

    #[test]
    fn refuses_digest_with_sign_or_space() {
        let signed = std::format!("+{}", &EMPTY_FILE[1..]);
        assert_eq!(signed.parse::<Digest>(), Err(ParseDigestError::NotLowerHex(0)));
    }
}
