//! The file: a header, records in the order of their objects, attributes, text. All numbers are little-endian.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first bytes of a cache.
pub(super) const MAGIC: [u8; 8] = *b"ostseal\0";
/// What this version writes and reads.
pub(super) const VERSION: u32 = 1;

/// What the file begins with.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    pub(super) magic: [u8; 8],
    pub(super) version: U32,
    pub(super) reserved: U32,

    /// XXH3 (64 bits, seed 0) of all that follows this field.
    pub(super) checksum: U64,
    /// Which objects are meant; see [`crate::repo::KeptMetadata`].
    pub(super) view: U32,
    /// Number of [`Attributes`].
    pub(super) attributes: U32,

    /// Number of [`Record`]s.
    pub(super) records: U64,
    /// Bytes of text.
    pub(super) text: U64,
}
const _: () = assert!(size_of::<Header>() == 48);
/// Where the checked part of the header begins.
pub(super) const CHECKED: usize = 24;

/// A file object.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Record {
    /// The object's checksum.
    pub(super) object: [u8; 32],

    /// A regular file's fs-verity digest. A symlink's target: where in the text it begins (u64), and zeros.
    pub(super) digest: [u8; 32],

    /// Bytes of content, or of the target.
    pub(super) size: U64,
    /// Which of the attributes it has.
    pub(super) attributes: U32,
    /// How often it went unused while the object was missing.
    pub(super) age: u8,
    pub(super) reserved: [u8; 3],
}
const _: () = assert!(size_of::<Record>() == 80);

/// Owner, mode and xattrs, which many objects share.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Attributes {
    pub(super) mode: U32,
    pub(super) uid: U32,
    pub(super) gid: U32,
    /// Number of xattrs.
    pub(super) xattrs: U32,

    /// Where in the text they begin: for each one the lengths of name and value (u32), name, value.
    pub(super) text: U64,
}
const _: () = assert!(size_of::<Attributes>() == 24);
