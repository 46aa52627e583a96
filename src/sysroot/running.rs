//! What the initramfs said of the running root: `/run/ostree-seal/state.json`, written by `state.rs` of the boot program. It
//! outlives a soft reboot, so it is compared with what is mounted.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use ostree_seal_root::check::verity;
use ostree_seal_root::find::deployment::IMAGE_NAME;
use serde::{Deserialize, Serialize};

use super::Sysroot;
use crate::beneath::{Below, TEXT_MAX};

/// Where it lies.
const STATE: &str = "/run/ostree-seal/state.json";

/// How the running root came to be. What the initramfs didn't know is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// `sealed` or `unsealed`.
    pub mode: String,
    /// The image's digest, as the kernel measured it.
    pub digest: Option<String>,
    /// The commit.
    pub commit: Option<String>,
    /// The signed product.
    pub product: Option<String>,
    /// The signed index.
    pub index: Option<u64>,
    /// The kind of evidence that decided: `note` or `commit`.
    pub evidence: Option<String>,
    /// The keys that counted.
    #[serde(default)]
    pub keys: Vec<String>,
    /// Keys and signatures that did not count, each with the reason.
    #[serde(default)]
    pub skipped: Vec<String>,
    /// The policy file, in the initramfs.
    #[serde(default)]
    pub policy: String,
    /// The deployment, below the physical root.
    #[serde(default)]
    pub deployment: String,
    /// How the image was mounted.
    #[serde(default)]
    pub mount: RootMount,
    /// Kernel arguments that looked like orders and were ignored.
    #[serde(default)]
    pub ignored_arguments: Vec<String>,
    /// What was measured into the TPM, if the policy asked for it.
    #[serde(default)]
    pub measured: Option<String>,
    /// The time that each step took, and `total`.
    #[serde(default)]
    pub microseconds: BTreeMap<String, u64>,
    /// Why the root that is mounted now is another one; nothing if it is this one. Not from the initramfs.
    #[serde(skip_deserializing)]
    pub differs: Option<String>,
}

/// What can be seen of the root that is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mounted {
    /// Kind of file system and its own options.
    root: Option<(String, String)>,
    /// The deployment, below the physical root.
    deployment: Option<String>,
    /// What the kernel measures of its image.
    digest: Option<String>,
}

/// How the image was mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootMount {
    /// `file`, or the loop device.
    pub image: Option<String>,
    /// How the overlay was given its layers.
    pub layers: Option<String>,
    /// `require`, if contents are checked.
    pub verity: Option<String>,
    /// What can be done to `/`.
    pub root: Option<String>,
}

impl Sysroot {
    /// What the initramfs said of the running root, if it was ours, and whether that is the one that is mounted now.
    pub fn running(&self) -> Result<Option<Running>> {
        let Some(mut running) = running()? else { return Ok(None) };
        let booted = self.deployments()?.into_iter().find(|deployment| deployment.booted);
        let mounts = Below::new("/proc/self", "mountinfo").read(TEXT_MAX)?;
        running.differs = running.difference(&Mounted {
            root: root_of(&String::from_utf8_lossy(&mounts)),
            deployment: booted.as_ref().and_then(|booted| self.target(booted)),
            digest: booted.as_ref().and_then(|booted| measured(&booted.directory)),
        });
        Ok(Some(running))
    }
}

/// What the kernel measures of a deployment's image.
fn measured(deployment: &Path) -> Option<String> {
    let image = Below::new(deployment, IMAGE_NAME).open(usize::MAX).ok()?;
    Some(verity::measure(&image).ok()?.to_string())
}

/// Kind and own options of what is mounted on `/`, in the text of `/proc/self/mountinfo`: of several mounts the last one.
fn root_of(mountinfo: &str) -> Option<(String, String)> {
    let of_line = |line: &str| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = file_system.split(' ');
        let (kind, _source, options) = (fields.next()?, fields.next()?, fields.next()?);
        (mount.split(' ').nth(4)? == "/").then(|| (kind.to_owned(), options.to_owned()))
    };
    mountinfo.lines().rev().find_map(of_line)
}

/// What the initramfs said of the root that it mounted, if it was ours.
pub fn running() -> Result<Option<Running>> {
    read(Path::new(STATE))
}

/// The same, from a file elsewhere.
pub fn read(path: &Path) -> Result<Option<Running>> {
    let state = Below::new("/", path).read_if_there(TEXT_MAX)?;
    let state = state.map(|state| serde_json::from_slice(&state)).transpose();
    state.with_context(|| format!("reading {}", path.display()))
}

impl Running {
    /// Whether the image that the initramfs mounted passed the check.
    pub fn is_sealed(&self) -> bool {
        self.mode == "sealed"
    }

