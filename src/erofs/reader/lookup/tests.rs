use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;

use super::{Bytes, FoundContent, FoundInode, Lookup, Result};
use crate::erofs::{Versions, emit, plan, read};
use crate::tree::{Content, NodeId, Tree, XattrsId};

fn image(text: &[u8], versions: Versions) -> Vec<u8> {
    let tree = crate::dump::parse(text).unwrap();
    let plan = plan(&tree, versions).unwrap();
    let mut image = Vec::new();
    emit(&tree, &plan, NonZeroUsize::MIN, &mut image).unwrap();
    image
}

/// All that the lookup reader finds, as paths and inodes.
fn walk(bytes: &[u8]) -> Result<Vec<(Vec<u8>, FoundInode)>> {
    let mut lookup = Lookup::new(bytes)?;
    let mut found = vec![(Vec::new(), lookup.root()?)];
    let mut seen = BTreeSet::new();
    let mut at = 0;
    while at < found.len() {
        let (path, item) = found[at].clone();
        if *item.content == FoundContent::Directory && seen.insert(item.slot) {
            for (name, entry) in lookup.entries(item.slot)? {
                assert_eq!(lookup.entry(item.slot, &name)?.as_ref(), Some(&entry));
                found.push(([path.as_slice(), b"/", &name].concat(), entry));
            }
        }
        at += 1;
    }
    Ok(found)
}

/// The same of a tree.
fn paths(tree: &Tree) -> Vec<(Vec<u8>, NodeId)> {
    let mut found = vec![(Vec::new(), Tree::ROOT)];
    let mut at = 0;
    while at < found.len() {
        let (path, node) = found[at].clone();
        for entry in tree.children(node).unwrap_or_default() {
            found.push(([path.as_slice(), b"/", &tree[entry.name]].concat(), entry.node));
        }
        at += 1;
    }
    found
}

fn assert_same(tree: &Tree, found: &[(Vec<u8>, FoundInode)]) {
    let expected = paths(tree);
    assert_eq!(expected.len(), found.len());
    for ((path, node), (other, found)) in expected.iter().zip(found) {
        assert_eq!(path, other);
        let node = &tree[*node];
        let mut meta = node.meta;
        meta.xattrs = XattrsId::NONE;
        assert_eq!(meta, found.meta, "{}", path.escape_ascii());
        let xattrs: Vec<_> = tree.xattrs(node.meta.xattrs).map(|x| (&tree[x.name], &tree[x.value])).collect();
        let others: Vec<_> = found.xattrs.iter().map(|x| (&*x.0, &*x.1)).collect();
        assert_eq!(xattrs, others, "{}", path.escape_ascii());
        let content = match node.content {
            Content::Directory(_) => FoundContent::Directory,
            Content::Empty => FoundContent::Inline(Vec::new()),
            Content::Inline(span) => FoundContent::Inline(tree[span].to_vec()),
            Content::External(backing) => FoundContent::External {
                payload: tree[tree[backing].payload].to_vec(),
                digest: tree[backing].digest,
            },
            Content::Symlink(span) => FoundContent::Symlink(tree[span].to_vec()),
            Content::Special => FoundContent::Special,
        };
        assert_eq!(content, *found.content, "{}", path.escape_ascii());
    }
}

