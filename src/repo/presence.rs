//! Whether objects that nobody opened are there: those that a cache knows already. The directories are listed, since
//! that reads no inode; on a cold disk an inode of each object costs far more.

use std::collections::HashSet;
use std::iter;
use std::sync::mpsc::Receiver;

use anyhow::Context as _;
use rustix::fs::{Dir, Mode, OFlags, openat};
use rustix::io::Errno;

use super::checksum::Checksum;
use super::store::{Store, missing};

/// Says which of the objects that come is in no store. Nothing is listed until the first ones come.
pub(super) fn require(stores: &[Store], wanted: &Receiver<Vec<Checksum>>) -> anyhow::Result<()> {
    let Ok(first) = wanted.recv() else { return Ok(()) };
    let listed = list_all(stores)?;
    let mut by_prefix = vec![Vec::new(); listed.len()];
    for object in iter::once(first).chain(wanted).flatten() {
        by_prefix[usize::from(object.0[0])].push(object);
    }
    for (wanted, listed) in by_prefix.iter().zip(listed) {
        let listed: HashSet<Checksum> = listed.into_iter().collect();
        let absent = wanted.iter().filter(|object| !listed.contains(*object));
        // The threads that found them did so in any order; of several, the same one shall be named each time.
        if let Some(object) = absent.min() {
            let extension = stores[0].mode.file_extension();
            return Err(missing(stores, &format!("{object}.{extension}")));
        }
    }
    Ok(())
}

/// The file objects of all stores, by the first byte of their checksums.
fn list_all(stores: &[Store]) -> anyhow::Result<Vec<Vec<Checksum>>> {
    let list = |first: u8| {
        let (prefix, mut listed) = (format!("{first:02x}"), Vec::new());
        for store in stores {
            list(store, &prefix, &mut listed)
                .with_context(|| format!("listing {}/objects/{prefix}", store.path.display()))?;
        }
        Ok(listed)
    };
    (0..=u8::MAX).map(list).collect()
}

/// Adds the file objects in one of the 256 directories, which need not be there.
fn list(store: &Store, prefix: &str, listed: &mut Vec<Checksum>) -> Result<(), Errno> {
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
