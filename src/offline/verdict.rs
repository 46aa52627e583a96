//! What the first boot will make of each deployment in an image: the check of the initramfs, with the policy and keys that
//! are in it. The digest is computed from the image's bytes, since no kernel has measured it yet.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use ostree_seal_root::check::error::CheckError;
use ostree_seal_root::check::evidence::{self, EvidencePlaces};
use ostree_seal_root::find::deployment::{IMAGE_NAME, OBJECTS};
use ostree_seal_trust::check::check;
use ostree_seal_trust::claim::Claim;
use ostree_seal_trust::names::CommitId;
use ostree_seal_trust::policy::SealedPolicy;
use rustix::fs::{Mode, OFlags};

use super::skeleton;
use super::targets::{ImageDeployment, Targets};
use crate::ext4::FileSystem;
use crate::ext4::examine::{Examined, Verity};
use crate::initrd::bootable::{self, Candidates};
use crate::initrd::policy::{self, Bootable, Origin, Trust};
use crate::refused::{Refused, is_refusal};
use crate::status::Verdict;
use crate::sysroot::Sysroot;

/// Why the initramfs in a deployment's tree is asked, which need not be the one that boots it.
const NO_ENTRY: &str = "the image has no boot entry for this deployment, as where /boot is another partition";

/// A deployment, and what the first boot will make of it.
#[derive(Debug)]
pub struct Judged {
    /// Path of the deployment below the system's root.
    pub path: String,
    /// What the boot will make of it.
    pub verdict: Verdict,
    /// Where its policy was read.
    pub policy: Option<String>,
    /// Why the policy was read in the tree, or in the initramfs in the tree, if it was.
    pub policy_from_tree: Option<String>,
    /// Objects that its image names, and how many of them have fs-verity.
    pub objects: (usize, usize),
}

/// Asks the check about each deployment.
pub fn judge(system: &FileSystem<'_>, targets: &Targets, files: &[Examined]) -> Result<Vec<Judged>> {
    let scratch = tempfile::tempdir().context("making a temporary directory")?;
    let root = scratch.path();
    let paths: Vec<&str> = targets.deployments.iter().map(|deployment| deployment.path.as_str()).collect();
    skeleton::copy(system, targets.root, &paths, root)?;
    let judge = Judge {
        root,
        candidates: candidates(root),
        files: files.iter().map(|file| (file.inode, file)).collect(),
    };
    Ok(targets.deployments.iter().map(|deployment| judge.deployment(deployment)).collect())
}

/// What may boot each deployment that a boot entry names.
fn candidates(root: &Path) -> HashMap<String, Candidates> {
    let Ok(sysroot) = Sysroot::open(root, false) else { return HashMap::new() };
    let deployments = sysroot.deployments().unwrap_or_default();
    let named = deployments
        .iter()
        .filter_map(|deployment| Some((sysroot.target(deployment)?, bootable::of(&sysroot, deployment))));
    named.collect()
}

struct Judge<'a> {
    root: &'a Path,
    candidates: HashMap<String, Candidates>,
    files: HashMap<u32, &'a Examined>,
}

impl Judge<'_> {
    fn deployment(&self, deployment: &ImageDeployment) -> Judged {
        let directory = self.root.join(&deployment.path);
        let in_tree;
        let (candidates, no_entry) = match self.candidates.get(&deployment.path) {
            Some(candidates) => (candidates, None),
            None => {
                in_tree = bootable::in_tree(&directory);
                (&in_tree, Some(NO_ENTRY.to_owned()))
            }
        };
        // Of several, the worst counts.
        let judged = candidates.iter().map(|bootable| self.as_booted_by(bootable, deployment, &directory));
        let worst = judged.min_by_key(|(verdict, _)| verdict.worth());
        let (verdict, origin) = worst.unwrap_or((Verdict::Foreign, None));
        let with_verity = deployment.objects.iter().filter(|inode| self.has_verity(**inode)).count();
        Judged {
            path: deployment.path.clone(),
            verdict,
            policy: origin.as_ref().map(|origin| self.inside(&origin.path().display().to_string())),
            policy_from_tree: origin.and_then(|origin| {
                let why = origin.why_tree().map(|why| self.inside(why));
                let why = no_entry.into_iter().chain(why).collect::<Vec<_>>().join("; ");
                Some(why).filter(|why| !why.is_empty())
            }),
            objects: (deployment.objects.len(), with_verity),
        }
    }

    fn as_booted_by(
        &self,
        bootable: &Bootable,
        deployment: &ImageDeployment,
        directory: &Path,
    ) -> (Verdict, Option<Origin>) {
        match policy::of_deployment(directory, bootable) {
            Ok(Trust::Sealed { policy, origin }) => (self.sealed(deployment, &policy), Some(origin)),
            Ok(Trust::Unsealed(origin)) => (Verdict::Unsealed, Some(origin)),
            Ok(Trust::Foreign) => (Verdict::Foreign, None),
            Err(error) => (self.no(&error), None),
        }
    }

    fn sealed(&self, deployment: &ImageDeployment, policy: &SealedPolicy) -> Verdict {
        match self.claim(deployment, policy) {
            Ok(claim) if self.is_enforced(deployment) => Verdict::Sealed(Box::new(claim)),
            Ok(_) => Verdict::Refused(
                "the image is good, but not all of it has fs-verity; run `ostree-seal verity` without --check".to_owned(),
            ),
            Err(error) => self.no(&error),
        }
    }

    fn claim(&self, deployment: &ImageDeployment, policy: &SealedPolicy) -> Result<Claim> {
        let Some(image) = deployment.image.and_then(|inode| self.files.get(&inode)) else {
            return Err(Refused(format!(
                "it has no {IMAGE_NAME}; run `ostree-seal deploy --sysroot=DIR --defer-verity` on the directory that the image \
                 is made of, then make the image again"
            ))
            .into());
        };
        let name = deployment.path.rsplit('/').next().unwrap_or_default();
        let commit: CommitId =
            name.split('.').next().unwrap_or_default().parse().context("the directory's name")?;
        let open = |path: &Path| {
            rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        };
        let (directory, objects) =
            (open(&self.root.join(&deployment.path))?, open(&self.root.join(OBJECTS))?);
        let places = EvidencePlaces {
            deployment: std::os::fd::AsFd::as_fd(&directory),
            objects: std::os::fd::AsFd::as_fd(&objects),
        };
        let evidence = evidence::read(places, commit, policy)?;
        Ok(check(image.digest, &evidence, policy).map_err(CheckError::from)?.claim().clone())
    }

    fn is_enforced(&self, deployment: &ImageDeployment) -> bool {
        deployment.image.iter().chain(&deployment.objects).all(|inode| self.has_verity(*inode))
    }

    fn has_verity(&self, inode: u32) -> bool {
        self.files.get(&inode).is_some_and(|file| file.verity == Verity::Right)
    }

    fn no(&self, error: &anyhow::Error) -> Verdict {
        let reason = self.inside(&format!("{error:#}"));
        if is_refusal(error) { Verdict::Refused(reason) } else { Verdict::Unknown(reason) }
    }

    /// Text with paths as they are in the image.
    fn inside(&self, text: &str) -> String {
        text.replace(&self.root.display().to_string(), "")
    }
}
