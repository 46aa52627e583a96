use std::fmt::Write as _;
use std::num::NonZeroUsize;

use super::format::SLOT_LEN;
use super::order::Source;
use super::{PlanError, PlanErrorKind, ReadErrorKind, Versions, emit, plan, read, version};
use crate::dump;
use crate::tree::{Content, Metadata, Mtime, NodeId, Role, Tree, XattrsId, mode};

/// Every kind of node, shared and inline xattrs, whiteouts, a hard link, a full directory block.
const SMALL: &str = r"/ 4096 40755 2 0 0 0 1.0 - - - security.selinux=label\x00
/big 5000 100644 1 0 0 0 1.0 ab/cdef.file - abababababababababababababababababababababababababababababababab security.selinux=label\x00 user.a=b
/blk 0 60644 1 0 0 2049 1.0 - - -
/dir 4096 40755 2 0 100000 0 1.0 - - - user.long=vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv
/dir/empty 0 100644 1 0 0 0 1.0 - - -
/dir/gone 0 20644 1 0 0 0 1.0 - - - security.selinux=label\x00
/dir/link 0 @100644 1 0 0 0 1.0 /big - -
/fifo 0 10644 1 0 0 0 2.5 - - -
/inline 5 100644 1 0 0 0 1.0 - hello -
/symlink 6 120777 1 0 0 0 1.0 target - -
";

fn image(text: &str) -> Vec<u8> {
    let tree = dump::parse(text.as_bytes()).unwrap();
    let plan = plan(&tree, Versions::default()).unwrap();
    let mut image = Vec::new();
    emit(&tree, &plan, NonZeroUsize::MIN, &mut image).unwrap();
    image
}

fn meta(st_mode: u32, size: u64) -> Metadata {
    let mtime = Mtime::default();
    Metadata { mode: st_mode, nlink: 1, uid: 0, gid: 0, rdev: 0, size, mtime, xattrs: XattrsId::NONE }
}

/// A root with one entry.
fn tree_with(build: impl FnOnce(&mut Tree) -> (Metadata, Content)) -> (Tree, NodeId, NodeId) {
    let mut tree = Tree::new();
    let directory = tree.add_directory().unwrap();
    let root = tree.add_node(meta(mode::S_IFDIR | 0o755, 0), directory).unwrap();
    let (meta, content) = build(&mut tree);
    let node = tree.add_node(meta, content).unwrap();
    let name = tree.add_name(b"node").unwrap();
    tree.insert(root, name, node, Role::Place).unwrap();
    (tree, root, node)
}

fn refusal(tree: &Tree) -> PlanError {
    plan(tree, Versions::default()).unwrap_err()
}

fn at(path: &str, reason: PlanErrorKind) -> PlanError {
    PlanError { path: Some(path.as_bytes().to_vec()), reason }
}

#[test]
fn refuses_a_mode_that_does_not_fit_the_content() {
    let (tree, ..) = tree_with(|_| (meta(0o644, 0), Content::Empty));
    assert_eq!(refusal(&tree), at("/node", PlanErrorKind::FileType(0o644)));
    let (tree, ..) = tree_with(|_| (meta(mode::S_IFLNK | 0o777, 0), Content::Special));
    assert_eq!(refusal(&tree), at("/node", PlanErrorKind::FileType(0o120777)));
}

#[test]
fn refuses_sizes_that_are_wrong_or_too_large() {
    let external = |size| {
        let build = |tree: &mut Tree| {
            (meta(mode::S_IFREG, size), Content::External(tree.add_backing(b"a", None).unwrap()))
        };
        tree_with(build).0
    };
    assert!(plan(&external(1 << 53), Versions::default()).is_ok());
    assert_eq!(refusal(&external((1 << 53) + 1)), at("/node", PlanErrorKind::FileTooLarge((1 << 53) + 1)));
    assert_eq!(refusal(&external(0)), at("/node", PlanErrorKind::EmptyExternal));
    let (tree, ..) = tree_with(|tree| (meta(mode::S_IFREG, 4), tree.add_inline(b"abc").unwrap()));
    assert_eq!(refusal(&tree), at("/node", PlanErrorKind::Size { size: 4, content: 3 }));
}

