//! Some inodes of an image, without the rest: each block is read when it is needed. What is found is what [`read`](super::read)
//! makes of the same inode. The image may come from an enemy, as there: an inode is read once, however many names lead
//! to it, and all inodes together take no more bytes than the image has.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::rc::Rc;

use ostree_seal_trust::digest::Digest;

use super::content;
use super::error::{ImageError, ReadErrorKind};
use super::image::{Areas, Budget};
use super::inode::Inode;
use super::xattrs::{self, Entry};
use crate::erofs::format::{BLOCK_LEN, InodeExtended, SLOT_LEN, XattrEntry};
use crate::erofs::overlay::{self, METACOPY, REDIRECT};
use crate::tree::{INLINE_MAX, Metadata, TARGET_MAX, XattrsId, mode};

/// Blocks that are kept: inodes of a directory lie side by side.
const KEPT: usize = 1024;

/// The bytes of an image, wherever they are.
pub trait Bytes {
    /// How many there are.
    fn len(&self) -> u64;
    /// Fills the buffer with the bytes from an offset on.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why something of an image was not found.
#[derive(Debug)]
pub enum LookupError {
    /// The image is not what an image should be.
    Image(ReadErrorKind),
    /// Its bytes could not be read.
    Io(io::Error),
}

type Result<T> = std::result::Result<T, LookupError>;

/// Name and value of an xattr.
pub type NamedValue = (Vec<u8>, Vec<u8>);

/// An inode, as [`read`](super::read) makes a node of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundInode {
    /// What `stat` says; its xattrs are beside.
    pub meta: Metadata,
    /// What it is.
    pub content: Rc<FoundContent>,
    /// The input's xattrs, sorted by name.
    pub xattrs: Rc<Vec<Rc<NamedValue>>>,
    /// Its place in the image: names with the same one are hard links.
    pub slot: usize,
}

/// What an inode is, beside its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundContent {
    /// A directory.
    Directory,
    /// A regular file whose content lies in the image.
    Inline(Vec<u8>),
    /// A regular file whose content lies in a backing file.
    External {
        /// Path below the object directory; empty if the image names none.
        payload: Vec<u8>,
        /// fs-verity digest of the content, if the image has one.
        digest: Option<Digest>,
    },
    /// A symlink and its target.
    Symlink(Vec<u8>),
    /// A device, FIFO or socket.
    Special,
}

/// Looks inodes up in an image.
pub struct Lookup<B> {
    bytes: B,
    len: usize,
    areas: Areas,
    budget: Budget,
    blocks: HashMap<usize, Box<[u8]>>,
    inodes: HashMap<usize, Rc<Raw>>,
    shared: HashMap<u32, Rc<NamedValue>>,
    /// Directories with the marks of whiteouts, and whether one is there.
    holders: HashMap<usize, bool>,
}

/// An inode before its directory has decided whether it is a whiteout.
#[derive(Debug)]
struct Raw {
    inode: Inode,
    /// All xattrs that were the input's.
    xattrs: Rc<Vec<Rc<NamedValue>>>,
    content: Rc<FoundContent>,
}

/// Names of a directory, each with the slot of its inode.
type Names = Vec<(Vec<u8>, usize)>;

/// What an inode's xattrs say.
struct Area {
    /// Those of the input.
    xattrs: Vec<Rc<NamedValue>>,
    /// Path of the backing file.
    payload: Vec<u8>,
    digest: Option<Digest>,
}

impl<B: Bytes> Lookup<B> {
    /// Reads header and superblock.
    pub fn new(bytes: B) -> Result<Self> {
        let len = usize::try_from(bytes.len()).map_err(|_| ReadErrorKind::Unsupported("length"))?;
        let mut first = vec![0; len.min(BLOCK_LEN)];
        bytes.read_at(0, &mut first)?;
        let areas = Areas::new(&first, len)?;
        Ok(Self {
            bytes,
            len,
            areas,
            budget: Budget::of(len),
            blocks: HashMap::new(),
            inodes: HashMap::new(),
            shared: HashMap::new(),
            holders: HashMap::new(),
        })
    }

