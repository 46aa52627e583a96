//! Random trees around every boundary of the format: text -> tree -> image -> tree -> text, and each step back.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: a panic is its answer, and nobody links it"
)]

mod common;

use std::num::NonZeroUsize;

use common::dumps::{self, Loss};
use ostree_seal::dump;
use ostree_seal::erofs::{self, BackingFile, ReadErrorKind, Versions};
use ostree_seal::tree::{Content, Tree};
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq};
use proptest::proptest;
use proptest::sample::Index;

const VERSIONS: [Versions; 3] =
    [Versions { min: 0, max: 1 }, Versions { min: 0, max: 0 }, Versions { min: 1, max: 1 }];

fn image(tree: &Tree, versions: Versions) -> Vec<u8> {
    let plan = erofs::plan(tree, versions).unwrap();
    let mut image = Vec::new();
    erofs::emit(tree, &plan, NonZeroUsize::MIN, &mut image).unwrap();
    assert_eq!(image.len() as u64, plan.image_size());
    image
}

fn text(tree: &Tree) -> Vec<u8> {
    let mut text = Vec::new();
    dump::print(tree, &mut text).unwrap();
    text
}

fn backing<'t>(tree: &'t Tree, content: &Content) -> Option<BackingFile<'t>> {
    let Content::External(backing) = content else { return None };
    let backing = &tree[*backing];
    Some(BackingFile { payload: &tree[backing.payload], digest: backing.digest })
}

fn own_version(image: &[u8]) -> Versions {
    let version = erofs::version(image).unwrap();
    Versions { min: version, max: version }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn image_to_tree_to_image_is_the_identity(input in dumps::dump(Loss::None), which in 0..3_usize) {
        let image = image(&dump::parse(input.0.as_slice()).unwrap(), VERSIONS[which]);
        let again = self::image(&erofs::read(&image).unwrap(), own_version(&image));
        prop_assert_eq!(first_difference(&image, &again), None);
    }

    #[test]
    fn backing_files_are_those_of_the_tree(input in dumps::dump(Loss::None), which in 0..3_usize) {
        let image = image(&dump::parse(input.0.as_slice()).unwrap(), VERSIONS[which]);
        let tree = erofs::read(&image).unwrap();
        let mut expected: Vec<_> = tree.nodes().filter_map(|(_, node)| backing(&tree, &node.content)).collect();
        let mut found = erofs::backings(&image).unwrap();
        expected.sort_unstable();
        found.sort_unstable();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn backing_files_of_a_damaged_image_are_found_if_it_is_readable(
        input in dumps::dump(Loss::None), at in any::<Index>(), bit in 0..8_u32, len in any::<Index>(),
    ) {
        let mut image = image(&dump::parse(input.0.as_slice()).unwrap(), VERSIONS[0]);
        let at = at.index(image.len());
        image[at] ^= 1_u8 << bit;
        for image in [&image[..], &image[..len.index(image.len())]] {
            let found = erofs::backings(image);
            prop_assert!(found.is_ok() || erofs::read(image).is_err());
        }
    }

    #[test]
    fn image_to_dump_to_image_is_the_identity(input in dumps::dump(Loss::None), which in 0..3_usize) {
        let image = image(&dump::parse(input.0.as_slice()).unwrap(), VERSIONS[which]);
        let printed = text(&erofs::read(&image).unwrap());
        let again = self::image(&dump::parse(printed.as_slice()).unwrap(), own_version(&image));
        prop_assert_eq!(first_difference(&image, &again), None);
    }

    #[test]
    fn dump_to_image_to_dump_is_the_identity(input in dumps::dump(Loss::None), which in 0..3_usize) {
        let image = image(&dump::parse(input.0.as_slice()).unwrap(), VERSIONS[which]);
        let printed = text(&erofs::read(&image).unwrap());
        let again = self::image(&dump::parse(printed.as_slice()).unwrap(), own_version(&image));
        let printed_again = text(&erofs::read(&again).unwrap());
        prop_assert_eq!(String::from_utf8(printed), String::from_utf8(printed_again));
    }

    #[test]
    fn dump_to_tree_to_dump_gives_the_same_image(input in dumps::dump(Loss::None), which in 0..3_usize) {
        let tree = dump::parse(input.0.as_slice()).unwrap();
        let again = dump::parse(text(&tree).as_slice()).unwrap();
        let difference = first_difference(&image(&tree, VERSIONS[which]), &image(&again, VERSIONS[which]));
        prop_assert_eq!(difference, None);
    }
}

/// Whiteouts and their directory get xattrs beyond what the budget allows the input: no reason to refuse the image.
#[test]
fn whiteouts_beside_full_xattrs_come_back() {
    let value = "v".repeat(32_767 - 12 - 7 - 6);
    let dump = format!(
        "/ 0 40755 3 0 0 0 0.0 - - - user.a={value}\n/w 0 20644 1 0 0 0 0.0 - - - user.a={value}\n\
         /d 0 40755 2 0 0 0 0.0 - - - user.a={value}\n/d/w 0 20644 1 0 0 0 0.0 - - -\n"
    );
    for versions in VERSIONS {
        let image = image(&dump::parse(dump.as_bytes()).unwrap(), versions);
        let tree = erofs::read(&image).unwrap();
        let printed = dump::parse(text(&tree).as_slice()).unwrap();
        assert_eq!(first_difference(&image, &self::image(&tree, own_version(&image))), None);
        assert_eq!(first_difference(&image, &self::image(&printed, own_version(&image))), None);
    }
}

/// A directory with whiteouts may have xattrs of the input that look like those of a whiteout.
#[test]
fn marks_of_a_whiteout_on_its_directory_come_back() {
    let dump = "/ 0 40755 2 0 0 0 0.0 - - - user.overlay.whiteout= trusted.overlay.whiteout=\n\
                /w 0 20644 1 0 0 0 0.0 - - -\n";
    for versions in VERSIONS {
        let image = image(&dump::parse(dump.as_bytes()).unwrap(), versions);
        let again = self::image(&erofs::read(&image).unwrap(), own_version(&image));
        assert_eq!(first_difference(&image, &again), None);
    }
}

#[test]
fn backing_files_of_what_is_no_image_are_refused() {
    for bytes in [&b""[..], &[0; 8192]] {
        assert_eq!(erofs::backings(bytes).unwrap_err().reason, ReadErrorKind::NotComposefs);
    }
}

/// Where two images differ first.
fn first_difference(one: &[u8], other: &[u8]) -> Option<usize> {
    let differs = one.iter().zip(other).position(|(one, other)| one != other);
    differs.or((one.len() != other.len()).then(|| one.len().min(other.len())))
}
