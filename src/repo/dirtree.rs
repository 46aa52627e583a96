//! A dirtree object: the names in a directory. `(a(say)a(sayay))`, GVariant.

use ostree_seal_trust::gvariant::{Array, Tuple, text};

use super::checksum::Checksum;
use super::format::FormatError;

/// The names in a directory and the objects that they stand for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dirtree<'a> {
    pub(super) files: Vec<File<'a>>,
    pub(super) directories: Vec<Directory<'a>>,
}

/// A regular file or a symlink.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct File<'a> {
    pub(super) name: &'a str,
    pub(super) object: Checksum,
}

/// A directory in the directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Directory<'a> {
    pub(super) name: &'a str,
    pub(super) dirtree: Checksum,
    pub(super) dirmeta: Checksum,
}

impl<'a> Dirtree<'a> {
    /// Reads a dirtree object.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let mut tuple = Tuple::new(bytes);
        let files = Array::new(tuple.framed(1)?, 1)?;
        let directories = Array::new(tuple.last(1)?, 1)?;
        Ok(Self { files: collect(files, parse_file)?, directories: collect(directories, parse_directory)? })
    }
}

fn collect<'a, T>(
    array: Array<'a>,
    parse: fn(&'a [u8]) -> Result<T, FormatError>,
) -> Result<Vec<T>, FormatError> {
    let mut items = Vec::with_capacity(array.remaining());
    for element in array {
        items.push(parse(element?)?);
    }
    Ok(items)
}

fn parse_file(bytes: &[u8]) -> Result<File<'_>, FormatError> {
    let mut tuple = Tuple::new(bytes);
    let name = file_name(tuple.framed(1)?)?;
    Ok(File { name, object: checksum(tuple.last(1)?)? })
}

fn parse_directory(bytes: &[u8]) -> Result<Directory<'_>, FormatError> {
    let mut tuple = Tuple::new(bytes);
    let name = file_name(tuple.framed(1)?)?;
    let dirtree = checksum(tuple.framed(1)?)?;
    Ok(Directory { name, dirtree, dirmeta: checksum(tuple.last(1)?)? })
}

/// 32 bytes.
fn checksum(bytes: &[u8]) -> Result<Checksum, FormatError> {
    bytes.try_into().map(Checksum).map_err(|_| FormatError::Checksum(bytes.len()))
}

/// A name that stays in its directory, wherever the tree is checked out.
fn file_name(bytes: &[u8]) -> Result<&str, FormatError> {
    let name = text(bytes)?;
    match name {
        "" | "." | ".." => Err(FormatError::Name(name.to_owned())),
        _ if name.contains('/') => Err(FormatError::Name(name.to_owned())),
        _ => Ok(name),
    }
}
