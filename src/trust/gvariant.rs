//! GVariant's serialised form as far as OSTree's objects use it, read by the letter: only the normal form passes, so that
//! no two readers see different things in the same bytes. Nothing recurses and nothing is allocated but the list of a
//! dictionary: a value is looked into only when its type is the one that was asked for.
//!
//! GLib reads other forms, too, and puts a default where a value doesn't fit. libostree takes no object from elsewhere that is
//! not in normal form (its pull and its fsck ask `g_variant_is_normal_form`), so that one in a repository is damaged or was
//! put there by someone else: it is an error here, in a dirtree as in a commit.
//!
//! A container with members of variable size ends with framing offsets: little-endian, each the end of a member counted
//! from the container's start, as wide as the container's length needs. A tuple's stand in reverse order, and its last member
//! has none: it ends where they begin. (The GVariant specification, section 2.)
//!
//! Numbers are in the writer's byte order. OSTree's own ones are big-endian ([`Tuple::be_u32`]); those in metadata are in the
//! order of the machine that wrote them ([`Value::u64`]).

use alloc::borrow::ToOwned as _;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

/// Why bytes are not the normal form of the type that was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GVariantError {
    /// The bytes end before a member does.
    TooShort,
    /// A framing offset points backwards or out of its container, or a list of them is not whole.
    Offset,
    /// Bytes between two values are not zero.
    Padding,
    /// A text is not UTF-8 with one NUL, at its end.
    Text,
    /// A boolean is neither 0 nor 1.
    Boolean,
    /// A variant without a type.
    Untyped,
    /// A dictionary has this key twice.
    Repeated(String),
    /// The value of a key has another type than it should.
    Type {
        /// The key.
        key: String,
        /// The type that it should have.
        expected: &'static str,
        /// The type that it has.
        found: String,
    },
    /// The value of a key is of the right type and has this many bytes instead of those expected.
    Size {
        /// The key.
        key: String,
        /// The bytes it should have.
        expected: usize,
        /// The bytes it has.
        found: usize,
    },
}

/// A tuple, read member by member, in their order and all of them.
#[derive(Debug)]
pub struct Tuple<'a> {
    bytes: &'a [u8],
    /// Where the next member may begin.
    position: usize,
    /// Where the framing offsets that were not used yet end.
    offsets_end: usize,
}

/// An array whose elements have a variable size: an iterator over them, each the bytes of one.
#[derive(Debug)]
pub struct Array<'a> {
    elements: &'a [u8],
    offsets: &'a [u8],
    width: usize,
    alignment: usize,
    position: usize,
}

/// `a{sv}`.
#[derive(Debug, Clone)]
pub struct Dictionary<'a>(Vec<(&'a str, &'a [u8])>);

/// A value with the key it was found under.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a> {
    key: &'a str,
    kind: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> Tuple<'a> {
    /// Begins to read a tuple.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0, offsets_end: bytes.len() }
    }

    /// The next member, which has a fixed size and is aligned to it. Its byte order is up to the caller.
    pub fn fixed<const SIZE: usize>(&mut self) -> Result<[u8; SIZE], GVariantError> {
        let start = self.aligned(SIZE)?;
        let bytes = self.bytes[..self.offsets_end].get(start..start + SIZE);
        self.position = start + SIZE;
        bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(GVariantError::TooShort)
    }

    /// The next member, a number: OSTree stores them big-endian.
    #[allow(clippy::big_endian_bytes, reason = "OSTree's numbers are big-endian on every machine")]
    pub fn be_u32(&mut self) -> Result<u32, GVariantError> {
        self.fixed().map(u32::from_be_bytes)
    }

    /// The next member, a number: OSTree stores them big-endian.
    #[allow(clippy::big_endian_bytes, reason = "OSTree's numbers are big-endian on every machine")]
    pub fn be_u64(&mut self) -> Result<u64, GVariantError> {
        self.fixed().map(u64::from_be_bytes)
    }

    /// The next member, which has a variable size and isn't the last one.
    pub fn framed(&mut self, alignment: usize) -> Result<&'a [u8], GVariantError> {
        let width = offset_width(self.bytes.len());
        let at = self.offsets_end.checked_sub(width).ok_or(GVariantError::TooShort)?;
        let end = read_offset(&self.bytes[at..self.offsets_end])?;
        self.offsets_end = at;
        let start = self.aligned(alignment)?;
        if end > at {
            return Err(GVariantError::Offset);
        }
        self.position = end;
        self.bytes.get(start..end).ok_or(GVariantError::Offset)
    }

    /// The last member, which has a variable size: all up to the framing offsets.
    pub fn last(mut self, alignment: usize) -> Result<&'a [u8], GVariantError> {
        let start = self.aligned(alignment)?;
        self.bytes.get(start..self.offsets_end).ok_or(GVariantError::TooShort)
    }

    fn aligned(&mut self, alignment: usize) -> Result<usize, GVariantError> {
        let start = self.position.next_multiple_of(alignment);
        let padding =
            self.bytes[..self.offsets_end].get(self.position..start).ok_or(GVariantError::TooShort)?;
        if padding.iter().all(|byte| *byte == 0) { Ok(start) } else { Err(GVariantError::Padding) }
    }
}

