//! From the file to entries. The checksum finds damage; that no number can lead outside of the file is seen to anyway.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use ostree_seal_trust::digest::Digest;
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::build::{Builder, checksum};
use super::format::{Attributes, Header, MAGIC, Record, VERSION};
use crate::repo::{Checksum, KeptMetadata, ObjectInfo, ObjectKind, XattrList, Xattrs};
use crate::tree::TARGET_MAX;
use crate::tree::mode::{S_IFLNK, S_IFMT, S_IFREG};

/// The entries of a cache.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    records: Vec<Record>,
    index: Index,
    attributes: Vec<Owner>,
    text: Vec<u8>,
    /// Which records were asked for.
    used: Vec<AtomicBool>,
}

/// [`Attributes`] with their xattrs read.
#[derive(Debug)]
struct Owner {
    mode: u32,
    uid: u32,
    gid: u32,
    xattrs: Xattrs,
}

/// For each value of the first bits of a checksum, where its records begin: a record or two each, since checksums are
/// evenly spread.
#[derive(Debug, Default)]
struct Index {
    bits: u32,
    starts: Vec<u32>,
}

impl Loaded {
    /// Reads a file. What is wrong with it is the error.
    pub(super) fn read(mut file: File, view: KeptMetadata) -> io::Result<Self> {
        let len = file.metadata()?.len();
        let mut header = Header::new_zeroed();
        file.read_exact(header.as_mut_bytes()).map_err(|_| damaged("it is too short"))?;
        if header.magic != MAGIC || header.version.get() != VERSION {
            return Err(damaged("it is no cache of this version"));
        }
        let (mut records, mut attributes, mut text) = room(&header, len)?;
        file.read_exact(records.as_mut_bytes())?;
        file.read_exact(attributes.as_mut_bytes())?;
        file.read_exact(&mut text)?;
        let found = checksum(&header, &[records.as_bytes(), attributes.as_bytes(), &text]);
        if found != header.checksum.get() {
            return Err(damaged("its checksum is wrong"));
        }
        if header.view.get() != view.number() {
            return Err(damaged("it belongs to a repository that keeps owners or xattrs in another way"));
        }
        let index = Index::new(&records).ok_or_else(|| damaged("its records are not in order"))?;
        let attributes = attributes.iter().map(|attributes| Owner::parse(attributes, &text));
        let attributes =
            attributes.collect::<Option<_>>().ok_or_else(|| damaged("its xattrs are cut short"))?;
        let used = records.iter().map(|_| AtomicBool::new(false)).collect();
        Ok(Self { records, index, attributes, text, used })
    }

    /// The place of an object's record.
    pub(super) fn find(&self, object: &Checksum) -> Option<u32> {
        let range = self.index.range(&object.0)?;
        let place = range.start + self.records[range].iter().position(|record| record.object == object.0)?;
        u32::try_from(place).ok()
    }

    /// What is known of the object whose record has this place; a note that somebody asked.
    pub(super) fn info(&self, place: u32) -> Option<ObjectInfo> {
        let info = self.parse(self.records.get(place as usize)?)?;
        self.used[place as usize].store(true, Ordering::Relaxed);
        Some(info)
    }

    pub(super) fn used_count(&self) -> u64 {
        self.used.iter().filter(|used| used.load(Ordering::Relaxed)).count() as u64
    }

    /// Adds entries to another cache with the age that `keep` gives them. It gets the age that an entry had if nobody
    /// asked for it.
    pub(super) fn retain_into(
        &self,
        builder: &mut Builder,
        keep: impl Fn(&Checksum, Option<u8>) -> Option<u8>,
    ) {
        for (record, used) in self.records.iter().zip(&self.used) {
            let object = Checksum(record.object);
            let unused = !used.load(Ordering::Relaxed);
            let Some(age) = keep(&object, unused.then_some(record.age)) else { continue };
            if let Some(info) = self.parse(record) {
                builder.add(&object, &info, age);
            }
        }
    }

