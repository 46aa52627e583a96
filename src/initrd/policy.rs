//! The policy and keys that will be asked at boot: those in the deployment's initramfs, which is what boots; where it
//! can't be read or there is none, those in its tree, which the initramfs is made from.

use std::path::{Path, PathBuf};

use fn_error_context::context;
use ostree_seal_root::check::error::CheckError;
use ostree_seal_root::check::policy as files;
use ostree_seal_trust::policy::{KeyFile, Policy, PolicyFiles, SealedPolicy};

use super::content::{self, Initramfs};
use super::uki;
use crate::refused::Refused;

mod root_conf; // how the root will be laid out

/// What will be asked of a deployment when it boots.
#[derive(Debug, Clone)]
pub enum Trust {
    /// A sealed image, under this policy.
    Sealed {
        /// The policy and its keys.
        policy: Box<SealedPolicy>,
        /// Where they were read.
        origin: Origin,
    },
    /// Nothing: the policy says `mode = unsealed`.
    Unsealed(Origin),
    /// Nothing: neither the initramfs nor the tree knows of sealing.
    Foreign,
}

/// Where a policy was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In the initramfs, which is what decides.
    Initramfs(PathBuf),
    /// In the tree, for this reason, such as an initramfs that can't be read.
    Tree(PathBuf, String),
}

impl Origin {
    /// The initramfs, or the policy file in the tree.
    pub fn path(&self) -> &Path {
        match self {
            Self::Initramfs(path) | Self::Tree(path, _) => path,
        }
    }

    /// Why it was read in the tree, if it was.
    pub fn why_tree(&self) -> Option<&str> {
        match self {
            Self::Initramfs(_) => None,
            Self::Tree(_, why) => Some(why),
        }
    }
}

/// What is known of a deployment's initramfs.
#[derive(Debug)]
pub enum Bootable {
    /// The deployment has none, such as a tree without a kernel.
    None,
    /// It can't be read, for this reason.
    Unreadable(PathBuf, anyhow::Error),
    /// What it holds.
    Read(PathBuf, Initramfs),
}

impl Bootable {
    /// Where it was read and what it holds, if it could be read.
    fn read(&self) -> Option<(&Path, &Initramfs)> {
        match self {
            Self::Read(path, initramfs) => Some((path, initramfs)),
            Self::None | Self::Unreadable(..) => None,
        }
    }
}

/// What will be asked of the deployment in `directory` when it boots.
#[context("reading the policy of {}", directory.display())]
pub fn of_deployment(directory: &Path, bootable: &Bootable) -> anyhow::Result<Trust> {
    let tree = tree_policy(directory)?;
    if let Bootable::Read(path, initramfs) = bootable {
        refuse_links(path, initramfs)?;
    }
    let (files, origin) = match (bootable, tree) {
        (Bootable::Read(path, initramfs), tree) => match (&initramfs.program, tree) {
            (Some(_), _) => (initramfs_policy(path, initramfs)?, Origin::Initramfs(path.clone())),
            (None, None) => return Ok(Trust::Foreign),
            (None, Some(files)) => return program_missing(path, &files),
        },
        (_, None) => return Ok(Trust::Foreign),
        (Bootable::Unreadable(_, error), Some(files)) => from_tree(files, format!("{error:#}")),
        (Bootable::None, Some(files)) => from_tree(files, "the deployment has no initramfs".to_owned()),
    };
    let policy = Policy::parse(&files)?;
    root_conf::check(directory, &administrators(directory, "ostree"), bootable.read())?;
    if let (Policy::Sealed(_), Bootable::Read(path, initramfs)) = (&policy, bootable) {
        require_start(path, initramfs)?;
    }
    Ok(match policy {
        Policy::Sealed(policy) => Trust::Sealed { policy: Box::new(policy), origin },
        Policy::Unsealed(_) => Trust::Unsealed(origin),
    })
}

fn from_tree(files: PolicyFiles, why: String) -> (PolicyFiles, Origin) {
    let origin = Origin::Tree(PathBuf::from(&files.path), why);
    (files, origin)
}

/// Reads the initramfs of a deployment: the one that its boot entry names, or else the one in its tree.
pub fn bootable(directory: &Path, initrds: &[PathBuf]) -> Bootable {
    match initrds {
        [] => bootable_staged(directory, &[]),
        paths => read(paths),
    }
}

/// Reads the initramfs of a deployment whose boot entry isn't written yet: the one in its tree, and its overlays behind it.
pub fn bootable_staged(directory: &Path, overlays: &[PathBuf]) -> Bootable {
    match tree_initramfs(directory) {
        // libostree names no overlays where the tree has no initramfs, or has it in its kernel's file.
        None => Bootable::None,
        Some(image) if uki::is_unified(&image) => read(&[image]),
        Some(image) => read(&[&[image], overlays].concat()),
    }
}

fn read(paths: &[PathBuf]) -> Bootable {
    match paths.first().cloned() {
        None => Bootable::None,
        Some(first) => match content::read(paths) {
            Ok(initramfs) => Bootable::Read(first, initramfs),
            Err(error) => Bootable::Unreadable(first, error),
        },
    }
}

