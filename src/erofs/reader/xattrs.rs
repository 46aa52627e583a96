//! One inode's xattrs: what was the input's, and what the format added for overlayfs.

use std::collections::HashMap;

use ostree_seal_trust::digest::Digest;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, IntoBytes};

use super::error::{ReadErrorKind, Result};
use super::image::{Budget, Image};
use super::inode::Inode;
use crate::erofs::format::{OvlMetacopy, XATTR_PREFIX_LUSTRE, XATTR_PREFIXES, XattrEntry, XattrIbodyHeader};
use crate::erofs::overlay::{self, METACOPY, Pair, REDIRECT, REDIRECT_ROOT};
use crate::tree::{Span, TARGET_MAX, Tree, XattrId, XattrsId};

/// The xattrs of one inode.
pub(super) struct ReadXattrs {
    /// All that were the input's, marks included.
    pub(super) all: XattrsId,
    /// If both marks of a whiteout are there, the others.
    pub(super) of_whiteout: Option<XattrsId>,
    /// If both marks of a directory with whiteouts are there, the others. Only one kind of marks is the format's own on one
    /// inode; the other may be the input's.
    pub(super) of_directory: Option<XattrsId>,
    /// Path of the backing file; empty without one.
    pub(super) payload: Span,
    /// Digest of the backing file, if it is known.
    pub(super) digest: Option<Digest>,
}

/// What one xattr is.
#[derive(Clone, Copy)]
enum Meaning {
    Input(XattrId),
    Redirect(Span),
    Metacopy(Option<Digest>),
    Overlay,
}

/// Shared xattrs that were read already, by id. Each is read once, however many inodes have it.
#[derive(Default)]
struct Known(HashMap<u32, Meaning>);

/// The xattrs that mark whiteouts and their directories.
struct Markers {
    whiteout: [XattrId; 2],
    whiteouts: [XattrId; 2],
    empty: Span,
}

impl Markers {
    fn new(tree: &mut Tree) -> Result<Self> {
        let mut marks = |pairs: [Pair; 2]| -> Result<[XattrId; 2]> {
            let [first, second] = pairs.map(|(name, value)| {
                let name = overlay::unescape(name).expect("invariant: the marker's name is an escaped one");
                tree.add_xattr(&name, value)
            });
            Ok([first?, second?])
        };
        let [first, second, ..] = overlay::WHITEOUTS;
        let (whiteout, whiteouts) = (marks(overlay::WHITEOUT)?, marks([first, second])?);
        Ok(Self { whiteout, whiteouts, empty: tree.add_bytes(b"")? })
    }
}

/// An image, and the tree that it becomes.
pub(super) struct Workspace<'i> {
    pub(super) image: Image<'i>,
    pub(super) tree: Tree,
    pub(super) budget: Budget,
    pub(super) buffer: Vec<u8>,
    known: Known,
    markers: Markers,
}

impl<'i> Workspace<'i> {
    pub(super) fn new(image: Image<'i>) -> Result<Self> {
        let mut tree = Tree::new();
        Ok(Self {
            image,
            budget: image.budget(),
            buffer: Vec::new(),
            known: Known::default(),
            markers: Markers::new(&mut tree)?,
            tree,
        })
    }

    /// Reads the xattrs of an inode.
    pub(super) fn xattrs(&mut self, inode: &Inode) -> Result<ReadXattrs> {
        let mut meanings = Vec::new();
        let (mut inline, shared) = area(self.image.bytes, inode)?;
        while !inline.is_empty() {
            meanings.push(self.next_entry(&mut inline)?);
        }
        for id in shared {
            meanings.push(self.shared_entry(id.get())?);
        }
        self.found(&meanings)
    }

    fn found(&mut self, meanings: &[Meaning]) -> Result<ReadXattrs> {
        let mut payload = self.markers.empty;
        let mut digest = None;
        let mut ids = Vec::with_capacity(meanings.len());
        for meaning in meanings {
            match meaning {
                Meaning::Input(id) => ids.push(*id),
                Meaning::Redirect(path) => payload = *path,
                Meaning::Metacopy(known) => digest = *known,
                Meaning::Overlay => {}
            }
        }
        let (of_whiteout, of_directory) =
            (self.without(&ids, self.markers.whiteout)?, self.without(&ids, self.markers.whiteouts)?);
        let all = self.tree.add_xattr_set(ids)?;
        Ok(ReadXattrs { all, of_whiteout, of_directory, payload, digest })
    }

    /// The set without these marks, if it has both.
    fn without(&mut self, ids: &[XattrId], marks: [XattrId; 2]) -> Result<Option<XattrsId>> {
        if !marks.iter().all(|mark| ids.contains(mark)) {
            return Ok(None);
        }
        let others: Vec<XattrId> = ids.iter().copied().filter(|id| !marks.contains(id)).collect();
        Ok(Some(self.tree.add_xattr_set(others)?))
    }

    fn shared_entry(&mut self, id: u32) -> Result<Meaning> {
        if let Some(known) = self.known.0.get(&id) {
            return Ok(*known);
        }
        let mut bytes = self.image.shared_xattr(id)?;
        let before = bytes.len();
        let meaning = self.next_entry(&mut bytes)?;
        self.budget.take((before - bytes.len()) as u64)?;
        self.known.0.insert(id, meaning);
        Ok(meaning)
    }