impl<'a> Array<'a> {
    /// Begins to read an array. Offsets are looked at when their element's turn comes.
    pub fn new(bytes: &'a [u8], alignment: usize) -> Result<Self, GVariantError> {
        let width = offset_width(bytes.len());
        if bytes.is_empty() {
            return Ok(Self { elements: bytes, offsets: bytes, width, alignment, position: 0 });
        }
        let last = bytes.len().checked_sub(width).ok_or(GVariantError::TooShort)?;
        let end = read_offset(&bytes[last..])?;
        if end > last || (bytes.len() - end) % width != 0 {
            return Err(GVariantError::Offset);
        }
        let (elements, offsets) = bytes.split_at(end);
        Ok(Self { elements, offsets, width, alignment, position: 0 })
    }

    /// Number of elements that were not read yet. They have at least this many bytes, so it is fit for a capacity.
    pub fn remaining(&self) -> usize {
        self.offsets.len() / self.width
    }

    fn element(&mut self, offset: &[u8]) -> Result<&'a [u8], GVariantError> {
        let end = read_offset(offset)?;
        let start = self.position.next_multiple_of(self.alignment);
        let padding = self.elements.get(self.position..start).ok_or(GVariantError::Offset)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(GVariantError::Padding);
        }
        let element = self.elements.get(start..end).ok_or(GVariantError::Offset)?;
        self.position = end;
        Ok(element)
    }
}

impl<'a> Iterator for Array<'a> {
    type Item = Result<&'a [u8], GVariantError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offsets.is_empty() {
            return None;
        }
        let (offset, rest) = self.offsets.split_at(self.width);
        self.offsets = rest;
        Some(self.element(offset))
    }
}

impl<'a> Dictionary<'a> {
    /// Reads a dictionary; which types its values have is not looked at.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, GVariantError> {
        Array::new(bytes, 8)?.map(|bytes| entry(bytes?)).collect::<Result<_, _>>().map(Self)
    }

    /// The value of a key. GVariant allows a key twice and readers differ on which one counts, so that is an error.
    pub fn get(&self, key: &str) -> Result<Option<Value<'a>>, GVariantError> {
        let mut found = self.0.iter().filter(|(name, _)| *name == key);
        let Some((key, variant)) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            return Err(GVariantError::Repeated((*key).to_owned()));
        }
        let nul = variant.iter().rposition(|byte| *byte == 0).ok_or(GVariantError::Untyped)?;
        Ok(Some(Value { key, kind: &variant[nul + 1..], bytes: &variant[..nul] }))
    }
}

impl<'a> Value<'a> {
    /// `ay`.
    pub fn bytes(self) -> Result<&'a [u8], GVariantError> {
        self.of_type("ay").map(|value| value.bytes)
    }

    /// `s`.
    pub fn text(self) -> Result<&'a str, GVariantError> {
        text(self.of_type("s")?.bytes)
    }

    /// `t`, little-endian: what GLib writes on every machine that OSTree systems are built on today.
    pub fn u64(self) -> Result<u64, GVariantError> {
        let bytes = self.of_type("t")?.bytes;
        let wrong = |_| GVariantError::Size { key: self.key.to_owned(), expected: 8, found: bytes.len() };
        <[u8; 8]>::try_from(bytes).map(u64::from_le_bytes).map_err(wrong)
    }

    /// `b`, in its two normal forms.
    pub fn boolean(self) -> Result<bool, GVariantError> {
        match self.of_type("b")?.bytes {
            [0] => Ok(false),
            [1] => Ok(true),
            [_] => Err(GVariantError::Boolean),
            bytes => Err(GVariantError::Size { key: self.key.to_owned(), expected: 1, found: bytes.len() }),
        }
    }

    /// `as`.
    pub fn texts(self) -> Result<Vec<&'a str>, GVariantError> {
        Array::new(self.of_type("as")?.bytes, 1)?.map(|bytes| text(bytes?)).collect()
    }

    /// `aay`.
    pub fn byte_arrays(self) -> Result<Vec<&'a [u8]>, GVariantError> {
        Array::new(self.of_type("aay")?.bytes, 1)?.collect()
    }

    fn of_type(self, expected: &'static str) -> Result<Self, GVariantError> {
        if self.kind == expected.as_bytes() {
            return Ok(self);
        }
        let found = self.kind.escape_ascii().to_string();
        Err(GVariantError::Type { key: self.key.to_owned(), expected, found })
    }
}