/// The initramfs where libostree looks for it: beside the kernel, or in the older place. It may be in the kernel's file,
/// if that is a unified kernel image.
fn tree_initramfs(directory: &Path) -> Option<PathBuf> {
    let kernels = std::fs::read_dir(directory.join("usr/lib/modules")).into_iter().flatten().flatten();
    let beside_kernel = kernels.map(|entry| entry.path()).filter_map(|path| {
        let beside = [path.join("initramfs.img"), path.join("initramfs")];
        let with_kernel =
            beside.into_iter().find(|initramfs| initramfs.exists() && path.join("vmlinuz").exists());
        with_kernel.or_else(|| uki::in_directory(&path))
    });
    let older = ["usr/lib/ostree-boot", "boot"].into_iter().flat_map(|place| {
        let entries = std::fs::read_dir(directory.join(place)).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("initr"))
            .map(|entry| entry.path())
    });
    beside_kernel.chain(older).next()
}

/// The program follows links, and nobody does so here: what is behind one, such as a revocation, would be missed. The tree
/// doesn't help, since the initramfs may have been made of another one.
fn refuse_links(initramfs: &Path, content: &Initramfs) -> Result<(), Refused> {
    match content.obstacle() {
        None => Ok(()),
        Some(name) => Err(Refused(format!(
            "{}:/{name} is a symbolic link or no regular file, expected a file in its own place, so nobody can tell what \
             the boot will go by; make the initramfs again with the dracut module `ostree-seal` and commit the tree again",
            initramfs.display(),
        ))),
    }
}

/// The tree asks for a sealed boot that its initramfs can't give.
fn program_missing(initramfs: &Path, files: &PolicyFiles) -> anyhow::Result<Trust> {
    match Policy::parse(files)? {
        Policy::Unsealed(unsealed) => {
            let why = format!("the initramfs {} holds no {}", initramfs.display(), content::PROGRAM);
            Ok(Trust::Unsealed(Origin::Tree(unsealed.path().into(), why)))
        }
        Policy::Sealed(policy) => Err(Refused(format!(
            "{} asks for a sealed boot, but the initramfs {} holds no {}, so nothing would be checked; make the \
             initramfs again with the dracut module `ostree-seal` and commit the tree again",
            policy.path(),
            initramfs.display(),
            content::PROGRAM,
        ))
        .into()),
    }
}

/// With units for ostree-prepare-root alone, it would set up the root, and the program would lie there unasked. One that
/// has no units for either has an `/init` of its own, which knows what it does.
fn require_start(initramfs: &Path, content: &Initramfs) -> Result<(), Refused> {
    if content.starts_program() || !content.starts_prepare_root() {
        return Ok(());
    }
    Err(Refused(format!(
        "the initramfs {} starts ostree-prepare-root and not {}, so nothing would be checked; make the initramfs again \
         with the dracut module `ostree-seal` and commit the tree again",
        initramfs.display(),
        content::PROGRAM,
    )))
}

/// What the program in the initramfs will read, as it will read it.
fn initramfs_policy(path: &Path, initramfs: &Initramfs) -> Result<PolicyFiles, CheckError> {
    let base = PathBuf::from(format!("{}:/{}", path.display(), content::POLICY_DIRECTORY));
    let policy = base.join("policy.conf");
    let Some(conf) = initramfs.policy.get("policy.conf") else {
        return Err(CheckError::PolicyMissing { path: policy });
    };
    let keys = |directory: &str| {
        let below = |(name, content): (&String, &Vec<u8>)| {
            let name = name.strip_prefix(directory)?.strip_prefix('/')?;
            let path = base.join(directory).join(name).display().to_string();
            (!name.contains('/')).then(|| KeyFile { path, content: Ok(content.clone()) })
        };
        initramfs.policy.iter().filter_map(below).collect()
    };
    Ok(PolicyFiles {
        path: policy.display().to_string(),
        conf: conf.clone(),
        trusted: keys("trusted.d"),
        revoked: keys("revoked.d"),
    })
}

/// What the tree has, put together as dracut does it for the initramfs: the administrator's `policy.conf` if there is
/// one, and the keys of both directories.
pub fn tree_policy(directory: &Path) -> Result<Option<PolicyFiles>, CheckError> {
    let vendor = directory.join("usr/lib/ostree-seal");
    let admin = administrators(directory, "ostree-seal");
    let with_policy = |place: &Path| place.join("policy.conf").symlink_metadata().is_ok();
    let (first, second) = match (with_policy(&admin), with_policy(&vendor)) {
        (false, false) => return Ok(None),
        (true, _) => (&admin, &vendor),
        (false, true) => (&vendor, &admin),
    };
    let mut policy = files::read(first)?;
    for (keys, name) in [(&mut policy.trusted, "trusted.d"), (&mut policy.revoked, "revoked.d")] {
        keys.extend(files::read_keys(&second.join(name))?);
    }
    Ok(Some(policy))
}

/// The administrator's directory of this name, as it was when the initramfs was made, if the tree has it.
fn administrators(directory: &Path, name: &str) -> PathBuf {
    let [in_tree, on_machine] = ["usr/etc", "etc"].map(|etc| directory.join(etc).join(name));
    if !in_tree.exists() && on_machine.exists() { on_machine } else { in_tree }
}

#[cfg(test)]
mod tests;
