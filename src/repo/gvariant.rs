//! GVariant's serialised form as far as OSTree objects use it, read by the letter: only the normal form passes, so
//! that no two readers can see different things in one object.
//!
//! A container of values of variable size ends with framing offsets: little-endian, each the end of a member counted
//! from the container's start, as wide as the container's length needs. A tuple's stand in reverse order, and its last
//! member has none: it ends where they begin. (The GVariant specification, section "Serialisation Format".)

use std::fmt;

/// Why bytes are not the normal form of the type that was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormatError {
    /// The bytes end before the member does.
    TooShort,
    /// A framing offset points outside of its container or before the end of the member in front of it.
    Offset(usize),
    /// An array's framing offsets don't fill whole places.
    Offsets(usize),
    /// Bytes between two members are not zero.
    Padding,
    /// A string lacks its NUL at the end, has another one, or is not UTF-8.
    Text,
    /// A checksum has this many bytes instead of 32.
    Checksum(usize),
    /// A name is empty, `.`, `..` or holds a slash.
    Name(String),
    /// The commit's `ostree.composefs.digest.v0` is there twice or isn't 32 bytes.
    ImageDigest,
}

/// Reads a tuple member by member.
#[derive(Debug)]
pub(super) struct Tuple<'a> {
    bytes: &'a [u8],
    /// Where the next member may begin.
    position: usize,
    /// Where the framing offsets that were not used yet end.
    offsets_end: usize,
}

impl<'a> Tuple<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0, offsets_end: bytes.len() }
    }

    /// The next member, which has a fixed size and is aligned to it. Its byte order is up to the caller.
    pub(super) fn fixed<const SIZE: usize>(&mut self) -> Result<[u8; SIZE], FormatError> {
        let start = self.aligned(SIZE)?;
        let end = start + SIZE;
        let bytes = self.bytes[..self.offsets_end].get(start..end).ok_or(FormatError::TooShort)?;
        self.position = end;
        <[u8; SIZE]>::try_from(bytes).map_err(|_| FormatError::TooShort)
    }

    /// The next member, a number: OSTree stores them big-endian.
    pub(super) fn be_u32(&mut self) -> Result<u32, FormatError> {
        Ok(be_u32(self.fixed()?))
    }

    /// The next member, a number: OSTree stores them big-endian.
    pub(super) fn be_u64(&mut self) -> Result<u64, FormatError> {
        #[allow(clippy::big_endian_bytes, reason = "OSTree's numbers are big-endian on every machine")]
        Ok(u64::from_be_bytes(self.fixed()?))
    }

    /// The next member, which has a variable size and isn't the last one.
    pub(super) fn framed(&mut self, alignment: usize) -> Result<&'a [u8], FormatError> {
        let width = offset_width(self.bytes.len());
        let at = self.offsets_end.checked_sub(width).ok_or(FormatError::TooShort)?;
        let end = read_offset(&self.bytes[at..self.offsets_end])?;
        self.offsets_end = at;
        let start = self.aligned(alignment)?;
        if end > at {
            return Err(FormatError::Offset(end));
        }
        self.position = end;
        self.bytes.get(start..end).ok_or(FormatError::Offset(end))
    }

    /// The last member, which has a variable size: all up to the framing offsets.
    pub(super) fn last(mut self, alignment: usize) -> Result<&'a [u8], FormatError> {
        let start = self.aligned(alignment)?;
        self.bytes.get(start..self.offsets_end).ok_or(FormatError::TooShort)
    }

    fn aligned(&mut self, alignment: usize) -> Result<usize, FormatError> {
        let start = self.position.next_multiple_of(alignment);
        let padding =
            self.bytes[..self.offsets_end].get(self.position..start).ok_or(FormatError::TooShort)?;
        if padding.iter().all(|byte| *byte == 0) { Ok(start) } else { Err(FormatError::Padding) }
    }
}

/// Reads an array whose elements have a variable size.
#[derive(Debug)]
pub(super) struct Array<'a> {
    elements: &'a [u8],
    offsets: &'a [u8],
    width: usize,
    alignment: usize,
    position: usize,
}

impl<'a> Array<'a> {
    pub(super) fn new(bytes: &'a [u8], alignment: usize) -> Result<Self, FormatError> {
        let width = offset_width(bytes.len());
        if bytes.is_empty() {
            return Ok(Self { elements: bytes, offsets: bytes, width, alignment, position: 0 });
        }
        let last = bytes.len().checked_sub(width).ok_or(FormatError::TooShort)?;
        let end = read_offset(&bytes[last..])?;
        if end > last {
            return Err(FormatError::Offset(end));
        }
        let (elements, offsets) = bytes.split_at(end);
        if offsets.len() % width != 0 {
            return Err(FormatError::Offsets(offsets.len()));
        }
        Ok(Self { elements, offsets, width, alignment, position: 0 })
    }

    /// Number of elements that were not read yet.
    pub(super) fn len(&self) -> usize {
        self.offsets.len() / self.width
    }

    fn element(&mut self, offset: &[u8]) -> Result<&'a [u8], FormatError> {
        let end = read_offset(offset)?;
        let start = self.position.next_multiple_of(self.alignment);
        let padding = self.elements.get(self.position..start).ok_or(FormatError::TooShort)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(FormatError::Padding);
        }
        self.position = end;
        self.elements.get(start..end).ok_or(FormatError::Offset(end))
    }
}

impl<'a> Iterator for Array<'a> {
    type Item = Result<&'a [u8], FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offsets.is_empty() {
            return None;
        }
        let (offset, rest) = self.offsets.split_at(self.width);
        self.offsets = rest;
        Some(self.element(offset))
    }
}

/// A string: UTF-8 with one NUL, at its end.
pub(super) fn text(bytes: &[u8]) -> Result<&str, FormatError> {
    let (nul, text) = bytes.split_last().ok_or(FormatError::Text)?;
    if *nul != 0 || text.contains(&0) {
        return Err(FormatError::Text);
    }
    std::str::from_utf8(text).map_err(|_| FormatError::Text)
}

/// A number as OSTree stores it.
#[allow(clippy::big_endian_bytes, reason = "OSTree's numbers are big-endian on every machine")]
pub(super) fn be_u32(bytes: [u8; 4]) -> u32 {
    u32::from_be_bytes(bytes)
}

/// Its inverse.
#[allow(clippy::big_endian_bytes, reason = "OSTree's numbers are big-endian on every machine")]
pub(super) fn to_be_u32(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

/// How many bytes a framing offset has in a container of this length.
fn offset_width(len: usize) -> usize {
    match len {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    }
}

fn read_offset(bytes: &[u8]) -> Result<usize, FormatError> {
    let value = bytes.iter().rev().fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
    usize::try_from(value).map_err(|_| FormatError::Offset(usize::MAX))
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort => write!(f, "the object is too short"),
            Self::Offset(end) => write!(f, "a framing offset is wrong: {end}"),
            Self::Offsets(len) => write!(f, "the framing offsets have a wrong length: {len} bytes"),
            Self::Padding => write!(f, "the padding is not zero"),
            Self::Text => write!(f, "a string is not UTF-8 that ends with NUL"),
            Self::Checksum(len) => write!(f, "a checksum has {len} bytes instead of 32"),
            Self::ImageDigest => write!(f, "ostree.composefs.digest.v0 is not one array of 32 bytes"),
            Self::Name(name) => write!(f, "{name:?} can't be a file name"),
        }
    }
}

impl std::error::Error for FormatError {}
