//! File objects of archive repositories: a header and the content as raw deflate.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use anyhow::{Context as _, bail, ensure};
use flate2::bufread::DeflateDecoder;
use ostree_seal_trust::digest::Digest;
use ostree_seal_trust::gvariant::{GVariantError, Tuple, text};

use super::checksum::Checksum;
use super::dirmeta::parse_xattrs;
use super::name::{Inode, NameHasher};
use super::object::{ObjectKind, symlink};
use super::xattrs::XattrList;
use crate::merkle::FileHasher;
use crate::tree::mode::{S_IFLNK, S_IFMT, S_IFREG};

/// The largest header that is read, in bytes: more than any xattrs that fit into an image.
const HEADER_MAX: usize = 1024 * 1024;

/// What a `.filez` holds.
#[derive(Debug)]
pub(super) struct Archived {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    pub(super) xattrs: XattrList,
    pub(super) kind: ObjectKind,
}

/// The header, `(tuuuusa(ayay))` in GVariant with big-endian numbers.
#[derive(Debug, PartialEq, Eq)]
struct Header<'a> {
    size: u64,
    uid: u32,
    gid: u32,
    mode: u32,
    target: &'a str,
    /// `a(ayay)`
    xattrs: &'a [u8],
}

/// Reads an object and compares it with its name. Here that costs little beside the decompression, and the header
/// holds what no digest of the content would tell.
pub(super) fn read(file: File, object: &Checksum, hasher: &mut FileHasher) -> anyhow::Result<Archived> {
    let mut reader = BufReader::with_capacity(64 * 1024, file);
    let bytes = read_header(&mut reader)?;
    let header = Header::parse(&bytes).context("reading its header")?;
    let Header { uid, gid, mode, target, .. } = header;
    let inode = Inode { uid, gid, mode, target: target.as_bytes() };
    let mut name = NameHasher::new(inode, header.xattrs);
    let kind = match header.mode & S_IFMT {
        S_IFREG => {
            ensure!(header.target.is_empty(), "its header gives a regular file a symlink target");
            let digest = inflate(reader, &header, &mut name, hasher)?;
            digest.map_or(ObjectKind::Empty, |digest| ObjectKind::Regular { size: header.size, digest })
        }
        S_IFLNK => symlink(header.target.as_bytes().to_vec())?,
        _ => bail!("the mode {:o} in its header is neither a regular file nor a symlink", header.mode),
    };
    name.require(object)?;
    let xattrs = parse_xattrs(header.xattrs).context("reading its header")?;
    Ok(Archived {
        uid: header.uid,
        gid: header.gid,
        mode: header.mode,
        xattrs: xattrs.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        kind,
    })
}

/// What an object is as far as its header says, the size of its content included. Nothing is compared with its name.
pub(super) fn describe(file: File) -> anyhow::Result<(Archived, u64)> {
    let bytes = read_header(&mut BufReader::new(file))?;
    let header = Header::parse(&bytes).context("reading its header")?;
    let (kind, size) = match header.mode & S_IFMT {
        S_IFREG => (ObjectKind::Empty, header.size),
        S_IFLNK => (symlink(header.target.as_bytes().to_vec())?, 0),
        _ => bail!("the mode {:o} in its header is neither a regular file nor a symlink", header.mode),
    };
    let Header { uid, gid, mode, .. } = header;
    let xattrs = parse_xattrs(header.xattrs).context("reading its header")?;
    let xattrs = xattrs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    Ok((Archived { uid, gid, mode, xattrs, kind }, size))
}

/// The content of an object, decompressed; of its size and one byte more at most.
pub(super) fn content(file: File) -> anyhow::Result<impl Read> {
    let mut reader = BufReader::with_capacity(64 * 1024, file);
    let bytes = read_header(&mut reader)?;
    let size = Header::parse(&bytes).context("reading its header")?.size;
    Ok(DeflateDecoder::new(reader).take(size.saturating_add(1)))
}

/// The header's bytes: they follow their length (`u32`, big-endian) and 4 zeros.
fn read_header(reader: &mut impl Read) -> anyhow::Result<Vec<u8>> {
    let mut prefix = [0; 8];
    reader.read_exact(&mut prefix).context("reading its header")?;
    let [a, b, c, d, padding @ ..] = prefix;
    let len = usize::try_from(from_be([a, b, c, d]))?;
    ensure!(padding == [0; 4], "its header begins with wrong padding");
    ensure!(len <= HEADER_MAX, "its header has {len} bytes, at most {HEADER_MAX} are possible");
    let mut bytes = vec![0; len];
    reader.read_exact(&mut bytes).context("reading its header")?;
    Ok(bytes)
}

#[allow(clippy::big_endian_bytes, reason = "OSTree's numbers are big-endian on every machine")]
fn from_be(bytes: [u8; 4]) -> u32 {
    u32::from_be_bytes(bytes)
}

impl<'a> Header<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, GVariantError> {
        let mut tuple = Tuple::new(bytes);
        let size = tuple.be_u64()?;
        let uid = tuple.be_u32()?;
        let gid = tuple.be_u32()?;
        let mode = tuple.be_u32()?;
        let _rdev: [u8; 4] = tuple.fixed()?;
        let target = text(tuple.framed(1)?)?;
        Ok(Self { size, uid, gid, mode, target, xattrs: tuple.last(1)? })
    }
}

/// Hashes the content, once for the object's name and once for its digest; none for an empty file.
fn inflate(
    reader: impl BufRead,
    header: &Header<'_>,
    name: &mut NameHasher,
    hasher: &mut FileHasher,
) -> anyhow::Result<Option<Digest>> {
    // One byte more than the header promises is enough to know that it lies.
    let content = DeflateDecoder::new(reader).take(header.size.saturating_add(1));
    let (digest, size) =
        hasher.digest_reader(Tee { reader: content, name }).context("decompressing its content")?;
    ensure!(size <= header.size, "its content has more bytes than its header says: {}", header.size);
    ensure!(size == header.size, "its content has {size} bytes, its header says {}", header.size);
    Ok((size > 0).then_some(digest))
}

/// Hashes what is read through it.
struct Tee<'a, R> {
    reader: R,
    name: &'a mut NameHasher,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.reader.read(buffer)?;
        self.name.update(&buffer[..len]);
        Ok(len)
    }
}
