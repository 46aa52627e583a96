//! All files below a directory.

use std::collections::HashSet;

use anyhow::{Result, ensure};

use super::item::{Id, Item, Kind};
use super::path::FoundFile;
use super::view::View;
use crate::shown::text_of;

/// The deepest path, in directories: the longest path that the kernel takes can't name more.
const DEPTH_MAX: usize = 2048;

/// Gives a file and, if it is a directory, all below it to `visit`: each directory before what is in it, names in bytewise order.
pub fn walk(
    view: &mut dyn View,
    from: FoundFile,
    visit: &mut dyn FnMut(&[u8], &Item) -> Result<()>,
) -> Result<()> {
    let mut seen = HashSet::new();
    let mut path = from.path;
    visit(&path, &from.item)?;
    if path == b"/" {
        path.clear();
    }
    let mut open = vec![(path.len(), entries(view, &from.item, &path, &mut seen)?)];
    while let Some((len, entries_left)) = open.last_mut() {
        path.truncate(*len);
        let Some((name, item)) = entries_left.next() else {
            open.pop();
            continue;
        };
        path.push(b'/');
        path.extend_from_slice(&name);
        visit(&path, &item)?;
        if item.kind() == Kind::Directory {
            ensure!(open.len() < DEPTH_MAX, "it is nested deeper than {DEPTH_MAX} directories");
            let below = entries(view, &item, &path, &mut seen)?;
            open.push((path.len(), below));
        }
    }
    Ok(())
}

/// An image may lead to one directory twice, or into itself.
fn entries(
    view: &mut dyn View,
    item: &Item,
    path: &[u8],
    seen: &mut HashSet<usize>,
) -> Result<std::vec::IntoIter<(Vec<u8>, Item)>> {
    if item.kind() != Kind::Directory {
        return Ok(Vec::new().into_iter());
    }
    if let Id::Slot(slot) = item.id {
        ensure!(seen.insert(slot), "{}: the directory has another name already", text_of(path));
    }
    Ok(view.entries(item)?.into_iter())
}
