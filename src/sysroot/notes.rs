//! What libostree has written down of a staged deployment: `a{sv}`, in the byte order of the machine.

use std::path::Path;

use anyhow::{Context as _, Result};
use ostree_seal_trust::gvariant::{Dictionary, Value};

use crate::beneath::Below;
use crate::repo::Checksum;

/// The key of the mark that holds it back, `b`.
const LOCKED: &str = "locked";
/// The key of the overlays' checksums, `as`.
const OVERLAY_NAMES: &str = "overlay-initrds";
/// Where libostree puts an overlay that comes with a staged deployment.
const OVERLAYS: &str = "/run/ostree/staged-initrds";

/// What is written down, as far as it is asked for here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Notes {
    /// Whether it is kept from becoming the default at shutdown; libostree writes so since 2023.8.
    pub(super) locked: bool,
    /// The overlays that will be unpacked behind the tree's initramfs, in this order.
    pub(super) overlays: Vec<Checksum>,
}

impl Notes {
    /// Reads the file's content.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let notes = Dictionary::parse(bytes)?;
        let locked = notes.get(LOCKED)?.map(Value::boolean).transpose()?.unwrap_or(false);
        let names = notes.get(OVERLAY_NAMES)?.map(Value::texts).transpose()?.unwrap_or_default();
        let checksum = |name: &str| {
            let checksum = Checksum::from_hex(name);
            checksum
                .with_context(|| format!("{OVERLAY_NAMES} has {name:?}, expected checksums of 64 hex digits"))
        };
        Ok(Self { locked, overlays: names.into_iter().map(checksum).collect::<Result<_>>()? })
    }
}

/// Where libostree will take an overlay from at shutdown: one that an earlier deployment brought to `/boot`, or else the
/// one that was staged.
pub(super) fn overlay_path(sysroot: &Path, overlay: &Checksum) -> Below {
    let boot = Below::partition(sysroot, "boot");
    let installed = boot.join(format!("ostree/initramfs-overlays/{overlay}.img"));
    if installed.exists().unwrap_or(true) { installed } else { Below::new(OVERLAYS, overlay.to_string()) }
}

#[cfg(test)]
mod tests {
    use ostree::glib::VariantDict;

    use super::{Notes, overlay_path};
    use crate::repo::Checksum;

    fn notes(overlays: Option<&[String]>) -> anyhow::Result<Notes> {
        let dict = VariantDict::new(None);
        dict.insert("kargs", vec!["quiet".to_owned()]);
        dict.insert("locked", true);
        if let Some(overlays) = overlays {
            dict.insert("overlay-initrds", overlays);
        }
        Notes::parse(dict.end().data())
    }

    #[test]
    fn the_overlays_of_a_staged_deployment_are_found_in_libostrees_notes() {
        let names = ["b".repeat(64), "a".repeat(64)];
        let found = notes(Some(&names)).unwrap();
        assert_eq!(found.overlays, names.map(|name| Checksum::from_hex(&name).unwrap()));
        assert!(found.locked);
        assert_eq!(notes(None).unwrap().overlays, []);
        assert_eq!(Notes::parse(&[]).unwrap(), Notes { locked: false, overlays: Vec::new() });
    }

    #[test]
    fn an_overlay_that_is_no_checksum_is_an_error() {
        for name in ["", "../../etc/shadow", &"A".repeat(64)] {
            let error = format!("{:#}", notes(Some(&[name.to_owned()])).unwrap_err());
            assert!(error.contains("overlay-initrds"), "{error}");
        }
        let dict = VariantDict::new(None);
        dict.insert("overlay-initrds", "a".repeat(64));
        Notes::parse(dict.end().data()).unwrap_err();
    }

    #[test]
    fn an_overlay_in_boot_comes_before_the_one_that_was_staged() {
        let overlay = Checksum::from_hex(&"a".repeat(64)).unwrap();
        let sysroot = tempfile::tempdir().unwrap();
        let staged = format!("/run/ostree/staged-initrds/{overlay}");
        assert_eq!(overlay_path(sysroot.path(), &overlay).path().to_str(), Some(staged.as_str()));
        let boot = sysroot.path().join("boot/ostree/initramfs-overlays");
        std::fs::create_dir_all(&boot).unwrap();
        let installed = boot.join(format!("{overlay}.img"));
        std::fs::write(&installed, "").unwrap();
        assert_eq!(overlay_path(sysroot.path(), &overlay).path(), installed);
    }
}