#[test]
fn refuses_hard_links_to_directories_and_out_of_the_tree() {
    let (mut tree, root, node) = tree_with(|tree| (meta(mode::S_IFDIR, 0), tree.add_directory().unwrap()));
    let name = tree.add_name(b"zlink").unwrap();
    tree.insert(root, name, node, Role::Link).unwrap();
    assert_eq!(refusal(&tree), at("/", PlanErrorKind::DirectoryLink(b"zlink".to_vec())));

    let (mut tree, root, _) = tree_with(|_| (meta(mode::S_IFIFO, 0), Content::Special));
    let outside = tree.add_node(meta(mode::S_IFIFO, 0), Content::Special).unwrap();
    let name = tree.add_name(b"zlink").unwrap();
    tree.insert(root, name, outside, Role::Link).unwrap();
    assert_eq!(refusal(&tree), at("/", PlanErrorKind::NotPlaced(b"zlink".to_vec())));
}

#[test]
fn refuses_a_node_in_two_places_and_a_directory_in_itself() {
    let (mut tree, root, node) = tree_with(|_| (meta(mode::S_IFIFO, 0), Content::Special));
    let name = tree.add_name(b"other").unwrap();
    tree.insert(root, name, node, Role::Place).unwrap();
    assert_eq!(refusal(&tree).reason, PlanErrorKind::PlacedTwice);

    let (mut tree, _, node) = tree_with(|tree| (meta(mode::S_IFDIR, 0), tree.add_directory().unwrap()));
    let name = tree.add_name(b"self").unwrap();
    tree.insert(node, name, node, Role::Place).unwrap();
    assert_eq!(refusal(&tree).reason, PlanErrorKind::PlacedTwice);
}

#[test]
fn refuses_names_out_of_order() {
    let (mut tree, root, _) = tree_with(|_| (meta(mode::S_IFIFO, 0), Content::Special));
    let other = tree.add_node(meta(mode::S_IFIFO, 0), Content::Special).unwrap();
    let name = tree.add_name(b"a").unwrap();
    tree.insert(root, name, other, Role::Place).unwrap();
    assert_eq!(refusal(&tree), at("/", PlanErrorKind::NotSorted));
}

#[test]
fn refuses_unknown_versions_and_trees_without_a_root() {
    let tree = dump::parse(SMALL.as_bytes()).unwrap();
    let error = plan(&tree, Versions { min: 0, max: 2 }).unwrap_err();
    assert_eq!(error, PlanError { path: None, reason: PlanErrorKind::Version(2) });
    assert_eq!(refusal(&Tree::new()).reason, PlanErrorKind::RootNotDirectory);
}

#[test]
fn whiteouts_alone_raise_the_version_and_only_if_they_may() {
    let chosen = |text: &str, min, max| {
        plan(&dump::parse(text.as_bytes()).unwrap(), Versions { min, max }).unwrap().version()
    };
    let plain = "/ 4096 40755 2 0 0 0 1.0 - - -\n";
    assert_eq!([(0, 0), (0, 1), (1, 1), (1, 0)].map(|(min, max)| chosen(SMALL, min, max)), [0, 1, 1, 1]);
    assert_eq!([(0, 0), (0, 1), (1, 1), (1, 0)].map(|(min, max)| chosen(plain, min, max)), [0, 0, 1, 1]);
}

#[test]
fn a_writer_that_fails_stops_the_emission() {
    let tree = dump::parse(SMALL.as_bytes()).unwrap();
    let plan = plan(&tree, Versions::default()).unwrap();
    for threads in [1, 4].map(|threads| NonZeroUsize::new(threads).unwrap()) {
        let mut room = [0; 100];
        assert!(emit(&tree, &plan, threads, &mut room.as_mut_slice()).is_err());
    }
}

#[test]
fn the_number_of_threads_that_emit_changes_no_byte() {
    // Inodes, shared xattrs and blocks of several pieces each.
    let mut text = "/ 4096 40755 2 0 0 0 1.0 - - -\n".to_owned();
    for directory in 0..100 {
        writeln!(text, "/{directory} 4096 40755 2 0 0 0 1.0 - - -").unwrap();
        for file in 0..300 {
            let (name, value) = ("n".repeat(20 + file % 30), "v".repeat(file % 50));
            writeln!(text, "/{directory}/{file}{name} 9 100644 1 0 0 0 1.0 {file:02}/x - - user.a={value}")
                .unwrap();
        }
    }
    let tree = dump::parse(text.as_bytes()).unwrap();
    let plan = plan(&tree, Versions::default()).unwrap();
    let emitted = |threads| {
        let mut image = Vec::new();
        emit(&tree, &plan, NonZeroUsize::new(threads).unwrap(), &mut image).unwrap();
        image
    };
    let alone = emitted(1);
    assert_eq!(alone.len() as u64, plan.image_size());
    assert!(alone.len() > 2_000_000, "{}", alone.len());
    for threads in [2, 3, 7, 1000] {
        assert!(emitted(threads) == alone, "{threads} threads");
    }
}

