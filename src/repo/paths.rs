//! Which path of a commit has a file object. An object has no parents, so all directories are gone through until one has it:
//! for messages only.

use anyhow::Result;

use super::checksum::Checksum;
use super::commit::Commit;
use super::dirtree::Dirtree;
use super::name::DamagedObject;
use super::store::{Metadata, Store, read_metadata};

/// The same error; if it is about a damaged object, with a path at which the commit has it.
pub(super) fn name_path(stores: &[Store], commit: &Commit, error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<DamagedObject>() {
        Ok(damaged) => {
            // Whatever keeps from finding it, the object is named.
            let path = path_of(stores, commit, &damaged.object).unwrap_or_default();
            let repo = stores.first().map(|store| store.path.clone());
            DamagedObject { path, repo, ..damaged }.into()
        }
        Err(error) => error,
    }
}

fn path_of(stores: &[Store], commit: &Commit, object: &Checksum) -> Result<Option<Vec<u8>>> {
    let mut buffer = Vec::new();
    let mut open = vec![(commit.dirtree, Vec::new())];
    let mut seen = std::collections::HashSet::new();
    while let Some((dirtree, path)) = open.pop() {
        if !seen.insert(dirtree) {
            continue;
        }
        let bytes = read_metadata(stores, &dirtree, Metadata::Dirtree, &mut buffer)?;
        let parsed = Dirtree::parse(bytes)?;
        let join = |name: &str| [path.as_slice(), b"/", name.as_bytes()].concat();
        if let Some(file) = parsed.files.iter().find(|file| file.object == *object) {
            return Ok(Some(join(file.name)));
        }
        open.extend(parsed.directories.iter().map(|directory| (directory.dirtree, join(directory.name))));
    }
    Ok(None)
}
