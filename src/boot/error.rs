//! Why there is no new root: a check said no, or something could not be done.

use std::fmt;
use std::path::Path;

use ostree_seal_trust::refusal::Refusal;
use rustix::io::Errno;

use crate::check::error::CheckError;
use crate::find::cmdline::CmdlineError;
use crate::find::deployment::DeploymentError;
use crate::layout::prepare_root_conf::LayoutError;
use crate::tpm::error::TpmError;

/// Why the program ends without a new root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootError {
    /// The kernel command line names no deployment.
    Cmdline(CmdlineError),
    /// There is no such deployment, or no image in it.
    Deployment(DeploymentError),
    /// There is no policy to check an image by, or the image has no digest: a refusal whose sentence names the file.
    Unchecked(Box<CheckError>),
    /// The image of this path did not pass the check.
    Check(String, Box<CheckError>),
    /// The image of this path can't be read: the disk fails, or gives other bytes than fs-verity has measured.
    Unreadable(String),
    /// The kernel can't do what is needed.
    Kernel(Missing),
    /// The overlay was mounted, and the kernel doesn't say that it checks the contents of files.
    NotEnforced(String),
    /// The image has no composefs header.
    NotAnImage(String),
    /// `prepare-root.conf` can't be followed.
    Layout(LayoutError),
    /// The policy wants a measurement, and the TPM can't give one.
    Tpm(TpmError),
    /// A step failed.
    Step {
        /// What was being done, as in "mounting the image".
        doing: String,
        /// What the kernel said.
        errno: Errno,
        /// What the kernel said in words, or nothing.
        log: String,
    },
}

/// What a kernel may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The EROFS file system.
    Erofs,
    /// The overlay file system.
    Overlay,
    /// The overlay option `verity=require`, which came with Linux 6.6.
    OverlayVerity,
    /// Neither can EROFS mount a file, which came with Linux 6.12, nor is there a loop device.
    Loop,
    /// The mount calls that came with Linux 5.2.
    MountCalls,
}

/// What is being done, to be said when it fails.
pub(crate) struct Doing;

impl Doing {
    /// Turns an errno into the failure of this step.
    pub(crate) fn step(doing: &str) -> impl Fn(Errno) -> BootError {
        move |errno| BootError::Step { doing: doing.to_owned(), errno, log: String::new() }
    }

    /// Turns an errno into the failure of doing something with a file.
    pub(crate) fn with(verb: &str, path: impl AsRef<Path>) -> impl Fn(Errno) -> BootError {
        move |errno| Self::step(&format!("{verb} {}", path.as_ref().display()))(errno)
    }
}

impl BootError {
    /// Whether a check said no. Anything else is a step that could not be done.
    pub fn is_refusal(&self) -> bool {
        !matches!(self, Self::Step { .. } | Self::Layout(_) | Self::Deployment(DeploymentError::Os(..)))
    }

    /// A refusal whose sentence names the file.
    pub fn unchecked(error: CheckError) -> Self {
        Self::Unchecked(Box::new(error))
    }

    /// A no to the image of this path.
    pub fn check(path: &str, error: impl Into<CheckError>) -> Self {
        Self::Check(path.to_owned(), Box::new(error.into()))
    }