#[test]
fn each_flipped_bit_is_read_or_refused() {
    let image = image(SMALL);
    let (mut read_ones, mut refused) = (0, 0);
    for offset in 0..image.len() {
        // Zeros are mostly padding: one bit each will do.
        let bits = if image[offset] == 0 { offset % 8..offset % 8 + 1 } else { 0..8 };
        for bit in bits {
            let mut image = image.clone();
            image[offset] ^= 1 << bit;
            match read(&image) {
                Ok(tree) => {
                    read_ones += 1;
                    dump::print(&tree, &mut std::io::sink()).unwrap();
                    drop(plan(&tree, Versions::default()));
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(read_ones > 0 && refused > 0, "{read_ones} read, {refused} refused");
}

#[test]
fn each_shorter_image_is_refused_or_lacks_only_zeros() {
    let image = image(SMALL);
    let content_end = image.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    for len in 0..image.len() {
        assert!(read(&image[..len]).is_err() || len >= content_end, "{len} of {} bytes", image.len());
    }
}

#[test]
fn refuses_what_is_no_composefs_image() {
    for bytes in [&[][..], &[0; 4096], b"hello"] {
        assert_eq!(read(bytes).unwrap_err().to_string(), "this is no composefs image");
        assert!(version(bytes).is_err());
    }
    let mut newer = image(SMALL);
    newer[12] = 2;
    assert_eq!(read(&newer).unwrap_err().to_string(), "the image has a version that composefs doesn't use");
}

/// Overwrites the nid of a name's directory entry.
fn redirect_entry(image: &mut [u8], from: u64, to: u64) {
    let from = from.to_le_bytes();
    let mut replaced = 0;
    for offset in (0..image.len() - 12).step_by(1) {
        if image[offset..offset + 8] == from && image[offset + 10] != 0 && image[offset + 11] == 0 {
            image[offset..offset + 8].copy_from_slice(&to.to_le_bytes());
            replaced += 1;
        }
    }
    assert!(replaced > 0);
}

#[test]
fn refuses_a_directory_that_contains_an_ancestor() {
    let text =
        "/ 4096 40755 2 0 0 0 1.0 - - -\n/a 0 40755 2 0 0 0 1.0 - - -\n/a/b 0 40755 2 0 0 0 1.0 - - -\n";
    let image = image(text);
    let tree = dump::parse(text.as_bytes()).unwrap();
    let plan = plan(&tree, Versions::default()).unwrap();
    let nid =
        |node: usize| u64::from(plan.inodes.iter().find(|inode| inode.node.index() == node).unwrap().nid);
    for ancestor in [0, 1] {
        let mut image = image.clone();
        redirect_entry(&mut image, nid(2), nid(ancestor));
        let error = read(&image).unwrap_err();
        assert_eq!(error.to_string(), "/a/b: the directory has another name already");
    }
}

/// One real directory block, which many directories could claim.
#[test]
fn refuses_inodes_that_take_more_bytes_than_the_image_has() {
    let mut text = "/ 4096 40755 2 0 0 0 1.0 - - -\n/full 0 40755 2 0 0 0 1.0 - - -\n".to_owned();
    for number in 0..25 {
        text += &format!("/full/{number:0>200} 0 100644 1 0 0 0 1.0 - - -\n");
    }
    for number in 0..200 {
        text += &format!("/g{number:03} 0 40755 2 0 0 0 1.0 - - -\n");
    }
    let mut image = image(&text);
    let plan = plan(&dump::parse(text.as_bytes()).unwrap(), Versions::default()).unwrap();
    let inodes: Vec<_> = plan.inodes.iter().filter(|inode| inode.source == Source::Node).collect();
    let full = inodes.iter().find(|inode| inode.node.index() == 1).unwrap();
    assert_eq!(full.blocks, 1);
    for inode in inodes.iter().filter(|inode| inode.node.index() > 26) {
        let start = usize::try_from(inode.nid).unwrap() * SLOT_LEN;
        image[start..start + 2].copy_from_slice(&[0, 0]);
        image[start + 8..start + 12].copy_from_slice(&4096_u32.to_le_bytes());
        image[start + 16..start + 20].copy_from_slice(&full.block.to_le_bytes());
    }
    let error = read(&image).unwrap_err();
    assert_eq!(error.reason, ReadErrorKind::Overlap);
    assert!(error.path.unwrap().starts_with(b"/g"));
}