    /// Why the root that is mounted isn't the one that the initramfs tells of.
    fn difference(&self, mounted: &Mounted) -> Option<String> {
        let Mounted { root, deployment, digest } = mounted;
        let named = |what: &Option<String>| what.clone().unwrap_or_else(|| "none".to_owned());
        if self.is_sealed() {
            let Some((kind, options)) = root else { return Some("nothing is mounted on /".to_owned()) };
            if kind != "overlay" || !options.split(',').any(|option| option == "verity=require") {
                return Some(format!("/ is {kind} without verity=require"));
            }
        }
        if deployment.as_ref() != Some(&self.deployment) {
            return Some(format!("/ is the deployment {}, expected {}", named(deployment), self.deployment));
        }
        // Who may not read the image can't tell.
        if self.is_sealed() && digest.is_some() && *digest != self.digest {
            let expected = named(&self.digest);
            return Some(format!("the image of / has the digest {}, expected {expected}", named(digest)));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use ostree_seal_root::mount::{ImageMethod, LayersMethod, Method};
    use ostree_seal_root::tell::state::BootState;

    use super::{Mounted, Running, root_of};

    const MOUNTINFO: &str = "\
20 1 0:17 / / rw - rootfs none rw
22 20 0:21 / / ro,relatime shared:1 - overlay composefs ro,lowerdir+=/a,datadir+=/b,metacopy=on,verity=require
23 22 254:1 / /sysroot ro,nosuid,nodev - ext4 /dev/vda1 rw
";

    #[test]
    fn a_root_that_a_soft_reboot_has_mounted_is_not_the_one_that_was_checked() {
        let text = r#"{"mode":"sealed","digest":"d","deployment":"ostree/deploy/os/deploy/c.0"}"#;
        let running: Running = serde_json::from_str(text).unwrap();
        let good = Mounted {
            root: root_of(MOUNTINFO),
            deployment: Some("ostree/deploy/os/deploy/c.0".to_owned()),
            digest: Some("d".to_owned()),
        };
        assert_eq!(running.difference(&good), None);
        let root = |kind: &str, options: &str| Some((kind.to_owned(), options.to_owned()));
        let other = |text: &str| Some(text.to_owned());
        let cases = [
            (Mounted { root: None, ..good.clone() }, "nothing is mounted on /"),
            (Mounted { root: root("ext4", "rw"), ..good.clone() }, "/ is ext4 without verity=require"),
            (Mounted { root: root("overlay", "ro,verity=on"), ..good.clone() }, "/ is overlay without"),
            (
                Mounted { deployment: other("x.1"), ..good.clone() },
                "/ is the deployment x.1, expected ostree/",
            ),
            (Mounted { deployment: None, ..good.clone() }, "/ is the deployment none, expected ostree/"),
            (Mounted { digest: other("e"), ..good.clone() }, "the image of / has the digest e, expected d"),
        ];
        for (mounted, reason) in cases {
            let found = running.difference(&mounted).unwrap();
            assert!(found.starts_with(reason), "{found}");
        }
        assert_eq!(running.difference(&Mounted { digest: None, ..good.clone() }), None);
        // Who boots without a check says nothing that could be wrong but which deployment it is.
        let unsealed = Running { mode: "unsealed".to_owned(), ..running };
        assert_eq!(unsealed.difference(&Mounted { root: None, digest: None, ..good.clone() }), None);
        assert!(unsealed.difference(&Mounted { deployment: None, ..good }).is_some());
    }

    #[test]
    fn what_is_mounted_last_on_the_root_counts() {
        let (kind, options) = root_of(MOUNTINFO).unwrap();
        assert!(kind == "overlay" && options.contains("verity=require"));
        let later =
            format!("{MOUNTINFO}40 22 0:40 / / rw shared:2 master:1 - tmpfs tmpfs rw,verity=require\n");
        assert_eq!(root_of(&later).unwrap().0, "tmpfs");
        assert_eq!(root_of("22 1 0:21 / /mnt rw - ext4 x rw\nno line\n"), None);
    }

    #[test]
    fn what_the_initramfs_writes_is_read_in_full() {
        let mut state = BootState {
            sealed: true,
            digest: Some("d".repeat(64)),
            commit: Some("c".repeat(64)),
            product: Some("example.com/os".to_owned()),
            index: Some(u64::MAX),
            evidence: Some("note".to_owned()),
            keys: vec!["example.com/release+0123".to_owned()],
            skipped: vec!["a \"quoted\" one".to_owned()],
            policy: "/usr/lib/ostree-seal/policy.conf".to_owned(),
            deployment: "ostree/deploy/os/deploy/c.0".to_owned(),
            method: Some(Method { image: ImageMethod::File, layers: LayersMethod::Descriptors }),
            ignored: vec!["ostree.prepare-root.composefs=0".to_owned()],
            ..BootState::default()
        };
        state.steps.end("check");
        let running: Running = serde_json::from_str(&state.to_json()).unwrap();
        assert!(running.is_sealed());
        assert_eq!(running.digest, state.digest);
        assert_eq!(
            (running.product, running.index, running.evidence),
            (state.product, state.index, state.evidence)
        );
        assert_eq!((running.keys, running.skipped), (state.keys, state.skipped));
        assert_eq!((running.policy, running.deployment), (state.policy, state.deployment));
        let method = state.method.unwrap();
        assert_eq!(running.mount.image, Some(method.image.to_string()));
        assert_eq!(running.mount.layers, Some(method.layers.to_string()));
        assert_eq!(running.mount.verity.as_deref(), Some("require"));
        assert_eq!(running.ignored_arguments, state.ignored);
        assert!(running.microseconds.contains_key("check") && running.microseconds.contains_key("total"));
    }

    #[test]
    fn an_unsealed_state_has_gaps() {
        let running: Running = serde_json::from_str(&BootState::default().to_json()).unwrap();
        assert!(!running.is_sealed());
        assert_eq!((running.digest, running.mount.image), (None, None));
    }
}