/// `{sv}`, the value still with its type.
fn entry(bytes: &[u8]) -> Result<(&str, &[u8]), GVariantError> {
    let mut entry = Tuple::new(bytes);
    let key = text(entry.framed(1)?)?;
    Ok((key, entry.last(8)?))
}

/// How many bytes a framing offset has in a container of this size.
fn offset_width(size: usize) -> usize {
    match size {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    }
}

fn read_offset(bytes: &[u8]) -> Result<usize, GVariantError> {
    let value = bytes.iter().rev().fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
    usize::try_from(value).map_err(|_| GVariantError::Offset)
}

/// `s`.
pub fn text(bytes: &[u8]) -> Result<&str, GVariantError> {
    match bytes.split_last() {
        Some((0, text)) if !text.contains(&0) => core::str::from_utf8(text).map_err(|_| GVariantError::Text),
        _ => Err(GVariantError::Text),
    }
}

impl fmt::Display for GVariantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort => write!(f, "it is too short"),
            Self::Offset => write!(f, "a framing offset points backwards or outside"),
            Self::Padding => write!(f, "bytes between two values are not zero"),
            Self::Text => write!(f, "a text is not UTF-8 with one NUL at its end"),
            Self::Boolean => write!(f, "a boolean is neither 0 nor 1"),
            Self::Untyped => write!(f, "a value has no type"),
            Self::Repeated(key) => write!(f, "the key {key} is there twice"),
            Self::Type { key, expected, found } => {
                write!(f, "the value of {key} has type {found} instead of {expected}")
            }
            Self::Size { key, expected, found } => {
                write!(f, "the value of {key} has {found} bytes instead of {expected}")
            }
        }
    }
}

impl core::error::Error for GVariantError {}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};

    use super::{Array, Dictionary, GVariantError, Tuple};

    /// `('a', 'bc')`, type `(ss)`.
    const TWO_TEXTS: &[u8] = b"a\0bc\0\x02";

    #[test]
    fn members_end_where_the_framing_offsets_say() {
        let mut tuple = Tuple::new(TWO_TEXTS);
        assert_eq!(tuple.framed(1), Ok(b"a\0".as_slice()));
        assert_eq!(tuple.last(1), Ok(b"bc\0".as_slice()));
        assert_eq!(Tuple::new(b"a\0bc\0\x09").framed(1), Err(GVariantError::Offset));
        assert_eq!(Tuple::new(b"").framed(1), Err(GVariantError::TooShort));
    }

    #[test]
    fn padding_is_zero() {
        let mut tuple = Tuple::new(b"a\0\x01\0\0\0\0\x2a\x02");
        assert_eq!(tuple.framed(1), Ok(b"a\0".as_slice()));
        assert_eq!(tuple.be_u32(), Err(GVariantError::Padding));
    }

    #[test]
    fn an_offset_that_points_backwards_ends_an_array() {
        let array = |bytes| Array::new(bytes, 1)?.collect::<Result<Vec<_>, _>>();
        assert_eq!(array(b"abc\x01\x03"), Ok([b"a".as_slice(), b"bc"].to_vec()));
        assert_eq!(array(b"abc\x04\x03"), Err(GVariantError::Offset));
        assert_eq!(array(b"abc\x02\x01\x03"), Err(GVariantError::Offset));
        assert_eq!(array(b"abc\x07"), Err(GVariantError::Offset));
    }

    proptest! {
        #[test]
        fn garbage_never_panics_and_elements_lie_inside(bytes in vec(any::<u8>(), 0..300), shift in 0..4) {
            let alignment = 1_usize << shift;
            if let Ok(array) = Array::new(&bytes, alignment) {
                let elements: Vec<_> = array.map_while(Result::ok).collect();
                assert!(elements.iter().map(|element| element.len()).sum::<usize>() <= bytes.len());
            }
            let _ = Dictionary::parse(&bytes).map(|dictionary| dictionary.get("a").map(|value| value.is_some()));
            let mut tuple = Tuple::new(&bytes);
            let _ = (tuple.framed(alignment), tuple.fixed::<8>(), tuple.be_u32(), tuple.framed(1));
            let _ = tuple.last(alignment);
        }
    }
}