    /// The root directory.
    pub fn root(&mut self) -> Result<FoundInode> {
        let slot = self.areas.root()?;
        let raw = self.raw(slot)?;
        if !raw.inode.is_directory() {
            return Err(ReadErrorKind::RootNotDirectory.into());
        }
        self.found(slot, &raw, false)
    }

    /// The names of the directory in a slot in their order, each with its inode. Real whiteouts are left out, as overlayfs does.
    pub fn entries(&mut self, directory: usize) -> Result<Vec<(Vec<u8>, FoundInode)>> {
        let (parent, names) = self.names(directory)?;
        let may_hold = has(&parent.xattrs, &overlay::WHITEOUTS[..2]);
        let mut entries = Vec::with_capacity(names.len());
        for (name, slot) in names {
            let raw = self.raw(slot)?;
            if !raw.inode.is_whiteout() {
                entries.push((name, self.found(slot, &raw, may_hold)?));
            }
        }
        Ok(entries)
    }

    /// What a name of the directory in a slot stands for.
    pub fn entry(&mut self, directory: usize, name: &[u8]) -> Result<Option<FoundInode>> {
        let (parent, names) = self.names(directory)?;
        let Ok(place) = names.binary_search_by(|(other, _)| other.as_slice().cmp(name)) else {
            return Ok(None);
        };
        let slot = names[place].1;
        let raw = self.raw(slot)?;
        if raw.inode.is_whiteout() {
            return Ok(None);
        }
        let may_hold = has(&parent.xattrs, &overlay::WHITEOUTS[..2]);
        self.found(slot, &raw, may_hold).map(Some)
    }

    /// The names of a directory with the slots that they stand for, `.` and `..` left out.
    fn names(&mut self, slot: usize) -> Result<(Rc<Raw>, Names)> {
        let raw = self.raw(slot)?;
        if !raw.inode.is_directory() {
            return Ok((raw, Vec::new()));
        }
        let (start, len) = raw.inode.blocks;
        let mut blocks = self.range(start, len)?;
        blocks.extend(self.range(raw.inode.tail(), raw.inode.tail_len)?);
        let mut names = Names::new();
        let mut before = Vec::new();
        for block in blocks.chunks(BLOCK_LEN) {
            for entry in content::entries(block)? {
                let (name, nid) = entry?;
                if name <= before.as_slice() {
                    return Err(ReadErrorKind::NotSorted.into());
                }
                before = name.to_vec();
                if name != b"." && name != b".." {
                    check_name(name)?;
                    names.push((name.to_vec(), self.areas.slot(nid)?));
                }
            }
        }
        Ok((raw, names))
    }

    /// What an inode is in a directory that may hold whiteouts or not.
    fn found(&mut self, slot: usize, raw: &Rc<Raw>, may_be_whiteout: bool) -> Result<FoundInode> {
        let meta = raw.inode.meta(XattrsId::NONE);
        let mut found =
            FoundInode { meta, content: Rc::clone(&raw.content), xattrs: Rc::clone(&raw.xattrs), slot };
        let becomes_whiteout = may_be_whiteout && is_marked(raw);
        if becomes_whiteout {
            found.meta.mode = meta.mode & !mode::S_IFMT | mode::S_IFCHR;
            found.content = Rc::new(FoundContent::Special);
        }
        let is_parent = raw.inode.is_directory() && has(&raw.xattrs, &overlay::WHITEOUTS[..2]);
        if becomes_whiteout || (is_parent && self.holds_whiteout(slot)?) {
            // Both kinds of marks go, wherever one of them counts.
            let kinds = [&overlay::WHITEOUT[..], &overlay::WHITEOUTS[..2]];
            let marks: Vec<_> = kinds.into_iter().filter(|marks| has(&raw.xattrs, marks)).flatten().collect();
            let is_input = |xattr: &&Rc<NamedValue>| !marks.iter().any(|mark| is(xattr, mark));
            found.xattrs = Rc::new(raw.xattrs.iter().filter(is_input).cloned().collect());
        }
        Ok(found)
    }

