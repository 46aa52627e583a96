//! The few GVariant shapes that commits and their detached metadata have, in normal form only. No recursion: a value
//! is looked into only when its type is the one that was asked for. Formats: the GVariant specification, section 2.
//!
//! Framing offsets are little-endian always. Numbers are in the writer's byte order, for which OSTree has no rule but
//! the machine's; see [`Value::u64`].

use alloc::borrow::ToOwned as _;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

/// Why bytes are not the GVariant that they should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GVariantError {
    /// A framing offset points backwards or out of its container.
    Offset,
    /// Bytes between two values are not zero.
    Padding,
    /// A text is not UTF-8 with one NUL, at its end.
    Text,
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

/// A member of a tuple.
#[derive(Debug, Clone, Copy)]
pub enum Member {
    /// Of any size, aligned to this many bytes.
    Any(usize),
    /// Eight bytes, aligned to eight.
    Eight,
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

impl<'a> Dictionary<'a> {
    /// Reads a dictionary; which types its values have is not looked at.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, GVariantError> {
        array(bytes, 8)?.into_iter().map(entry).collect::<Result<_, _>>().map(Self)
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

    /// `aay`.
    pub fn byte_arrays(self) -> Result<Vec<&'a [u8]>, GVariantError> {
        array(self.of_type("aay")?.bytes, 1)
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
    let [key, value] = tuple(bytes, [Member::Any(1), Member::Any(8)])?;
    Ok((text(key)?, value))
}

/// The elements of an array whose elements differ in size.
pub fn array(bytes: &[u8], alignment: usize) -> Result<Vec<&[u8]>, GVariantError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let width = offset_width(bytes.len());
    let table = read_offset(bytes, bytes.len().checked_sub(width).ok_or(GVariantError::Offset)?, width)?;
    let length = bytes.len().checked_sub(table).ok_or(GVariantError::Offset)?;
    if length == 0 || length % width != 0 {
        return Err(GVariantError::Offset);
    }
    let mut position = 0;
    let mut elements = Vec::new();
    for at in (table..bytes.len()).step_by(width) {
        let end = read_offset(bytes, at, width)?;
        if end > table {
            return Err(GVariantError::Offset);
        }
        elements.push(member(bytes, &mut position, alignment, end)?);
    }
    Ok(elements)
}

/// The members of a tuple whose last member is of any size.
pub fn tuple<const N: usize>(bytes: &[u8], members: [Member; N]) -> Result<[&[u8]; N], GVariantError> {
    let width = offset_width(bytes.len());
    let framed = members.iter().filter(|member| matches!(member, Member::Any(_))).count().saturating_sub(1);
    let table = bytes.len().checked_sub(framed * width).ok_or(GVariantError::Offset)?;
    let mut values = [[].as_slice(); N];
    let (mut position, mut offset) = (0, bytes.len());
    for (number, (value, kind)) in values.iter_mut().zip(members).enumerate() {
        let (alignment, end) = match kind {
            Member::Eight => (8, aligned(position, 8)?.checked_add(8).ok_or(GVariantError::Offset)?),
            Member::Any(alignment) if number + 1 == N => (alignment, table),
            Member::Any(alignment) => {
                offset -= width;
                (alignment, read_offset(bytes, offset, width)?)
            }
        };
        if end > table {
            return Err(GVariantError::Offset);
        }
        *value = member(bytes, &mut position, alignment, end)?;
    }
    Ok(values)
}

/// The bytes from the next aligned position to `end`, which must be inside of `bytes`.
fn member<'a>(
    bytes: &'a [u8],
    position: &mut usize,
    alignment: usize,
    end: usize,
) -> Result<&'a [u8], GVariantError> {
    let start = aligned(*position, alignment)?;
    let padding = bytes.get(*position..start).ok_or(GVariantError::Offset)?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(GVariantError::Padding);
    }
    *position = end;
    bytes.get(start..end).ok_or(GVariantError::Offset)
}

fn aligned(position: usize, alignment: usize) -> Result<usize, GVariantError> {
    position.checked_next_multiple_of(alignment).ok_or(GVariantError::Offset)
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

fn read_offset(bytes: &[u8], at: usize, width: usize) -> Result<usize, GVariantError> {
    let end = at.checked_add(width).ok_or(GVariantError::Offset)?;
    let offset = bytes.get(at..end).ok_or(GVariantError::Offset)?;
    let value = offset.iter().rev().fold(0, |value: u64, byte| (value << 8) | u64::from(*byte));
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
            Self::Offset => write!(f, "a framing offset points backwards or outside"),
            Self::Padding => write!(f, "bytes between two values are not zero"),
            Self::Text => write!(f, "a text is not UTF-8 with one NUL at its end"),
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
