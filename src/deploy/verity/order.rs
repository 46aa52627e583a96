//! The order in which objects are taken: that of their inode numbers.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{self, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::queue::{Queue, lock};
use super::{Object, ObjectError, Problem};

/// Index, type and inode number of an object that was found.
type Found = (usize, FileType, u64);

/// The indexes of the objects with content, in the order of their inode numbers. The numbers come from the directories,
/// so that no inode is read from the disk before its turn. A missing object is found here, before anything is changed.
pub(super) fn inode_order(
    directory: BorrowedFd<'_>,
    objects: &[Object],
    threads: NonZeroUsize,
) -> Result<Vec<usize>, ObjectError> {
    let mut by_directory: BTreeMap<&[u8], Vec<(&[u8], usize)>> = BTreeMap::new();
    for (index, object) in objects.iter().enumerate() {
        let path = object.path.to_bytes();
        let slash = path.iter().position(|byte| *byte == b'/').unwrap_or(0);
        let name = path.get(slash + 1..).unwrap_or_default();
        by_directory.entry(&path[..slash]).or_default().push((name, index));
    }
    let mut directories: Vec<_> = by_directory.into_iter().collect();
    directories.iter_mut().for_each(|(_, wanted)| wanted.sort_unstable());
    let all = Mutex::new(Vec::with_capacity(objects.len()));
    let queue = Queue::new(directories.len(), threads);
    queue.run(|place| {
        let (parent, wanted) = &directories[place];
        let mut found = find_inodes(directory, parent, wanted)?;
        lock(&all).append(&mut found);
        Ok(true)
    });
    queue.finish().map_err(|(place, problem)| {
        let first = directories[place].1[0].1;
        ObjectError::new(&objects[first].path, problem)
    })?;
    in_order(objects, all.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn in_order(objects: &[Object], all: Vec<Found>) -> Result<Vec<usize>, ObjectError> {
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

/// Finds `wanted` (sorted names of files in `parent`, and their indexes).
fn find_inodes(
    directory: BorrowedFd<'_>,
    parent: &[u8],
    wanted: &[(&[u8], usize)],
) -> Result<Vec<Found>, Problem> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::DIRECTORY;
    let opened = fs::openat(directory, parent, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT => Problem::Missing,
        errno => Problem::Open(errno),
    })?;
    let mut found = Vec::with_capacity(wanted.len());
    let mut buffer = Vec::with_capacity(32 * 1024);
    let mut entries = RawDir::new(opened, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(Problem::Open)?;
        let name = entry.file_name().to_bytes();
        let from = wanted.partition_point(|(wanted, _)| *wanted < name);
        for (_, index) in wanted[from..].iter().take_while(|(wanted, _)| *wanted == name) {
            found.push((*index, entry.file_type(), entry.ino()));
        }
    }
    Ok(found)
}
