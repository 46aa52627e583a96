//! How many objects have fs-verity, without opening any.

use std::os::fd::AsFd;

use rustix::fs::{self, AtFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use super::object::Object;
use super::problem::{ObjectError, Problem};

/// How many objects have fs-verity, by what `statx` says of their names: nothing is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Coverage {
    /// Objects with fs-verity.
    pub with_verity: usize,
    /// Objects without.
    pub without: usize,
    /// How many bytes those without have.
    pub bytes_without: u64,
    /// Objects that don't exist.
    pub missing: usize,
}

/// Counts the objects with fs-verity. Errors other than a missing file are errors.
pub fn coverage(directory: impl AsFd, objects: &[Object<'_>]) -> Result<Coverage, ObjectError> {
    let mut coverage = Coverage::default();
    for object in objects {
        match fs::statx(&directory, &*object.path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::SIZE) {
            Ok(stat) if stat.stx_attributes.contains(StatxAttributes::VERITY) => coverage.with_verity += 1,
            Ok(stat) => {
                coverage.without += 1;
                coverage.bytes_without += stat.stx_size;
            }
            Err(Errno::NOENT) => coverage.missing += 1,
            Err(errno) => return Err(ObjectError::new(&object.path, Problem::Open(errno))),
        }
    }
    Ok(coverage)
}

impl Coverage {
    /// How many objects there should be.
    pub fn all(&self) -> usize {
        self.with_verity + self.without + self.missing
    }
}