    fn parse(&self, record: &Record) -> Option<ObjectInfo> {
        let Owner { mode, uid, gid, xattrs } = self.attributes.get(record.attributes.get() as usize)?;
        let size = record.size.get();
        let kind = match mode & S_IFMT {
            S_IFREG if size == 0 => ObjectKind::Empty,
            S_IFREG => ObjectKind::Regular { size, digest: Digest(record.digest) },
            S_IFLNK => {
                let len = usize::try_from(size).ok().filter(|len| (1..=TARGET_MAX).contains(len))?;
                let start = u64::from_le_bytes(record.digest[..8].try_into().ok()?);
                ObjectKind::Symlink(piece(&self.text, start, len)?.into())
            }
            _ => return None,
        };
        Some(ObjectInfo { uid: *uid, gid: *gid, mode: *mode, xattrs: xattrs.clone(), kind })
    }
}

impl Owner {
    fn parse(attributes: &Attributes, text: &[u8]) -> Option<Self> {
        let mut rest = text.get(usize::try_from(attributes.text.get()).ok()?..)?;
        let mut list = XattrList::new();
        for _ in 0..attributes.xattrs.get() {
            let (name_len, after) = rest.split_first_chunk()?;
            let (value_len, after) = after.split_first_chunk()?;
            let (name, after) = after.split_at_checked(u32::from_le_bytes(*name_len) as usize)?;
            let (value, after) = after.split_at_checked(u32::from_le_bytes(*value_len) as usize)?;
            list.push((name.into(), value.into()));
            rest = after;
        }
        Some(Self {
            mode: attributes.mode.get(),
            uid: attributes.uid.get(),
            gid: attributes.gid.get(),
            xattrs: Xattrs(list.into()),
        })
    }
}

impl Index {
    /// None if the records are not in strict order.
    fn new(records: &[Record]) -> Option<Self> {
        if !records.is_sorted_by(|a, b| a.object < b.object) {
            return None;
        }
        let bits = records.len().max(2).ilog2();
        let mut index = Self { bits, starts: Vec::with_capacity((1 << bits) + 1) };
        for (place, record) in (0..).zip(records) {
            let bucket = index.bucket(&record.object);
            while index.starts.len() <= bucket {
                index.starts.push(place);
            }
        }
        index.starts.resize((1 << bits) + 1, u32::try_from(records.len()).ok()?);
        Some(index)
    }

    /// Where the record of an object is, if there is one.
    fn range(&self, object: &[u8; 32]) -> Option<Range<usize>> {
        let starts = self.starts.get(self.bucket(object)..)?;
        let [start, end] = starts.first_chunk()?;
        Some(*start as usize..*end as usize)
    }

    #[allow(clippy::big_endian_bytes, reason = "the order of checksums is that of their first bytes")]
    fn bucket(&self, object: &[u8; 32]) -> usize {
        let first = object.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        first.checked_shr(32 - self.bits.min(32)).unwrap_or(0) as usize
    }
}

/// Room for the three parts of the file, if it has the length that its header says.
fn room(header: &Header, len: u64) -> io::Result<(Vec<Record>, Vec<Attributes>, Vec<u8>)> {
    let part = |count: u64, size: usize| count.checked_mul(size as u64);
    let lengths = [
        Some(size_of::<Header>() as u64),
        part(header.records.get(), size_of::<Record>()),
        part(header.attributes.get().into(), size_of::<Attributes>()),
        Some(header.text.get()),
    ];
    let total = lengths.into_iter().try_fold(0_u64, |sum, len| sum.checked_add(len?));
    let records = u32::try_from(header.records.get()).map_err(|_| damaged("it is too large"))?;
    if total != Some(len) {
        return Err(damaged("its length is not what its header says"));
    }
    let text = usize::try_from(header.text.get()).map_err(|_| damaged("it is too large"))?;
    Ok((
        vec![Record::new_zeroed(); records as usize],
        vec![Attributes::new_zeroed(); header.attributes.get() as usize],
        vec![0; text],
    ))
}

fn piece(text: &[u8], start: u64, len: usize) -> Option<&[u8]> {
    text.get(usize::try_from(start).ok()?..)?.get(..len)
}

fn damaged(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
