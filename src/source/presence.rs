//! Whether objects that nobody opened are there: those that a cache knows already. The directories are listed, since
//! that reads no inode; on a cold disk an inode of each object costs far more.

use std::collections::HashSet;

use anyhow::Context as _;
use rustix::fs::{Dir, Mode, OFlags, openat};
use rustix::io::Errno;

use super::checksum::Checksum;
use super::store::{Store, missing};

/// Says which of these objects is in no store.
pub(super) fn require(stores: &[Store], mut objects: Vec<Checksum>) -> anyhow::Result<()> {
    objects.sort_unstable();
    let mut listed = HashSet::new();
    for siblings in objects.chunk_by(|a, b| a.0[0] == b.0[0]) {
        listed.clear();
        for store in stores {
            let prefix = format!("{:02x}", siblings[0].0[0]);
            list(store, &prefix, &mut listed)
                .with_context(|| format!("listing {}/objects/{prefix}", store.path.display()))?;
        }
        if let Some(object) = siblings.iter().find(|object| !listed.contains(*object)) {
            let extension = stores[0].mode.file_extension();
            return Err(missing(stores, &format!("{object}.{extension}")));
        }
    }
    Ok(())
}

/// Adds the file objects in one of the 256 directories, which need not be there.
fn list(store: &Store, prefix: &str, listed: &mut HashSet<Checksum>) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = match openat(&store.objects, prefix, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        directory => directory?,
    };
    let extension = store.mode.file_extension().as_bytes();
    for entry in Dir::new(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        // The dot comes after what the prefix leaves of the checksum.
        let Some((rest, [b'.', found @ ..])) = name.split_at_checked(62) else { continue };
        if found == extension {
            listed.extend(Checksum::from_hex_parts(prefix.as_bytes(), rest));
        }
    }
    Ok(())
}
