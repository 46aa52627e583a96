//! Which features of ext4 this code works with, and what to do about the others.

use super::error::{Error, Result};
use super::format::SuperBlock;

/// A feature that is refused.
struct Refused {
    bit: u32,
    name: &'static str,
    way_out: &'static str,
}

/// What helps where nothing can be switched off afterwards.
const WITHOUT: &str = "make the image without it (`mke2fs -O ^FEATURE`)";
const E2FSCK: &str = "make the image again, or run `e2fsck -fy` on it and then this command again";
const NEWER: &str =
    "this program doesn't know what it means; make the image without it (`mke2fs -O ^FEATURE`)";

/// `s_feature_incompat`: those that are known and don't disturb. filetype, extents, 64bit, flex_bg, ea_inode, csum_seed,
/// largedir, casefold.
const INCOMPAT: u32 = 0x2 | 0x40 | 0x80 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x2_0000;
const INCOMPAT_REFUSED: [Refused; 8] = [
    Refused { bit: 0x1, name: "compression", way_out: WITHOUT },
    Refused { bit: 0x4, name: "needs_recovery (a journal that was not written back)", way_out: E2FSCK },
    Refused { bit: 0x8, name: "journal_dev (it is a journal and no file system)", way_out: WITHOUT },
    Refused { bit: 0x10, name: "meta_bg", way_out: WITHOUT },
    Refused { bit: 0x100, name: "mmp", way_out: "switch it off with `tune2fs -O ^mmp`" },
    Refused { bit: 0x1000, name: "dirdata", way_out: WITHOUT },
    Refused { bit: 0x8000, name: "inline_data", way_out: WITHOUT },
    Refused { bit: 0x1_0000, name: "encrypt", way_out: WITHOUT },
];

/// `s_feature_ro_compat`: sparse_super, large_file, huge_file, dir_nlink, extra_isize, metadata_csum, verity.
const RO_COMPAT: u32 = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x400 | 0x8000;
const RO_COMPAT_REFUSED: [Refused; 9] = [
    Refused {
        bit: 0x10,
        name: "uninit_bg",
        way_out: "switch to checksums of all metadata with `tune2fs -O metadata_csum`",
    },
    Refused { bit: 0x80, name: "snapshot", way_out: WITHOUT },
    Refused {
        bit: 0x100,
        name: "quota",
        way_out: "switch it off with `tune2fs -O ^quota`, and on again afterwards",
    },
    Refused { bit: 0x200, name: "bigalloc", way_out: WITHOUT },
    Refused { bit: 0x800, name: "replica", way_out: WITHOUT },
    Refused { bit: 0x1000, name: "read-only", way_out: "switch it off with `tune2fs -O ^read-only`" },
    Refused { bit: 0x2000, name: "project", way_out: "switch it off with `tune2fs -O ^project`" },
    Refused { bit: 0x4000, name: "shared_blocks", way_out: "remove it with `e2fsck -E unshare_blocks`" },
    Refused { bit: 0x1_0000, name: "orphan_present (files that were deleted while open)", way_out: E2FSCK },
];

/// Refuses a file system with a feature that it would be wrong to write to.
pub(super) fn check(superblock: &SuperBlock) -> Result<()> {
    let kinds = [
        ("incompat", superblock.s_feature_incompat.get(), INCOMPAT, &INCOMPAT_REFUSED[..]),
        ("ro_compat", superblock.s_feature_ro_compat.get(), RO_COMPAT, &RO_COMPAT_REFUSED[..]),
    ];
    for (kind, found, accepted, refused) in kinds {
        if let Some(feature) = refused.iter().find(|feature| found & feature.bit != 0) {
            let what = format!("the feature {}, which can't be handled", feature.name);
            return Err(Error::Unfit { what, way_out: feature.way_out });
        }
        if found & !accepted != 0 {
            let what = format!("unknown features ({kind} {:#x})", found & !accepted);
            return Err(Error::Unfit { what, way_out: NEWER });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros as _;

    use super::{INCOMPAT, INCOMPAT_REFUSED, RO_COMPAT, RO_COMPAT_REFUSED, check};
    use crate::ext4::format::SuperBlock;

    #[test]
    fn each_feature_is_accepted_or_refused_by_name() {
        for bit in 0..32 {
            let bit = 1_u32 << bit;
            let mut superblock = SuperBlock::new_zeroed();
            superblock.s_feature_incompat = bit.into();
            let named = INCOMPAT_REFUSED.iter().find(|feature| feature.bit == bit);
            expect(&superblock, bit & INCOMPAT != 0, named.map(|feature| feature.name));
            let mut superblock = SuperBlock::new_zeroed();
            superblock.s_feature_ro_compat = bit.into();
            let named = RO_COMPAT_REFUSED.iter().find(|feature| feature.bit == bit);
            expect(&superblock, bit & RO_COMPAT != 0, named.map(|feature| feature.name));
        }
    }

    fn expect(superblock: &SuperBlock, accepted: bool, named: Option<&str>) {
        match check(superblock) {
            Ok(()) => assert!(accepted && named.is_none(), "{superblock:?}"),
            Err(error) => {
                let error = error.to_string();
                assert!(!accepted && error.contains(named.unwrap_or("unknown features")), "{error}");
            }
        }
    }
}
