//! The policy and keys that will be asked at boot: those in the deployment's initramfs, which is what boots; where it
//! can't be read or there is none, those in its tree, which the initramfs is made from.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use fn_error_context::context;
use ostree_seal_root::check::error::CheckError;
use ostree_seal_root::check::policy as files;
use ostree_seal_root::layout::prepare_root_conf::{self, PLACES};
use ostree_seal_trust::policy::{Policy, PolicyFiles, SealedPolicy};

use super::content::{self, Initramfs, Malformed, NotReadableHere};
use crate::refused::Refused;
use crate::sysroot::is_no_permission;

mod tree; // what the initramfs is made from

pub use tree::policy as tree_policy;

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
    Read(PathBuf, Box<Initramfs>),
}

impl Bootable {
    /// The file that boots, to be shown.
    pub fn name(&self) -> String {
        match self {
            Self::None => "a kernel without an initramfs".to_owned(),
            Self::Unreadable(path, _) | Self::Read(path, _) => path.display().to_string(),
        }
    }
}

/// What will be asked of the deployment in `directory` when it boots.
#[context("reading the policy of {}", directory.display())]
pub fn of_deployment(directory: &Path, bootable: &Bootable) -> anyhow::Result<Trust> {
    let tree = tree_policy(directory)?;
    match bootable {
        Bootable::Read(path, initramfs) => refuse_links(path, initramfs)?,
        Bootable::Unreadable(_, error) if tree.is_some() => refuse_what_boots_otherwise(error)?,
        Bootable::None | Bootable::Unreadable(..) => {}
    }
    let (files, origin) = match (bootable, tree) {
        (Bootable::Read(path, initramfs), tree) => match (&initramfs.program, tree) {
            (Some(_), _) => (of_initramfs(path, initramfs)?, Origin::Initramfs(path.clone())),
            (None, None) => return Ok(Trust::Foreign),
            (None, Some(files)) => return program_missing(path, &files),
        },
        (_, None) => return Ok(Trust::Foreign),
        (Bootable::Unreadable(_, error), Some(files)) => from_tree(files, format!("{error:#}")),
        (Bootable::None, Some(files)) => from_tree(files, "the deployment has no initramfs".to_owned()),
    };
    let policy = Policy::parse(&files)?;
    check_layout(directory, bootable)?;
    if let (Policy::Sealed(_), Bootable::Read(path, initramfs)) = (&policy, bootable) {
        require_start(path, initramfs)?;
    }
    Ok(match policy {
        Policy::Sealed(policy) => Trust::Sealed { policy: Box::new(policy), origin },
        Policy::Unsealed(_) => Trust::Unsealed(origin),
    })
}

/// The files of the policy in an initramfs, as the program in it will read them.
pub fn of_initramfs(path: &Path, initramfs: &Initramfs) -> Result<PolicyFiles, CheckError> {
    let inside = initramfs.inside(path);
    files::read(&inside, &inside.path(content::POLICY_DIRECTORY))
}

/// Refuses a `prepare-root.conf` that the boot program could not follow, in its words. It reads the files of the initramfs;
/// where that can't be read or there is none, those of the tree count, which it is made from.
fn check_layout(directory: &Path, bootable: &Bootable) -> Result<(), Refused> {
    let layout = match bootable {
        Bootable::Read(path, initramfs) => {
            let inside = initramfs.inside(path);
            prepare_root_conf::read(&inside, PLACES.map(|name| inside.path(name)))
        }
        Bootable::None | Bootable::Unreadable(..) => tree::layout(directory),
    };
    layout.map(drop).map_err(|error| {
        Refused(format!(
            "{error}, so the boot would end there; mend the file, make the initramfs again and commit the tree again"
        ))
    })
}

/// An initramfs that this machine lacks a program for may be as good as its tree, and one that a user may not read. One that
/// is damaged, or that nobody can say what Linux makes of, is not: Linux boots with what it could unpack. Nor is what is no
/// file, or can't be found among too many, or can't be read off the disk.
fn refuse_what_boots_otherwise(error: &anyhow::Error) -> anyhow::Result<()> {
    if error.is::<Malformed>() {
        return Err(Refused(format!("{error:#}; make the initramfs again and commit the tree again")).into());
    }
    ensure!(error.is::<NotReadableHere>() || is_no_permission(error), "{error:#}");
    Ok(())
}

fn from_tree(files: PolicyFiles, why: String) -> (PolicyFiles, Origin) {
    let origin = Origin::Tree(PathBuf::from(&files.path), why);
    (files, origin)
}

/// The program follows links, and nobody does so here: what is behind one, such as a revocation, would be missed. The tree
/// doesn't help, since the initramfs may have been made of another one.
fn refuse_links(initramfs: &Path, content: &Initramfs) -> Result<(), Refused> {
    match content.obstacle() {
        None => Ok(()),
        Some(name) => Err(Refused(format!(
            "{}:/{name} is a symbolic link, or otherwise not the file or directory that belongs there, so nobody can tell what \
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
    if let Some(mask) = content.masked() {
        return Err(Refused(format!(
            "{}:/{mask} is empty or a link to /dev/null, so {} would not be started and nothing would be checked; remove \
             it, make the initramfs again and commit the tree again",
            initramfs.display(),
            content::PROGRAM,
        )));
    }
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

#[cfg(test)]
mod tests;
