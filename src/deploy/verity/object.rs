//! The file objects of a commit: by name, before anything is read; with digests, from the tree that the image is made of,
//! or from the image.

use std::borrow::Cow;

use anyhow::Result;
use ostree_seal_trust::digest::Digest;

use crate::erofs::{self, BackingFile};
use crate::repo::Checksum;
use crate::tree::{Content, Tree};

/// A file object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object<'a> {
    /// Path below the object directory: `xx/…62 digits….file`.
    pub path: Cow<'a, [u8]>,
    /// The fs-verity digest that the image expects. `None` before there is an image; then it may be a symlink, which
    /// has no content and is passed over.
    pub digest: Option<Digest>,
}

/// The objects of these names, digests unknown.
pub fn unmeasured(names: &[Checksum]) -> Vec<Object<'static>> {
    names.iter().map(|name| Object { path: Cow::Owned(loose_path(name)), digest: None }).collect()
}

/// The objects that the image of a tree points at, each once, with the digest that the image has for it; sorted.
pub fn of_tree(tree: &Tree) -> Vec<Object<'_>> {
    let backings = tree.nodes().filter_map(|(_, node)| match node.content {
        Content::External(backing) => Some(tree[backing]),
        _ => None,
    });
    let backings =
        backings.map(|backing| BackingFile { payload: &tree[backing.payload], digest: backing.digest });
    of_backings(backings)
}

/// The objects that an image points at, as [`of_tree`] has them.
pub fn of_image(image: &[u8]) -> Result<Vec<Object<'_>>> {
    Ok(of_backings(erofs::backings(image)?))
}

fn of_backings<'i>(backings: impl IntoIterator<Item = BackingFile<'i>>) -> Vec<Object<'i>> {
    // With numbers in front, hardly ever a reference is followed to compare.
    let numbered = backings.into_iter().map(|backing| (prefix(backing.payload), backing));
    let mut sorted: Vec<_> = numbered.collect();
    sorted.sort_unstable();
    sorted.dedup();
    let object = |(_, backing): (u128, BackingFile<'i>)| Object {
        path: Cow::Borrowed(backing.payload),
        digest: backing.digest,
    };
    sorted.into_iter().map(object).collect()
}

/// Where a repository of a bare mode has a file object, below `objects`.
fn loose_path(name: &Checksum) -> Vec<u8> {
    let hex = name.to_string();
    format!("{}/{}.file", &hex[..2], &hex[2..]).into_bytes()
}

/// What a name begins with, as a number: equal for equal ones, and hardly ever for others.
pub(super) fn prefix(name: &[u8]) -> u128 {
    name.iter().take(16).fold(0, |prefix, byte| (prefix << 8) | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use ostree_seal_trust::digest::Digest;

    use super::{of_image, of_tree};
    use crate::erofs::{self, Versions};
    use crate::tree::Tree;

    #[test]
    fn objects_of_a_tree_are_there_once_for_each_digest() {
        let dump = |path: &str, payload: &str, digest: &str| {
            format!("/{path} 5 100644 1 0 0 0 0.0 {payload} - {digest}\n")
        };
        let (one, two) = ("1".repeat(64), "2".repeat(64));
        let mut text = String::from("/ 4096 40755 2 0 0 0 0.0 - - -\n");
        text.push_str(&dump("a", "ff/long-enough-to-differ-late-2.file", &one));
        text.push_str(&dump("b", "ff/long-enough-to-differ-late-1.file", &one));
        text.push_str(&dump("c", "ff/long-enough-to-differ-late-2.file", &one));
        text.push_str(&dump("d", "ff/long-enough-to-differ-late-2.file", &two));
        text.push_str(&dump("e", "0f/short", &two));
        let tree: Tree = crate::dump::parse(text.as_bytes()).unwrap();
        let found: Vec<_> = of_tree(&tree)
            .into_iter()
            .map(|object| {
                (
                    String::from_utf8(object.path.into_owned()).unwrap(),
                    object.digest.map(|Digest(bytes)| bytes[0]),
                )
            })
            .collect();
        let expected = [
            ("0f/short", 0x22),
            ("ff/long-enough-to-differ-late-1.file", 0x11),
            ("ff/long-enough-to-differ-late-2.file", 0x11),
            ("ff/long-enough-to-differ-late-2.file", 0x22),
        ];
        assert_eq!(found, expected.map(|(path, digest)| (path.to_owned(), Some(digest))));
        let plan = erofs::plan(&tree, Versions::default()).unwrap();
        let mut image = Vec::new();
        erofs::emit(&tree, &plan, NonZeroUsize::MIN, &mut image).unwrap();
        assert_eq!(of_image(&image).unwrap(), of_tree(&tree));
    }
}
