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
        Self::from_hex_parts(hex.as_bytes(), b"")
    }

    /// The same where the digits come in two parts, as in an object's path.
    pub(super) fn from_hex_parts(head: &[u8], tail: &[u8]) -> Option<Self> {
        if head.len() + tail.len() != 64 || head.len() % 2 != 0 {
            return None;
        }
        let mut bytes = [0; 32];
        let mut unknown = 0;
        let pairs = head.chunks_exact(2).chain(tail.chunks_exact(2));
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let [high, low] = [NIBBLES[usize::from(pair[0])], NIBBLES[usize::from(pair[1])]];
            unknown |= high | low;
            *byte = (high << 4) | (low & 15);
        }
        (unknown & NO_DIGIT == 0).then_some(Self(bytes))
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

/// Each byte's value as a hex digit.
const NIBBLES: [u8; 256] = nibbles();
const NO_DIGIT: u8 = 0x80;

const fn nibbles() -> [u8; 256] {
    let mut nibbles = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        nibbles[b"0123456789abcdef"[value as usize] as usize] = value;
        value += 1;
    }
    nibbles
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
        assert_eq!(Checksum::from_hex_parts(&text.as_bytes()[..3], &text.as_bytes()[3..]), None);
    }

    #[test]
    fn reads_every_byte_and_no_digit_but_the_sixteen() {
        for byte in 0..=u8::MAX {
            let text = format!("{byte:02x}{}", "0".repeat(62));
            assert_eq!(Checksum::from_hex(&text).map(|checksum| checksum.0[0]), Some(byte));
            let (head, tail) = text.as_bytes().split_at(2);
            assert_eq!(Checksum::from_hex_parts(head, tail), Checksum::from_hex(&text));
            let is_digit = matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            assert_eq!(Checksum::from_hex_parts(&[byte, b'0'], tail).is_some(), is_digit);
        }
    }
}
