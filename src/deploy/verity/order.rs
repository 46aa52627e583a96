//! The order in which objects are taken: that of their inode numbers.

use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{self, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::object::{Object, prefix};
use super::problem::{ObjectError, Problem};
use crate::threads::{Then, each, for_pieces, lock};

/// Pieces that don't write are short, so that a thread is worth it for so many of them.
pub(super) const SHORT: usize = 32;

/// Index, type and inode number of an object that was found.
type ObjectInode = (usize, FileType, u64);

/// The indexes of the objects with content, in the order of their inode numbers. The numbers come from the directories,
/// so that no inode is read from the disk before its turn. A missing object is found here, before anything is changed.
pub(super) fn inode_order(
    directory: BorrowedFd<'_>,
    objects: &[Object<'_>],
    threads: NonZeroUsize,
) -> Result<Vec<usize>, ObjectError> {
    let mut wanted: Vec<Wanted<'_>> = objects.iter().enumerate().map(Wanted::new).collect();
    wanted.sort_unstable_by_key(|wanted| (wanted.parent, wanted.prefix));
    let directories: Vec<_> = wanted.chunk_by(|one, next| one.parent == next.parent).collect();
    let all = Mutex::new(Vec::with_capacity(objects.len()));
    let threads = for_pieces(threads, directories.len(), SHORT);
    let found = each(directories.len(), threads, |place| {
        let mut found = find_inodes(directory, directories[place])?;
        lock(&all).append(&mut found);
        Ok(Then::Next)
    });
    found
        .map_err(|(place, problem)| ObjectError::new(&objects[directories[place][0].index].path, problem))?;
    in_order(objects, all.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn in_order(objects: &[Object<'_>], all: Vec<ObjectInode>) -> Result<Vec<usize>, ObjectError> {
    let mut found = vec![None; objects.len()];
    for (index, kind, inode) in all {
        found[index] = Some((kind, inode));
    }
    let mut order = Vec::with_capacity(objects.len());
    for (index, (object, found)) in objects.iter().zip(found).enumerate() {
        match found {
            Some((FileType::RegularFile | FileType::Unknown, inode)) => order.push((inode, index)),
            Some((FileType::Symlink, _)) if object.digest.is_none() => {}
            Some(_) => return Err(ObjectError::new(&object.path, Problem::NotRegular)),
            None => return Err(ObjectError::new(&object.path, Problem::Missing)),
        }
    }
    order.sort_unstable();
    Ok(order.into_iter().map(|(_, index)| index).collect())
}

/// An object that is looked for in its directory.
struct Wanted<'a> {
    parent: &'a [u8],
    name: &'a [u8],
    /// To compare without following a reference.
    prefix: u128,
    index: usize,
}

impl<'a> Wanted<'a> {
    fn new((index, object): (usize, &'a Object<'_>)) -> Self {
        let path = &*object.path;
        let slash = path.iter().position(|byte| *byte == b'/').unwrap_or(0);
        let name = path.get(slash + 1..).unwrap_or_default();
        Self { parent: &path[..slash], name, prefix: prefix(name), index }
    }
}

/// Finds objects of one directory, sorted by the prefixes of their names.
fn find_inodes(directory: BorrowedFd<'_>, wanted: &[Wanted<'_>]) -> Result<Vec<ObjectInode>, Problem> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::DIRECTORY;
    let opened =
        fs::openat(directory, wanted[0].parent, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT => Problem::Missing,
            errno => Problem::Open(errno),
        })?;
    let mut found = Vec::with_capacity(wanted.len());
    let mut buffer = Vec::with_capacity(32 * 1024);
    let mut entries = RawDir::new(opened, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(Problem::Open)?;
        let name = entry.file_name().to_bytes();
        let prefix = prefix(name);
        let from = wanted.partition_point(|wanted| wanted.prefix < prefix);
        let same_prefix = wanted[from..].iter().take_while(|wanted| wanted.prefix == prefix);
        for wanted in same_prefix.filter(|wanted| wanted.name == name) {
            found.push((wanted.index, entry.file_type(), entry.ino()));
        }
    }
    Ok(found)
}
