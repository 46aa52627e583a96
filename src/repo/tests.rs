//! The parsers against glib's serialiser and against garbage.

use ostree::glib;
use ostree::glib::prelude::ToVariant as _;
use ostree_seal_trust::gvariant::GVariantError;
use proptest::prelude::*;

use super::checksum::Checksum;
use super::commit::Commit;
use super::dirmeta::{Dirmeta, parse_xattrs};
use super::dirtree::Dirtree;
use super::format::FormatError;

type RawFile = (String, Vec<u8>);
type RawDirectory = (String, Vec<u8>, Vec<u8>);
type RawXattr = (Vec<u8>, Vec<u8>);

fn bytes_of(variant: &glib::Variant) -> Vec<u8> {
    variant.data().to_vec()
}

fn dirtree_bytes(files: &[RawFile], directories: &[RawDirectory]) -> Vec<u8> {
    let variant = (files.to_vec(), directories.to_vec()).to_variant();
    assert_eq!(variant.type_().as_str(), "(a(say)a(sayay))");
    bytes_of(&variant)
}

fn xattr_variant(xattrs: &[RawXattr]) -> glib::Variant {
    let with_nul: Vec<RawXattr> =
        xattrs.iter().map(|(name, value)| ([name.as_slice(), b"\0"].concat(), value.clone())).collect();
    with_nul.to_variant()
}

fn dirmeta_bytes(numbers: [u32; 3], xattrs: &[RawXattr]) -> Vec<u8> {
    let [uid, gid, mode] = numbers.map(u32::to_be);
    let variant = glib::Variant::tuple_from_iter([
        uid.to_variant(),
        gid.to_variant(),
        mode.to_variant(),
        xattr_variant(xattrs),
    ]);
    assert_eq!(variant.type_().as_str(), "(uuua(ayay))");
    bytes_of(&variant)
}

fn commit_bytes(metadata: &[(&str, glib::Variant)], tree: &[u8], meta: &[u8]) -> Vec<u8> {
    let dict = glib::VariantDict::new(None);
    for (key, value) in metadata {
        dict.insert_value(key, value);
    }
    let related: Vec<RawFile> = Vec::new();
    let variant = glib::Variant::tuple_from_iter([
        dict.end(),
        Vec::<u8>::new().to_variant(),
        related.to_variant(),
        "subject".to_variant(),
        "a longer body".to_variant(),
        7_u64.to_variant(),
        tree.to_variant(),
        meta.to_variant(),
    ]);
    assert_eq!(variant.type_().as_str(), "(a{sv}aya(say)sstayay)");
    bytes_of(&variant)
}

fn file_name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[^/\0]{1,60}".prop_filter("dots are no names", |name| name != "." && name != ".."),
        Just("x".repeat(255)),
    ]
}

fn object() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 32)
}

proptest! {
    #[test]
    fn reads_every_dirtree_that_glib_writes(
        files in prop::collection::vec((file_name(), object()), 0..40),
        directories in prop::collection::vec((file_name(), object(), object()), 0..20),
    ) {
        let bytes = dirtree_bytes(&files, &directories);
        let parsed = Dirtree::parse(&bytes).unwrap();
        let read: Vec<RawFile> =
            parsed.files.iter().map(|file| (file.name.to_owned(), file.object.0.to_vec())).collect();
        prop_assert_eq!(read, files);
        let read: Vec<RawDirectory> = parsed
            .directories
            .iter()
            .map(|entry| (entry.name.to_owned(), entry.dirtree.0.to_vec(), entry.dirmeta.0.to_vec()))
            .collect();
        prop_assert_eq!(read, directories);
    }

    #[test]
    fn reads_every_dirmeta_that_glib_writes(
        numbers in any::<[u32; 3]>(),
        xattrs in prop::collection::vec(
            (prop::collection::vec(1..=255_u8, 1..40), prop::collection::vec(any::<u8>(), 0..400)),
            0..8,
        ),
    ) {
        let bytes = dirmeta_bytes(numbers, &xattrs);
        let parsed = Dirmeta::parse(&bytes).unwrap();
        prop_assert_eq!([parsed.uid, parsed.gid, parsed.mode], numbers);
        let read: Vec<RawXattr> =
            parsed.xattrs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        prop_assert_eq!(read, xattrs);
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        // Whether it's an error doesn't matter here: a few short texts are valid objects.
        drop(Dirtree::parse(&bytes));
        drop(Dirmeta::parse(&bytes));
        drop(parse_xattrs(&bytes));
        drop(Commit::parse(Checksum([0; 32]), &bytes));
    }

    #[test]
    fn a_flipped_bit_never_panics_and_glib_agrees_on_what_is_normal(
        files in prop::collection::vec((file_name(), object()), 0..6),
        directories in prop::collection::vec((file_name(), object(), object()), 0..4),
        bit in any::<prop::sample::Index>(),
    ) {
        let mut bytes = dirtree_bytes(&files, &directories);
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let variant = glib::Variant::from_data_with_type(bytes.clone(), glib::VariantTy::new("(a(say)a(sayay))").unwrap());
        if Dirtree::parse(&bytes).is_ok() {
            prop_assert!(variant.is_normal_form());
        } else if variant.is_normal_form() {
            let (files, directories): (Vec<RawFile>, Vec<RawDirectory>) = variant.get().unwrap();
            let names = files.iter().map(|file| &file.0).chain(directories.iter().map(|entry| &entry.0));
            let bad_name = names.clone().any(|name| name.is_empty() || name == "." || name == ".." || name.contains('/'));
            let sums = files.iter().map(|file| &file.1).chain(directories.iter().flat_map(|entry| [&entry.1, &entry.2]));
            let bad_sum = sums.clone().any(|sum| sum.len() != 32);
            prop_assert!(bad_name || bad_sum);
        }
    }
}