/// Every kind of node, shared and inline xattrs, whiteouts, marks that are the input's, a hard link.
const SMALL: &[u8] = br"/ 4096 40755 2 0 0 0 1.0 - - - security.selinux=label\x00
/big 5000 100644 1 0 0 0 1.0 ab/cdef.file - abababababababababababababababababababababababababababababababab security.selinux=label\x00 user.a=b
/blk 0 60644 1 0 0 2049 1.0 - - -
/dir 4096 40755 2 0 100000 0 1.0 - - - user.long=vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv
/dir/empty 0 100644 1 0 0 0 1.0 - - -
/dir/gone 0 20644 1 0 0 0 1.0 - - - security.selinux=label\x00
/dir/link 0 @100644 1 0 0 0 1.0 /big - -
/fifo 0 10644 1 0 0 0 2.5 - - -
/inline 5 100644 1 0 0 0 1.0 - hello -
/marked 4096 40755 2 0 0 0 1.0 - - - trusted.overlay.whiteouts= user.overlay.whiteouts=
/marked/file 0 100644 1 0 0 0 1.0 - - - user.x=y
/symlink 6 120777 1 0 0 0 1.0 target - -
/whiteout 0 100644 1 0 0 0 1.0 - - - trusted.overlay.whiteout= user.overlay.whiteout=
";

fn versions() -> [Versions; 2] {
    let one = Versions { min: 1, max: 1 };
    [Versions::default(), one]
}

#[test]
fn lookups_find_what_the_whole_tree_has() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut count = 0;
    for entry in std::fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "dump") {
            for versions in versions() {
                let image = image(&std::fs::read(&path).unwrap(), versions);
                assert_same(&read(&image).unwrap(), &walk(&image).unwrap());
                count += 1;
            }
        }
    }
    assert!(count > 20, "{count}");
    let image = image(SMALL, Versions::default());
    assert_same(&read(&image).unwrap(), &walk(&image).unwrap());
}

#[test]
fn an_image_that_is_cut_short_anywhere_or_has_other_bytes_is_refused_or_read_as_the_tree_is() {
    for versions in versions() {
        let whole = image(SMALL, versions);
        let try_one = |bytes: &[u8]| {
            let (tree, found) = (read(bytes), walk(bytes));
            if let Ok(tree) = tree {
                assert_same(&tree, &found.expect("a tree that is readable is found"));
            }
        };
        // Behind the first kilobytes, lengths differ in what they cut off only.
        for len in (0..whole.len()).filter(|len| *len < 2048 || len % 32 < 2) {
            try_one(&whole[..len]);
        }
        let mut bytes = whole.clone();
        for at in 0..whole.len() {
            for byte in [0, 0x7f, 0xff] {
                if whole[at] != byte && (whole[at] != 0 || at % 4 == 0) {
                    bytes[at] = byte;
                    try_one(&bytes);
                }
            }
            bytes[at] = whole[at];
        }
    }
}

/// Counts the blocks that are read.
struct Counting<'i> {
    bytes: &'i [u8],
    blocks: &'i RefCell<BTreeSet<u64>>,
}

impl Bytes for Counting<'_> {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset + buffer.len() as u64;
        self.blocks.borrow_mut().extend(offset / 4096..end.div_ceil(4096));
        self.bytes.read_at(offset, buffer)
    }
}

#[test]
fn a_directory_of_a_large_image_takes_the_blocks_that_it_needs_and_no_others() {
    use std::fmt::Write as _;
    let mut text = String::from("/ 4096 40755 2 0 0 0 0.0 - - -\n");
    for directory in 0..300 {
        writeln!(text, "/{directory:03} 4096 40755 2 0 0 0 0.0 - - -").unwrap();
        for file in 0..100 {
            writeln!(
                text,
                "/{directory:03}/{file:03} 9 100644 1 0 0 0 0.0 {directory:03}/{file:03} - {:064x}",
                7
            )
            .unwrap();
        }
    }
    let image = image(text.as_bytes(), Versions::default());
    let blocks = RefCell::default();
    let mut lookup = Lookup::new(Counting { bytes: &image, blocks: &blocks }).unwrap();
    let root = lookup.root().unwrap();
    let directory = lookup.entry(root.slot, b"150").unwrap().unwrap();
    assert_eq!(lookup.entries(directory.slot).unwrap().len(), 100);
    let (read, all) = (blocks.borrow().len(), image.len() / 4096);
    assert!(all > 700 && read <= 20, "{read} of {all}");
}