    fn holds_whiteout(&mut self, directory: usize) -> Result<bool> {
        if let Some(known) = self.holders.get(&directory) {
            return Ok(*known);
        }
        let mut holds = false;
        for (_, slot) in self.names(directory)?.1 {
            holds |= is_marked(&*self.raw(slot)?);
        }
        self.holders.insert(directory, holds);
        Ok(holds)
    }

    /// The inode in a slot, read once.
    fn raw(&mut self, slot: usize) -> Result<Rc<Raw>> {
        if let Some(known) = self.inodes.get(&slot) {
            return Ok(Rc::clone(known));
        }
        let start = slot * SLOT_LEN;
        let record = self.range(start, size_of::<InodeExtended>().min(self.len.saturating_sub(start)))?;
        let inode = Inode::read(&record, start, self.len, self.areas.build_time)?;
        self.budget.take(inode.taken())?;
        let raw = if inode.is_whiteout() {
            Raw { inode, xattrs: Rc::default(), content: Rc::new(FoundContent::Special) }
        } else {
            let area = self.range(inode.xattrs, inode.xattrs_len)?;
            let Area { xattrs, payload, digest } = self.xattrs(&area)?;
            let content = Rc::new(self.content(&inode, payload, digest)?);
            Raw { inode, xattrs: Rc::new(xattrs), content }
        };
        let raw = Rc::new(raw);
        self.inodes.insert(slot, Rc::clone(&raw));
        Ok(raw)
    }

    fn content(&mut self, inode: &Inode, payload: Vec<u8>, digest: Option<Digest>) -> Result<FoundContent> {
        let st_mode = inode.meta(XattrsId::NONE).mode;
        Ok(match st_mode & mode::S_IFMT {
            mode::S_IFDIR => FoundContent::Directory,
            mode::S_IFREG if inode.is_external() => FoundContent::External { payload, digest },
            mode::S_IFREG => FoundContent::Inline(self.whole(inode, INLINE_MAX)?),
            mode::S_IFLNK => FoundContent::Symlink(self.target(inode)?),
            mode::S_IFCHR | mode::S_IFBLK | mode::S_IFIFO | mode::S_IFSOCK => FoundContent::Special,
            _ => return Err(ReadErrorKind::FileType(st_mode).into()),
        })
    }

    fn target(&mut self, inode: &Inode) -> Result<Vec<u8>> {
        let target = self.whole(inode, TARGET_MAX)?;
        if target.is_empty() {
            return Err(ReadErrorKind::Size(0).into());
        }
        if target.contains(&0) { Err(ReadErrorKind::Nul.into()) } else { Ok(target) }
    }

    fn whole(&mut self, inode: &Inode, max: usize) -> Result<Vec<u8>> {
        let size = inode.blocks.1 + inode.tail_len;
        if size > max {
            return Err(ReadErrorKind::Size(size as u64).into());
        }
        let mut whole = self.range(inode.blocks.0, inode.blocks.1)?;
        whole.extend(self.range(inode.tail(), inode.tail_len)?);
        Ok(whole)
    }

    /// The input's xattrs in an area, and what the others say of the backing file.
    fn xattrs(&mut self, area: &[u8]) -> Result<Area> {
        let (mut inline, ids) = xattrs::parts(area)?;
        let mut all = Vec::new();
        while !inline.is_empty() {
            let entry = Entry::take(&mut inline)?;
            all.push(Rc::new((entry.name()?, entry.value.to_vec())));
        }
        for id in ids {
            all.push(self.shared(id.get())?);
        }
        let (mut payload, mut digest) = (Vec::new(), None);
        let mut input: Vec<Rc<NamedValue>> = Vec::with_capacity(all.len());
        for xattr in all {
            let (name, value) = &*xattr;
            if name == REDIRECT {
                payload = xattrs::payload(value)?.to_vec();
            } else if name == METACOPY {
                digest = xattrs::digest(value)?;
            } else if let Some(unescaped) = overlay::unescape(name) {
                let same = unescaped == name.as_slice();
                input.push(if same { xattr } else { Rc::new((unescaped.into_owned(), value.clone())) });
            }
        }
        // The last of a repeated name wins.
        input.reverse();
        input.sort_by(|a, b| a.0.cmp(&b.0));
        input.dedup_by(|a, b| a.0 == b.0);
        Ok(Area { xattrs: input, payload, digest })
    }

