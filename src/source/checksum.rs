//! The name of an OSTree object: the SHA-256 of what it holds.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// An OSTree object's SHA-256. Not to be mixed up with an fs-verity digest of the file that holds the object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Checksum(pub [u8; 32]);

impl Checksum {
    /// The checksum of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The checksum that 64 lower-case hex digits spell.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let digits = hex.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(Self(bytes))
    }

    /// The 64 hex digits, without an allocation.
    pub(super) fn hex(&self) -> [u8; 64] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; 64];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        hex
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checksum({self})")
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Checksum;

    #[test]
    fn text_form_is_the_identity_in_both_directions() {
        let checksum = Checksum::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(checksum.to_string(), text);
        assert_eq!(checksum.hex(), *text.as_bytes());
        assert_eq!(Checksum::from_hex(text), Some(checksum));
    }

    #[test]
    fn refuses_text_of_other_length_or_with_other_digits() {
        let text = Checksum::of(b"abc").to_string();
        assert_eq!(Checksum::from_hex(""), None);
        assert_eq!(Checksum::from_hex(&text[1..]), None);
        assert_eq!(Checksum::from_hex(&text.to_uppercase()), None);
        assert_eq!(Checksum::from_hex(&text.replace('b', "g")), None);
    }
}
