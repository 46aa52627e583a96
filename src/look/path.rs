//! From a path to a file, with symlinks as the system that is looked into would follow them: none leads out of it.

use anyhow::{Result, bail, ensure};

use super::item::Item;
use super::view::View;
use crate::shown::text_of;

/// How many symlinks may be followed for one path (`MAXSYMLINKS`).
const SYMLINKS_MAX: usize = 40;

/// A file and where it is.
#[derive(Debug, Clone)]
pub struct FoundFile {
    /// Its path without symlinks, with a slash in front.
    pub path: Vec<u8>,
    /// The file.
    pub item: Item,
}

/// Finds the file at a path. Symlinks on the way to it are followed; one that it is itself only with `follow`.
pub fn find(view: &mut dyn View, path: &[u8], follow: bool) -> Result<FoundFile> {
    let mut at = vec![(Vec::new(), view.root()?)];
    let mut rest = names_of(path);
    let mut symlinks = 0;
    while let Some(name) = rest.pop() {
        match name.as_slice() {
            b"." => continue,
            b".." => {
                if at.len() > 1 {
                    at.pop();
                }
                continue;
            }
            _ => {}
        }
        let Some((_, directory)) = at.last() else { bail!("invariant: the root stays") };
        let here = path_of(&at);
        ensure!(
            directory.kind() == super::item::Kind::Directory,
            "{}: {} is not a directory",
            text_of(path),
            text_of(&here)
        );
        let Some(item) = view.entry(directory, &name)? else {
            bail!("{}: there is no {} in {}", text_of(path), text_of(&name), text_of(&here));
        };
        if let Some(target) = item.target().filter(|_| follow || !rest.is_empty()) {
            symlinks += 1;
            ensure!(
                symlinks <= SYMLINKS_MAX,
                "{}: more than {SYMLINKS_MAX} symlinks lead there",
                text_of(path)
            );
            if target.starts_with(b"/") {
                at.truncate(1);
            }
            rest.extend(names_of(target));
            continue;
        }
        at.push((name, item));
    }
    let path = path_of(&at);
    match at.pop() {
        Some((_, item)) => Ok(FoundFile { path, item }),
        None => bail!("invariant: the root stays"),
    }
}

/// The names of a path, the last one first. A slash at the end asks for a directory, which is what `.` does.
fn names_of(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    let mut names: Vec<_> = names.map(<[u8]>::to_vec).collect();
    if path.ends_with(b"/") && !names.is_empty() {
        names.push(b".".to_vec());
    }
    names.reverse();
    names
}

fn path_of(at: &[(Vec<u8>, Item)]) -> Vec<u8> {
    let path: Vec<u8> = at[1..].iter().flat_map(|(name, _)| [b"/", name.as_slice()].concat()).collect();
    if path.is_empty() { b"/".to_vec() } else { path }
}
