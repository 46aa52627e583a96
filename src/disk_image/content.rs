//! What begins at a place of an image, told by the bytes that its format is known by.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::extent::Extent;

/// What begins at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// ext4, or its forerunners, which have the same mark.
    Ext4,
    /// A format that is known by its name.
    Foreign(&'static Format),
    /// All else.
    Unknown,
}

/// A format that this program can't work in.
#[derive(Debug, PartialEq, Eq)]
pub struct Format {
    /// With its article, as it stands behind "it is".
    pub name: &'static str,
    /// What to do instead.
    pub way_out: &'static str,
    /// Whether a system could lie in it, so that its way out is what somebody needs.
    pub(super) may_be_root: bool,
    /// Each has to be there: byte, and what stands there.
    marks: Marks,
}

/// Looks at the beginning of an extent.
pub(super) fn of(image: &File, extent: Extent) -> io::Result<Content> {
    let head = head(image, extent)?;
    let has = |(at, bytes): &(usize, &[u8])| head.get(*at..*at + bytes.len()) == Some(*bytes);
    let is = |format: &&'static Format| format.marks.iter().all(has);
    let foreign = |formats: &'static [Format]| formats.iter().find(is).map(Content::Foreign);
    Ok(match foreign(IN_FRONT) {
        Some(content) => content,
        None if has(&EXT4) => Content::Ext4,
        None => foreign(BEHIND).unwrap_or(Content::Unknown),
    })
}

/// The first bytes of an extent, as many as a mark can lie in.
fn head(image: &File, extent: Extent) -> io::Result<Vec<u8>> {
    let len = usize::try_from(extent.len).unwrap_or(usize::MAX).min(HEAD_LEN);
    let mut head = vec![0; len];
    image.read_exact_at(&mut head, extent.offset)?;
    Ok(head)
}

/// btrfs has its mark farthest from the beginning.
const HEAD_LEN: usize = (64 << 10) + 72;

/// `s_magic` of `struct ext4_super_block`, which begins at byte 1024.
const EXT4: (usize, &[u8]) = (1024 + 56, b"\x53\xef");

const UNPACK: &str = "unpack it, and run this on what comes out";
const CONVERT: &str =
    "make a raw image of it with `qemu-img convert -O raw`, run this on that, and convert it back";
const BEFORE: &str = "run this on the image of the file system, before it is put in there";
const MOUNTED: &str = "fs-verity can be enabled in it only where it is mounted: run `ostree-seal deploy` on the device or in a virtual machine, or make the file system with `mkfs.ext4 -b 4096`";
const READ_ONLY: &str =
    "no OSTree system lies in a file system that can't be written; make it with `mkfs.ext4 -b 4096`";
const OTHER: &str = "only the file system with ostree/repo matters; make it with `mkfs.ext4 -b 4096`";

type Marks = &'static [(usize, &'static [u8])];

/// What a system could lie in, or what could lie around it.
const fn root(name: &'static str, way_out: &'static str, marks: Marks) -> Format {
    Format { name, way_out, may_be_root: true, marks }
}

/// What has another use.
const fn other(name: &'static str, marks: Marks) -> Format {
    Format { name, way_out: OTHER, may_be_root: false, marks }
}

/// What is known by the first kilobyte, which ext4 leaves empty.
const IN_FRONT: &[Format] = &[
    root("compressed with gzip", UNPACK, &[(0, b"\x1f\x8b\x08")]),
    root("compressed with xz", UNPACK, &[(0, b"\xfd7zXZ\0")]),
    root("compressed with zstd", UNPACK, &[(0, b"\x28\xb5\x2f\xfd")]),
    root("compressed with bzip2", UNPACK, &[(0, b"BZh"), (4, b"1AY&SY")]),
    root("compressed with lz4", UNPACK, &[(0, b"\x04\x22\x4d\x18")]),
    root("a zip archive", UNPACK, &[(0, b"PK\x03\x04")]),
    root("a tar archive", UNPACK, &[(257, b"ustar")]),
    root(
        "an Android sparse image",
        "make a raw image of it with `simg2img`, and run this on that",
        &[(0, b"\x3a\xff\x26\xed")],
    ),
    root("a qcow2 image", CONVERT, &[(0, b"QFI\xfb")]),
    root("a VMDK image", CONVERT, &[(0, b"KDMV")]),
    root("the description of a VMDK image", CONVERT, &[(0, b"# Disk DescriptorFile")]),
    root("a VHDX image", CONVERT, &[(0, b"vhdxfile")]),
    root("a VHD image", CONVERT, &[(0, b"conectix")]),
    root("a VDI image", CONVERT, &[(64, b"\x7f\x10\xda\xbe")]),
    root(
        "an XFS file system, which has no fs-verity",
        "make the file system with `mkfs.ext4 -b 4096`",
        &[(0, b"XFSB")],
    ),
    root("encrypted with LUKS", BEFORE, &[(0, b"LUKS\xba\xbe")]),
    root("a physical volume of LVM", BEFORE, &[(512, b"LABELONE"), (536, b"LVM2 001")]),
    root("a squashfs file system", READ_ONLY, &[(0, b"hsqs")]),
    other("a tree of hashes for dm-verity", &[(0, b"verity\0\0")]),
    other("an NTFS file system", &[(3, b"NTFS    ")]),
    other("a FAT file system", &[(54, b"FAT1"), (510, b"\x55\xaa")]),
    other("a FAT file system", &[(82, b"FAT32   "), (510, b"\x55\xaa")]),
];

/// What is known by bytes that may be left of an older file system in one that ext4 was made over.
const BEHIND: &[Format] = &[
    root("an EROFS file system", READ_ONLY, &[(1024, b"\xe2\xe1\xf5\xe0")]),
    root("an f2fs file system", MOUNTED, &[(1024, b"\x10\x20\xf5\xf2")]),
    root("a btrfs file system", MOUNTED, &[((64 << 10) + 64, b"_BHRfS_M")]),
    root(
        "a bcachefs file system, which has no fs-verity",
        "make the file system with `mkfs.ext4 -b 4096`",
        &[(4096 + 24, b"\xc6\x85\x73\xf6\x66\xce\x90\xa9")],
    ),
    root("a part of a Linux RAID", BEFORE, &[(4096, b"\xfc\x4e\x2b\xa9")]),
    other("swap space", &[(4086, b"SWAPSPACE2")]),
    other("a CD image", &[(0x8001, b"CD001")]),
];
