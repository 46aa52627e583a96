//! Extended attributes of files, each different list once in memory: an OS has a handful of labels on all its files.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use rustix::io::Errno;

use super::dirmeta::Xattr;

/// The most that one xattr value or all names together can have in Linux (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
pub(super) const XATTR_MAX: usize = 65536;
/// What is asked for first: the kernel allocates and clears as much as it is asked for, and a label is short.
const USUAL: usize = 512;

/// A list of xattrs, in the order in which the repository has them; equal lists often share their memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Xattrs(pub Arc<XattrList>);

/// Names and values.
pub type XattrList = Vec<(Box<[u8]>, Box<[u8]>)>;

/// Reads xattrs. Each thread has its own, since it holds the buffers.
#[derive(Debug)]
pub(super) struct XattrReader {
    names: Vec<u8>,
    value: Vec<u8>,
    /// A list as lengths and bytes, while it is gathered.
    key: Vec<u8>,
    sets: HashMap<Vec<u8>, Xattrs>,
}

/// What has xattrs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target<'a> {
    /// An open file.
    File(&'a File),
    /// A symlink by its path: it can't be opened, and there is no `llistxattrat`.
    Path(&'a [u8]),
}

impl Xattrs {
    pub(super) fn new(xattrs: &[Xattr<'_>]) -> Self {
        Self(Arc::new(xattrs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()))
    }
}

impl XattrReader {
    pub(super) fn new() -> Self {
        Self { names: vec![0; XATTR_MAX], value: vec![0; XATTR_MAX], key: Vec::new(), sets: HashMap::new() }
    }

    /// All xattrs of a file. They are sorted by name, since file systems list them in any order.
    pub(super) fn all(&mut self, target: Target<'_>) -> Result<Xattrs, Errno> {
        let len = match with_room(&mut self.names, |room| target.list(room)) {
            Ok(len) => len,
            Err(Errno::OPNOTSUPP) => 0,
            Err(errno) => return Err(errno),
        };
        let mut names: Vec<_> =
            self.names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
        names.sort_unstable();
        self.key.clear();
        for name in names {
            match with_room(&mut self.value, |room| target.get(name, room)) {
                Ok(len) => add_to_key(&mut self.key, name, &self.value[..len]),
                Err(Errno::NODATA) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(self.gathered())
    }

    /// One xattr's value.
    pub(super) fn value(&mut self, file: &File, name: &[u8]) -> Result<&[u8], Errno> {
        let len = with_room(&mut self.value, |room| Target::File(file).get(name, room))?;
        Ok(&self.value[..len])
    }

    /// A list in the order that it has.
    pub(super) fn list(&mut self, xattrs: &[Xattr<'_>]) -> Xattrs {
        self.key.clear();
        for (name, value) in xattrs {
            add_to_key(&mut self.key, name, value);
        }
        self.gathered()
    }

    /// The list whose key has been gathered.
    fn gathered(&mut self) -> Xattrs {
        if self.key.is_empty() {
            return Xattrs::default();
        }
        if let Some(known) = self.sets.get(&self.key) {
            return known.clone();
        }
        let set = Xattrs(Arc::new(from_key(&self.key)));
        self.sets.insert(self.key.clone(), set.clone());
        set
    }
}

impl Target<'_> {
    fn list(self, room: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::File(file) => rustix::fs::flistxattr(file, room),
            Self::Path(path) => rustix::fs::llistxattr(path, room),
        }
    }

    fn get(self, name: &[u8], room: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::File(file) => rustix::fs::fgetxattr(file, name, room),
            Self::Path(path) => rustix::fs::lgetxattr(path, name, room),
        }
    }
}

fn with_room(
    buffer: &mut [u8],
    mut read: impl FnMut(&mut [u8]) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    match read(&mut buffer[..USUAL]) {
        Err(Errno::RANGE) => read(buffer),
        result => result,
    }
}

fn add_to_key(key: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, value] {
        key.extend_from_slice(&(part.len() as u64).to_le_bytes());
        key.extend_from_slice(part);
    }
}

/// The inverse of [`add_to_key`], as often as it was called.
fn from_key(mut key: &[u8]) -> XattrList {
    let mut list = XattrList::new();
    while let (Some(name), Some(value)) = (take_part(&mut key), take_part(&mut key)) {
        list.push((name.into(), value.into()));
    }
    list
}

fn take_part<'k>(key: &mut &'k [u8]) -> Option<&'k [u8]> {
    let (len, rest) = key.split_first_chunk()?;
    let (part, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
    *key = rest;
    Some(part)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{XattrFlags, fsetxattr};
    use rustix::io::Errno;

    use super::{Target, USUAL, XattrReader, Xattrs};

    #[test]
    fn equal_lists_share_their_memory_and_keep_their_order() {
        let mut reader = XattrReader::new();
        let pairs: [(&[u8], &[u8]); 3] = [(b"user.b", b"2"), (b"user.a", b""), (b"user.c", &[0; 300])];
        let list = reader.list(&pairs);
        assert_eq!(list, Xattrs::new(&pairs));
        assert!(std::ptr::eq(&*list.0, &*reader.list(&pairs).0));
        assert_eq!(reader.list(&[]), Xattrs::default());
    }

    #[test]
    fn reads_values_and_lists_of_names_that_are_larger_than_usual() {
        // On the disk: a tmpfs has no user xattrs before Linux 6.6.
        let file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let mut expected: Vec<(Vec<u8>, Vec<u8>)> =
            (0..12).map(|n| (format!("user.{n:0>80}").into_bytes(), vec![n; 3])).collect();
        expected.push((b"user.z".to_vec(), vec![7; 2 * USUAL]));
        for (name, value) in expected.iter().rev() {
            fsetxattr(&file, name.as_slice(), value, XattrFlags::empty()).unwrap();
        }
        let mut reader = XattrReader::new();
        let found = reader.all(Target::File(&file)).unwrap();
        // Where files are labelled, this one has a label too.
        let found: Vec<_> = found.0.iter().filter(|(name, _)| name.starts_with(b"user.")).collect();
        assert_eq!(found.len(), expected.len());
        for ((name, value), expected) in found.into_iter().zip(&expected) {
            assert_eq!((&**name, &**value), (&*expected.0, &*expected.1));
        }
        assert_eq!(reader.value(&file, b"user.z").unwrap(), expected[12].1);
        assert_eq!(reader.value(&file, b"user.none").unwrap_err(), Errno::NODATA);
    }
}
