//! What the initramfs said of the running root: `/run/ostree-seal/state.json`, written by `state.rs` of the boot program.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use fn_error_context::context;
use serde::{Deserialize, Serialize};

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
    pub mount: Mount,
    /// Kernel arguments that looked like orders and were ignored.
    #[serde(default)]
    pub ignored_arguments: Vec<String>,
    /// The time that each step took, and `total`.
    #[serde(default)]
    pub microseconds: BTreeMap<String, u64>,
}

/// How the image was mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// `file`, or the loop device.
    pub image: Option<String>,
    /// How the overlay was given its layers.
    pub layers: Option<String>,
    /// `require`, if contents are checked.
    pub verity: Option<String>,
    /// What can be done to `/`.
    pub root: Option<String>,
}

/// What the initramfs said of the running root, if it was ours.
#[context("reading {STATE}")]
pub fn running() -> Result<Option<Running>> {
    read(Path::new(STATE))
}

/// The same, from a file elsewhere.
pub fn read(path: &Path) -> Result<Option<Running>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Running {
    /// Whether the image passed the check.
    pub fn is_sealed(&self) -> bool {
        self.mode == "sealed"
    }
}

#[cfg(test)]
mod tests {
    use ostree_seal_root::mount::{ImageMethod, LayersMethod, Method};
    use ostree_seal_root::tell::state::BootState;

    use super::Running;

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