    /// A shared xattr, read once.
    fn shared(&mut self, id: u32) -> Result<Rc<NamedValue>> {
        if let Some(known) = self.shared.get(&id) {
            return Ok(Rc::clone(known));
        }
        let start = self.areas.shared_xattr(id)?;
        let head = self.range(start, size_of::<XattrEntry>().min(self.len - start))?;
        let len = Entry::len_of(&head)?.min(self.len - start);
        let bytes = self.range(start, len)?;
        let mut rest = bytes.as_slice();
        let entry = Entry::take(&mut rest)?;
        self.budget.take((bytes.len() - rest.len()) as u64)?;
        let xattr = Rc::new((entry.name()?, entry.value.to_vec()));
        self.shared.insert(id, Rc::clone(&xattr));
        Ok(xattr)
    }

    /// Bytes of the image, block by block.
    fn range(&mut self, start: usize, len: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(len);
        let end = start + len;
        let mut at = start;
        while at < end {
            let (number, offset) = (at / BLOCK_LEN, at % BLOCK_LEN);
            let block = self.block(number)?;
            let piece = block.get(offset..block.len().min(offset + end - at)).unwrap_or_default();
            if piece.is_empty() {
                return Err(ReadErrorKind::Outside("content").into());
            }
            bytes.extend_from_slice(piece);
            at += piece.len();
        }
        Ok(bytes)
    }

    fn block(&mut self, number: usize) -> Result<&[u8]> {
        if self.blocks.len() >= KEPT && !self.blocks.contains_key(&number) {
            self.blocks.clear();
        }
        match self.blocks.entry(number) {
            std::collections::hash_map::Entry::Occupied(known) => Ok(known.into_mut()),
            std::collections::hash_map::Entry::Vacant(place) => {
                let start = number * BLOCK_LEN;
                let mut block = vec![0; BLOCK_LEN.min(self.len.saturating_sub(start))].into_boxed_slice();
                self.bytes.read_at(start as u64, &mut block)?;
                Ok(place.insert(block))
            }
        }
    }
}

/// Whether an inode has the marks of a whiteout and nothing else to be.
fn is_marked(raw: &Raw) -> bool {
    let meta = raw.inode.meta(XattrsId::NONE);
    meta.mode & mode::S_IFMT == mode::S_IFREG && meta.size == 0 && has(&raw.xattrs, &overlay::WHITEOUT)
}

fn has(xattrs: &[Rc<NamedValue>], marks: &[overlay::Pair]) -> bool {
    marks.iter().all(|mark| xattrs.iter().any(|xattr| is(xattr, mark)))
}

fn is(xattr: &NamedValue, (name, value): &overlay::Pair) -> bool {
    overlay::unescape(name).is_some_and(|name| xattr.0 == *name) && xattr.1 == *value
}

/// What no directory of a tree takes.
fn check_name(name: &[u8]) -> Result<()> {
    use crate::tree::{NAME_MAX, TreeError};
    let error = match name.len() {
        0 => TreeError::EmptyName,
        len if len > NAME_MAX => TreeError::NameTooLong(len),
        _ if name.iter().any(|byte| matches!(byte, 0 | b'/')) => TreeError::ForbiddenName(name.to_vec()),
        _ => return Ok(()),
    };
    Err(ReadErrorKind::Tree(error).into())
}

impl Bytes for &[u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)?.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl<B> fmt::Debug for Lookup<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").field("len", &self.len).finish_non_exhaustive()
    }
}

impl From<ReadErrorKind> for LookupError {
    fn from(reason: ReadErrorKind) -> Self {
        Self::Image(reason)
    }
}

impl From<io::Error> for LookupError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(reason) => ImageError { path: None, reason: reason.clone() }.fmt(f),
            Self::Io(error) => write!(f, "its bytes can't be read: {error}"),
        }
    }
}

impl std::error::Error for LookupError {}

#[cfg(test)]
mod tests;