    /// Takes one entry off the start of `bytes`.
    fn next_entry(&mut self, bytes: &mut &[u8]) -> Result<Meaning> {
        let Entry { prefix, suffix, value } = Entry::take(bytes)?;
        self.buffer.clear();
        self.buffer.extend_from_slice(prefix);
        self.buffer.extend_from_slice(suffix);
        if self.buffer.contains(&0) {
            return Err(ReadErrorKind::Nul);
        }
        self.meaning(value)
    }

    /// What the xattr is whose name is in the buffer.
    fn meaning(&mut self, value: &[u8]) -> Result<Meaning> {
        if self.buffer == REDIRECT {
            let payload = payload(value)?;
            return Ok(Meaning::Redirect(self.tree.add_bytes(payload)?));
        }
        if self.buffer == METACOPY {
            return Ok(Meaning::Metacopy(digest(value)?));
        }
        match overlay::unescape(&self.buffer) {
            Some(name) => Ok(Meaning::Input(self.tree.add_xattr(&name, value)?)),
            None => Ok(Meaning::Overlay),
        }
    }
}

/// One xattr as an image has it: its name in two parts, and its value.
pub(super) struct Entry<'i> {
    prefix: &'static [u8],
    suffix: &'i [u8],
    pub(super) value: &'i [u8],
}

impl<'i> Entry<'i> {
    /// Takes one entry off the start of `bytes`.
    pub(super) fn take(bytes: &mut &'i [u8]) -> Result<Self> {
        let (entry, rest) = XattrEntry::ref_from_prefix(bytes).map_err(|_| ReadErrorKind::Xattr)?;
        let (name_len, value_len) = (usize::from(entry.e_name_len), usize::from(entry.e_value_size.get()));
        let (suffix, value) = rest.split_at_checked(name_len).ok_or(ReadErrorKind::Xattr)?;
        let value = value.get(..value_len).ok_or(ReadErrorKind::Xattr)?;
        let len = (size_of::<XattrEntry>() + name_len + value_len).next_multiple_of(4);
        *bytes = bytes.get(len..).ok_or(ReadErrorKind::Xattr)?;
        let mut prefixes = XATTR_PREFIXES.into_iter().chain([XATTR_PREFIX_LUSTRE, (0, b"".as_slice())]);
        let prefix = prefixes.find(|(index, _)| *index == entry.e_name_index);
        let (_, prefix) = prefix.ok_or(ReadErrorKind::Xattr)?;
        Ok(Self { prefix, suffix, value })
    }

    /// How long the entry is that begins with these bytes.
    pub(super) fn len_of(bytes: &[u8]) -> Result<usize> {
        let (entry, _) = XattrEntry::ref_from_prefix(bytes).map_err(|_| ReadErrorKind::Xattr)?;
        let (name_len, value_len) = (usize::from(entry.e_name_len), usize::from(entry.e_value_size.get()));
        Ok((size_of::<XattrEntry>() + name_len + value_len).next_multiple_of(4))
    }

    /// The full name.
    pub(super) fn name(&self) -> Result<Vec<u8>> {
        let name = [self.prefix, self.suffix].concat();
        if name.contains(&0) { Err(ReadErrorKind::Nul) } else { Ok(name) }
    }

    pub(super) fn is_named(&self, name: &[u8]) -> bool {
        name.strip_prefix(self.prefix) == Some(self.suffix)
    }
}

/// The xattrs that an inode has for itself, and the ids of those that it shares.
pub(super) fn area<'i>(image: &'i [u8], inode: &Inode) -> Result<(&'i [u8], &'i [U32])> {
    parts(&image[inode.xattrs..][..inode.xattrs_len])
}

/// The same of an xattr area.
pub(super) fn parts(area: &[u8]) -> Result<(&[u8], &[U32])> {
    if area.is_empty() {
        return Ok((area, &[]));
    }
    let (header, rest) = XattrIbodyHeader::ref_from_prefix(area).map_err(|_| ReadErrorKind::Xattr)?;
    let shared_len = usize::from(header.h_shared_count) * size_of::<U32>();
    let (shared, inline) = rest.split_at_checked(shared_len).ok_or(ReadErrorKind::Xattr)?;
    Ok((inline, <[U32]>::ref_from_bytes(shared).map_err(|_| ReadErrorKind::Xattr)?))
}

/// The path in a redirect value, below the directory of all backing files.
pub(super) fn payload(value: &[u8]) -> Result<&[u8]> {
    let payload = value.strip_prefix(REDIRECT_ROOT).unwrap_or(value);
    if payload.len() > TARGET_MAX {
        return Err(ReadErrorKind::Xattr);
    }
    if payload.contains(&0) { Err(ReadErrorKind::Nul) } else { Ok(payload) }
}

/// The digest in a metacopy value.
pub(super) fn digest(value: &[u8]) -> Result<Option<Digest>> {
    if value.is_empty() {
        return Ok(None);
    }
    let record = OvlMetacopy::read_from_bytes(value).map_err(|_| ReadErrorKind::Metacopy)?;
    let digest = Digest(record.digest);
    if overlay::metacopy(&digest).as_bytes() == value {
        Ok(Some(digest))
    } else {
        Err(ReadErrorKind::Metacopy)
    }
}
