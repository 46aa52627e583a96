//! What the name of a file object is the SHA-256 of: a header `(uuuusa(ayay))` with owner, mode, symlink target and xattrs,
//! and the content. GVariant, the numbers big-endian (`_ostree_file_header_new`).

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::checksum::Checksum;

/// Computes the name of one file object.
#[derive(Debug, Clone)]
pub(super) struct NameHasher(Sha256);

/// An object whose header and content are not those that it was named after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedObject {
    /// The object.
    pub object: Checksum,
    /// The name that header and content have by now.
    pub found: Checksum,
    /// A path in the commit that has this object, where it was looked for.
    pub path: Option<Vec<u8>>,
    /// The repository.
    pub repo: Option<std::path::PathBuf>,
}

/// Owner and mode as the header has them, and the target of a symlink, else nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inode<'a> {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    pub(super) target: &'a [u8],
}

impl NameHasher {
    /// Begins with the header; `xattrs` is an `a(ayay)`.
    pub(super) fn new(inode: Inode<'_>, xattrs: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(64 + xattrs.len());
        for number in [inode.uid, inode.gid, inode.mode, 0] {
            bytes.extend_from_slice(&to_be(number));
        }
        bytes.extend_from_slice(inode.target);
        bytes.push(0);
        let target_end = bytes.len();
        bytes.extend_from_slice(xattrs);
        push_offsets(&mut bytes, &[target_end]);
        let mut hash = Sha256::new();
        // The header follows its length and 4 zeros.
        let len =
            u32::try_from(bytes.len()).expect("invariant: a symlink's target and xattrs fit into 4 GiB");
        hash.update(to_be(len));
        hash.update([0; 4]);
        hash.update(&bytes);
        Self(hash)
    }

    /// The next bytes of the content.
    pub(super) fn update(&mut self, content: &[u8]) {
        self.0.update(content);
    }

    /// Compares what was hashed with the object's name.
    pub(super) fn require(self, object: &Checksum) -> Result<(), DamagedObject> {
        let found = Checksum(self.0.finalize().into());
        if found == *object {
            Ok(())
        } else {
            Err(DamagedObject { object: *object, found, path: None, repo: None })
        }
    }
}

/// The `a(ayay)` of a list of xattrs, in the order that the list has.
pub(super) fn serialize_xattrs<'x>(xattrs: impl IntoIterator<Item = (&'x [u8], &'x [u8])>) -> Vec<u8> {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for (name, value) in xattrs {
        let mut element = [name, &[0]].concat();
        let name_end = element.len();
        element.extend_from_slice(value);
        push_offsets(&mut element, &[name_end]);
        bytes.extend_from_slice(&element);
        ends.push(bytes.len());
    }
    push_offsets(&mut bytes, &ends);
    bytes
}

/// Appends framing offsets, little-endian, each as wide as the length of the whole needs.
fn push_offsets(bytes: &mut Vec<u8>, offsets: &[usize]) {
    let fits = |(width, max): &(usize, usize)| bytes.len() + width * offsets.len() <= *max;
    let widths = [(1, 0xff), (2, 0xffff), (4, 0xffff_ffff)];
    let width = widths.into_iter().find(fits).map_or(8, |(width, _)| width);
    for offset in offsets {
        bytes.extend_from_slice(&(*offset as u64).to_le_bytes()[..width]);
    }
}

#[allow(clippy::big_endian_bytes, reason = "OSTree's numbers are big-endian on every machine")]
fn to_be(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

impl fmt::Display for DamagedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {}.file", self.object)?;
        if let Some(path) = &self.path {
            write!(f, " of {}", String::from_utf8_lossy(path))?;
        }
        write!(
            f,
            " is damaged: its owner, mode, xattrs and content have the SHA-256 {}; `ostree fsck --delete",
            self.found
        )?;
        if let Some(repo) = &self.repo {
            write!(f, " --repo={}", repo.display())?;
        }
        write!(f, "`, then commit it again or pull it from where it is whole")
    }
}

impl std::error::Error for DamagedObject {}

#[cfg(test)]
mod tests {
    use ostree::glib::prelude::ToVariant as _;
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::serialize_xattrs;

    proptest! {
        #[test]
        fn xattrs_are_serialized_as_glib_does(
            xattrs in vec((vec(1..=255_u8, 1..40), vec(any::<u8>(), 0..400)), 0..6),
        ) {
            let mine = serialize_xattrs(xattrs.iter().map(|(name, value)| (name.as_slice(), value.as_slice())));
            let with_nul = |name: &[u8]| [name, &[0]].concat();
            let glibs: Vec<_> = xattrs.iter().map(|(name, value)| (with_nul(name), value.clone())).collect();
            let glibs = glibs.to_variant();
            prop_assert_eq!(glibs.type_().as_str(), "a(ayay)");
            prop_assert_eq!(mine, glibs.data());
        }
    }
}