#[test]
fn reads_arrays_on_both_sides_of_each_offset_width() {
    for count in [0, 1, 3, 4, 5, 1000, 1100, 1500, 1600, 30_000] {
        let files: Vec<RawFile> = (0..count).map(|n| (format!("f{n}"), vec![7; 32])).collect();
        let bytes = dirtree_bytes(&files, &[]);
        assert_eq!(Dirtree::parse(&bytes).unwrap().files.len(), count);
    }
}

#[test]
fn refuses_names_that_leave_their_directory() {
    for name in ["", ".", "..", "a/b", "/"] {
        let file = dirtree_bytes(&[(name.to_owned(), vec![0; 32])], &[]);
        assert_eq!(Dirtree::parse(&file), Err(FormatError::Name(name.to_owned())));
        let directory = dirtree_bytes(&[], &[(name.to_owned(), vec![0; 32], vec![0; 32])]);
        assert_eq!(Dirtree::parse(&directory), Err(FormatError::Name(name.to_owned())));
    }
}

#[test]
fn refuses_checksums_of_other_length() {
    for len in [0, 31, 33] {
        let bytes = dirtree_bytes(&[("a".to_owned(), vec![0; len])], &[]);
        assert_eq!(Dirtree::parse(&bytes), Err(FormatError::Checksum(len)));
    }
}

#[test]
fn refuses_names_that_are_not_utf_8() {
    let mut bytes = dirtree_bytes(&[("abc".to_owned(), vec![0; 32])], &[]);
    bytes[1] = 0xff;
    assert_eq!(Dirtree::parse(&bytes), Err(FormatError::Variant(GVariantError::Text)));
}

#[test]
fn refuses_bytes_that_no_member_covers() {
    let mut bytes = dirmeta_bytes([0, 0, 0o40755], &[]);
    bytes.push(0);
    // The array's only framing offset says that an element of no bytes is there.
    assert!(Dirmeta::parse(&bytes).is_err());
    let mut tree = dirtree_bytes(&[], &[]);
    assert_eq!(tree, [0]);
    tree.insert(0, 9);
    assert!(Dirtree::parse(&tree).is_err());
}

#[test]
fn reads_a_commit_with_and_without_a_promise() {
    let digest = [9_u8; 32];
    let other = ("version".to_owned(), "1".to_variant());
    let without = commit_bytes(&[(&other.0, other.1.clone())], &[1; 32], &[2; 32]);
    let commit = Commit::parse(Checksum([3; 32]), &without).unwrap();
    assert_eq!((commit.dirtree, commit.dirmeta), (Checksum([1; 32]), Checksum([2; 32])));
    assert_eq!(commit.image_digest, None);

    let promise = ("ostree.composefs.digest.v0", digest.as_slice().to_variant());
    let with = commit_bytes(&[(&other.0, other.1), promise], &[1; 32], &[2; 32]);
    let commit = Commit::parse(Checksum([3; 32]), &with).unwrap();
    assert_eq!(commit.image_digest.map(|digest| digest.0), Some(digest));
}

#[test]
fn refuses_a_promise_of_other_type_or_size() {
    let key = "ostree.composefs.digest.v0";
    let long = vec![0_u8; 33];
    for value in [long[..31].to_variant(), long.to_variant(), long[..0].to_variant(), "text".to_variant()] {
        let bytes = commit_bytes(&[(key, value)], &[1; 32], &[2; 32]);
        let error = Commit::parse(Checksum([3; 32]), &bytes).unwrap_err();
        assert!(matches!(error, GVariantError::Size { .. } | GVariantError::Type { .. }), "{error}");
    }
}

#[test]
fn refuses_a_commit_whose_tree_is_no_checksum() {
    let bytes = commit_bytes(&[], &[1; 31], &[2; 32]);
    let error = GVariantError::Size { key: "tree".to_owned(), expected: 32, found: 31 };
    assert_eq!(Commit::parse(Checksum([3; 32]), &bytes), Err(error));
}
