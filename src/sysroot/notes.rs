//! What libostree has written down of a staged deployment: `a{sv}`, in the byte order of the machine.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use ostree::glib;

use crate::repo::Checksum;

/// The key of the overlays' checksums, `as`.
const OVERLAY_NAMES: &str = "overlay-initrds";
/// Where libostree puts an overlay that comes with a staged deployment.
const OVERLAYS: &str = "/run/ostree/staged-initrds";

/// The notes.
pub(super) struct Notes(glib::VariantDict);

impl Notes {
    /// Reads the file's content.
    pub(super) fn parse(bytes: Vec<u8>) -> Self {
        let notes = glib::Variant::from_data_with_type(bytes, glib::VariantTy::VARDICT);
        Self(glib::VariantDict::new(Some(&notes)))
    }

    /// Whether it is kept from becoming the default at shutdown; libostree writes so since 2023.8.
    pub(super) fn locked(&self) -> bool {
        self.0.lookup::<bool>("locked").ok().flatten() == Some(true)
    }

    /// The overlays that will be unpacked behind the tree's initramfs, in this order.
    pub(super) fn overlays(&self) -> Result<Vec<Checksum>> {
        let names = self.0.lookup::<Vec<String>>(OVERLAY_NAMES);
        let names = names.map_err(|error| anyhow!("{OVERLAY_NAMES} is no list of strings: {error}"))?;
        let checksum = |name: String| {
            let checksum = Checksum::from_hex(&name);
            checksum
                .with_context(|| format!("{OVERLAY_NAMES} has {name:?}, expected checksums of 64 hex digits"))
        };
        names.unwrap_or_default().into_iter().map(checksum).collect()
    }
}

/// Where libostree will take an overlay from at shutdown: one that an earlier deployment brought to `/boot`, or else the
/// one that was staged.
pub(super) fn overlay_path(sysroot: &Path, overlay: &Checksum) -> PathBuf {
    let installed = sysroot.join(format!("boot/ostree/initramfs-overlays/{overlay}.img"));
    if installed.exists() { installed } else { Path::new(OVERLAYS).join(overlay.to_string()) }
}

#[cfg(test)]
mod tests {
    use ostree::glib::VariantDict;

    use super::{Notes, overlay_path};
    use crate::repo::Checksum;

    fn notes(overlays: Option<&[String]>) -> Notes {
        let dict = VariantDict::new(None);
        dict.insert("kargs", vec!["quiet".to_owned()]);
        dict.insert("locked", true);
        if let Some(overlays) = overlays {
            dict.insert("overlay-initrds", overlays);
        }
        Notes::parse(dict.end().data().to_vec())
    }

    #[test]
    fn the_overlays_of_a_staged_deployment_are_found_in_libostrees_notes() {
        let names = ["b".repeat(64), "a".repeat(64)];
        let found = notes(Some(&names));
        assert_eq!(found.overlays().unwrap(), names.map(|name| Checksum::from_hex(&name).unwrap()));
        assert!(found.locked());
        assert_eq!(notes(None).overlays().unwrap(), []);
        assert!(!Notes::parse(Vec::new()).locked());
    }

    #[test]
    fn an_overlay_that_is_no_checksum_is_an_error() {
        for name in ["", "../../etc/shadow", &"A".repeat(64)] {
            let error = format!("{:#}", notes(Some(&[name.to_owned()])).overlays().unwrap_err());
            assert!(error.contains("overlay-initrds"), "{error}");
        }
        let dict = VariantDict::new(None);
        dict.insert("overlay-initrds", "a".repeat(64));
        Notes::parse(dict.end().data().to_vec()).overlays().unwrap_err();
    }

    #[test]
    fn an_overlay_in_boot_comes_before_the_one_that_was_staged() {
        let overlay = Checksum::from_hex(&"a".repeat(64)).unwrap();
        let sysroot = tempfile::tempdir().unwrap();
        let staged = format!("/run/ostree/staged-initrds/{overlay}");
        assert_eq!(overlay_path(sysroot.path(), &overlay).to_str(), Some(staged.as_str()));
        let boot = sysroot.path().join("boot/ostree/initramfs-overlays");
        std::fs::create_dir_all(&boot).unwrap();
        let installed = boot.join(format!("{overlay}.img"));
        std::fs::write(&installed, "").unwrap();
        assert_eq!(overlay_path(sysroot.path(), &overlay), installed);
    }
}
