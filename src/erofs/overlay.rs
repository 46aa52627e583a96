//! What overlayfs has to find in an image, and what it must not take for its own: names, values and file types are
//! rewritten here on the way in, and turned back by the reader. README.md, "Overlay".

use std::borrow::Cow;

use ostree_seal_trust::digest::Digest;

use super::format::{FS_VERITY_HASH_ALG_SHA256, OVL_METACOPY_VERSION, OvlMetacopy};
use crate::tree::{Metadata, mode};

/// Xattrs with this prefix speak to overlayfs.
const OVERLAY: &[u8] = b"trusted.overlay.";
/// Overlayfs shows what has this prefix as if it had [`OVERLAY`].
const ESCAPED: &[u8] = b"trusted.overlay.overlay.";

/// Holds the digest that the backing file must have.
pub(super) const METACOPY: &[u8] = b"trusted.overlay.metacopy";
/// Holds the path of the backing file below the object directory.
pub(super) const REDIRECT: &[u8] = b"trusted.overlay.redirect";

/// An xattr by name and value.
pub(super) type Pair = (&'static [u8], &'static [u8]);

/// On the root: nothing of the layers below shows through.
pub(super) const OPAQUE: Pair = (b"trusted.overlay.opaque", b"y");
/// On a regular file: overlayfs above shall see a whiteout.
pub(super) const WHITEOUT: [Pair; 2] =
    [(b"trusted.overlay.overlay.whiteout", b""), (b"user.overlay.whiteout", b"")];
/// On a directory: it has such files. The last two are there from version 1 on.
pub(super) const WHITEOUTS: [Pair; 4] = [
    (b"trusted.overlay.overlay.whiteouts", b""),
    (b"user.overlay.whiteouts", b""),
    (b"trusted.overlay.overlay.opaque", b"x"),
    (b"user.overlay.opaque", b"x"),
];

/// The xattrs that a directory with whiteouts gets.
pub(super) fn whiteouts(version: u32) -> &'static [Pair] {
    if version == 0 { &WHITEOUTS[..2] } else { &WHITEOUTS }
}

/// The name under which an xattr of the input is stored.
pub(super) fn escape(name: &[u8]) -> Cow<'_, [u8]> {
    match name.strip_prefix(OVERLAY) {
        Some(rest) => Cow::Owned([ESCAPED, rest].concat()),
        None => Cow::Borrowed(name),
    }
}

/// The name that an xattr of an image had in the input; `None` if it is one of overlayfs's own.
pub(super) fn unescape(name: &[u8]) -> Option<Cow<'_, [u8]>> {
    match name.strip_prefix(ESCAPED) {
        Some(rest) => Some(Cow::Owned([OVERLAY, rest].concat())),
        None if name.starts_with(OVERLAY) => None,
        None => Some(Cow::Borrowed(name)),
    }
}

/// Whether a node of the input is a whiteout: a character device with the number 0.
pub(super) fn is_whiteout(meta: &Metadata) -> bool {
    meta.mode & mode::S_IFMT == mode::S_IFCHR && meta.rdev == 0
}

/// The mode that a node has in the image: a whiteout becomes a regular file.
pub(super) fn stored_mode(meta: &Metadata) -> u32 {
    if is_whiteout(meta) { meta.mode & !mode::S_IFMT | mode::S_IFREG } else { meta.mode }
}

/// The metacopy value for a known digest. Without one, the value is empty.
pub(super) fn metacopy(digest: &Digest) -> OvlMetacopy {
    OvlMetacopy {
        version: OVL_METACOPY_VERSION,
        len: 36,
        flags: 0,
        digest_algo: FS_VERITY_HASH_ALG_SHA256,
        digest: digest.0,
    }
}

/// What stands before the payload in a redirect value.
pub(super) const REDIRECT_ROOT: &[u8] = b"/";

/// Names of the real whiteouts in the root, which hide the `xx` directories of objects from kernels without data-only
/// layers: two lower-case hex digits each.
pub(super) const ROOT_WHITEOUTS: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut names = [[0; 2]; 256];
    let mut index = 0;
    while index < 256 {
        names[index] = [digits[index / 16], digits[index % 16]];
        index += 1;
    }
    names
};

/// Mode of the real whiteouts in the root.
pub(super) const ROOT_WHITEOUT_MODE: u32 = mode::S_IFCHR | 0o644;
/// The only xattr that they copy from the root.
pub(super) const ROOT_WHITEOUT_XATTR: &[u8] = b"security.selinux";

/// Xattrs whose presence on any inode sets the ACL flag of the header.
pub(super) const ACL_NAMES: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];