    /// Every word that [`BootError::name`] has.
    pub fn names() -> impl Iterator<Item = &'static str> {
        [
            CmdlineError::NAMES.as_slice(),
            &DeploymentError::NAMES,
            &CheckError::NAMES,
            &Refusal::NAMES,
            &Missing::NAMES,
            &TpmError::NAMES,
            &[
                "image/unreadable",
                "image/not-composefs",
                "kernel/not-enforced",
                "layout/not-understood",
                "step",
            ],
        ]
        .concat()
        .into_iter()
    }

    /// A word for programs, `ABOUT/WHAT`. It stays as it is when the sentence changes.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Cmdline(error) => error.name(),
            Self::Deployment(error) => error.name(),
            Self::Unchecked(error) | Self::Check(_, error) => error.name(),
            Self::Unreadable(_) => "image/unreadable",
            Self::NotAnImage(_) => "image/not-composefs",
            Self::Kernel(missing) => missing.name(),
            Self::NotEnforced(_) => "kernel/not-enforced",
            Self::Layout(_) => "layout/not-understood",
            Self::Tpm(error) => error.name(),
            Self::Step { .. } => "step",
        }
    }
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cmdline(error) => error.fmt(f),
            Self::Deployment(error) => error.fmt(f),
            Self::Unchecked(refusal) => refusal.fmt(f),
            Self::Check(path, refusal) => write!(f, "/{path}: {refusal}"),
            Self::Unreadable(path) => write!(
                f,
                "/{path} can't be read: the disk fails, or has other bytes than the ones that fs-verity measured; boot \
                 another entry and deploy this one again"
            ),
            Self::Kernel(missing) => missing.fmt(f),
            Self::NotEnforced(options) => write!(
                f,
                "the overlay was mounted with the options {options}, expected verity=require among them: this kernel \
                 would not check the contents of files; boot Linux 6.6 or later"
            ),
            Self::NotAnImage(path) => write!(
                f,
                "/{path} does not start with a composefs header; boot another entry and deploy this one again"
            ),
            Self::Layout(error) => error.fmt(f),
            Self::Tpm(error) => error.fmt(f),
            Self::Step { doing, errno, log } if log.is_empty() => write!(f, "{doing}: {errno}"),
            Self::Step { doing, errno, log } => write!(f, "{doing}: {errno} ({log})"),
        }
    }
}

impl Missing {
    const NAMES: [&str; 5] = [
        "kernel/no-erofs",
        "kernel/no-overlay",
        "kernel/no-overlay-verity",
        "kernel/no-loop",
        "kernel/no-mount-calls",
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Erofs => "kernel/no-erofs",
            Self::Overlay => "kernel/no-overlay",
            Self::OverlayVerity => "kernel/no-overlay-verity",
            Self::Loop => "kernel/no-loop",
            Self::MountCalls => "kernel/no-mount-calls",
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Erofs => {
                "this kernel has no EROFS; add the module erofs to the initramfs, or boot a kernel with CONFIG_EROFS_FS"
            }
            Self::Overlay => {
                "this kernel has no overlayfs; add the module overlay to the initramfs, or boot a kernel with \
                 CONFIG_OVERLAY_FS"
            }
            Self::OverlayVerity => {
                "this kernel's overlayfs does not know verity=require, so nothing would check the contents of files; \
                 boot Linux 6.6 or later"
            }
            Self::Loop => {
                "this kernel's EROFS can't mount a file (Linux 6.12 can), and there is no loop device; add the module \
                 loop to the initramfs"
            }
            Self::MountCalls => "this kernel has no fsopen and fsmount; boot Linux 6.6 or later",
        })
    }
}

impl std::error::Error for BootError {}

impl From<CmdlineError> for BootError {
    fn from(error: CmdlineError) -> Self {
        Self::Cmdline(error)
    }
}

impl From<TpmError> for BootError {
    fn from(error: TpmError) -> Self {
        Self::Tpm(error)
    }
}

impl From<LayoutError> for BootError {
    fn from(error: LayoutError) -> Self {
        Self::Layout(error)
    }
}

impl From<DeploymentError> for BootError {
    fn from(error: DeploymentError) -> Self {
        Self::Deployment(error)
    }
}

#[cfg(test)]
mod tests {
    use super::BootError;

    /// Every file that has a `fn name` for a part of a boot's error; the trust package has such a test for its own.
    const SOURCES: [&str; 5] = [
        include_str!("error.rs"),
        include_str!("check/error.rs"),
        include_str!("find/cmdline.rs"),
        include_str!("find/deployment.rs"),
        include_str!("tpm/error.rs"),
    ];

    #[test]
    fn the_list_has_every_word_once() {
        let mut words: Vec<&str> = ostree_seal_trust::refusal::Refusal::NAMES.to_vec();
        for source in SOURCES {
            let (code, _) = source.split_once("mod tests").unwrap_or((source, ""));
            for body in code.split("fn name(").skip(1) {
                words.extend(body.split("\n    }\n").next().unwrap().split('"').skip(1).step_by(2));
            }
        }
        words.sort_unstable();
        let mut list: Vec<_> = BootError::names().collect();
        list.sort_unstable();
        assert_eq!(words, list);
    }
}
