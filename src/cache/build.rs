//! From entries to the file.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;
use zerocopy::IntoBytes as _;
use zerocopy::little_endian::{U32, U64};

use super::format::{Attributes, CHECKED, Header, MAGIC, Record, VERSION};
use crate::repo::{Checksum, KeptMetadata, ObjectInfo, ObjectKind, Xattrs};

/// Gathers entries in any order. One that is there twice is written once.
#[derive(Debug, Default)]
pub(super) struct Builder {
    records: Vec<Record>,
    attributes: Vec<Attributes>,
    interned: HashMap<(Owner, Xattrs), u32>,
    /// The same by the place in memory, which is quicker to look for. The list is kept, so that the place is its own.
    places: HashMap<(Owner, usize), (u32, Xattrs)>,
    text: Vec<u8>,
}

/// Mode, uid, gid.
type Owner = [u32; 3];

impl Builder {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn add(&mut self, object: &Checksum, info: &ObjectInfo, age: u8) {
        let Some(attributes) = self.attributes_of(info) else { return };
        let (digest, size) = match &info.kind {
            ObjectKind::Empty => ([0; 32], 0),
            ObjectKind::Regular { size, digest } => (digest.0, *size),
            ObjectKind::Symlink(target) => {
                let mut place = [0; 32];
                place[..8].copy_from_slice(&(self.text.len() as u64).to_le_bytes());
                self.text.extend_from_slice(target);
                (place, target.len() as u64)
            }
        };
        self.records.push(Record {
            object: object.0,
            digest,
            size: U64::new(size),
            attributes: U32::new(attributes),
            age,
            reserved: [0; 3],
        });
    }

    /// None for attributes of a size that no file system has: then the entry isn't worth keeping.
    fn attributes_of(&mut self, info: &ObjectInfo) -> Option<u32> {
        let owner = [info.mode, info.uid, info.gid];
        let place = (owner, Arc::as_ptr(&info.xattrs.0) as usize);
        if let Some((known, _)) = self.places.get(&place) {
            return Some(*known);
        }
        let key = (owner, info.xattrs.clone());
        let index = match self.interned.get(&key) {
            Some(known) => *known,
            None => self.new_attributes(owner, &info.xattrs)?,
        };
        self.interned.insert(key, index);
        self.places.insert(place, (index, info.xattrs.clone()));
        Some(index)
    }

    fn new_attributes(&mut self, [mode, uid, gid]: Owner, xattrs: &Xattrs) -> Option<u32> {
        let text = U64::new(self.text.len() as u64);
        for (name, value) in xattrs.0.iter() {
            for part in [name, value] {
                self.text.extend_from_slice(&u32::try_from(part.len()).ok()?.to_le_bytes());
            }
            self.text.extend_from_slice(name);
            self.text.extend_from_slice(value);
        }
        let index = u32::try_from(self.attributes.len()).ok()?;
        self.attributes.push(Attributes {
            mode: U32::new(mode),
            uid: U32::new(uid),
            gid: U32::new(gid),
            xattrs: U32::new(u32::try_from(xattrs.0.len()).ok()?),
            text,
        });
        Some(index)
    }

    pub(super) fn write(mut self, view: KeptMetadata, out: &mut impl Write) -> io::Result<()> {
        // Most of them are in order: what was loaded is one sorted run.
        self.records.sort_by_key(|record| record.object);
        self.records.dedup_by_key(|record| record.object);
        let mut header = Header {
            magic: MAGIC,
            version: U32::new(VERSION),
            reserved: U32::new(0),
            checksum: U64::new(0),
            view: U32::new(view.number()),
            attributes: U32::new(u32::try_from(self.attributes.len()).map_err(io::Error::other)?),
            records: U64::new(self.records.len() as u64),
            text: U64::new(self.text.len() as u64),
        };
        let parts = [self.records.as_bytes(), self.attributes.as_bytes(), &self.text];
        header.checksum = U64::new(checksum(&header, &parts));
        out.write_all(header.as_bytes())?;
        parts.iter().try_for_each(|part| out.write_all(part))
    }
}

/// The checksum in the header, of the rest of the header and what follows it.
pub(super) fn checksum(header: &Header, parts: &[&[u8]]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&header.as_bytes()[CHECKED..]);
    parts.iter().for_each(|part| hasher.update(part));
    hasher.digest()
}
