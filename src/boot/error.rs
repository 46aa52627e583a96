//! Why there is no new root: a check said no, or something could not be done.

use std::fmt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::check::error::CheckError;
use crate::find::cmdline::CmdlineError;
use crate::find::deployment::DeploymentError;
use crate::layout::prepare_root_conf::ConfError;

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
    Conf(PathBuf, ConfError),
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
        !matches!(self, Self::Step { .. } | Self::Conf(..) | Self::Deployment(DeploymentError::Os(..)))
    }

    /// A refusal whose sentence names the file.
    pub fn unchecked(error: CheckError) -> Self {
        Self::Unchecked(Box::new(error))
    }

    /// A no to the image of this path.
    pub fn check(path: &str, error: impl Into<CheckError>) -> Self {
        Self::Check(path.to_owned(), Box::new(error.into()))
    }

    /// A word for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Cmdline(_) => "cmdline",
            Self::Deployment(_) => "deployment",
            Self::Unchecked(_) => "unchecked",
            Self::Check(..) => "check",
            Self::Unreadable(_) => "unreadable",
            Self::Kernel(_) => "kernel",
            Self::NotEnforced(_) => "not-enforced",
            Self::NotAnImage(_) => "not-an-image",
            Self::Conf(..) => "configuration",
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
            Self::Conf(path, error) => write!(f, "reading {}: {error}", path.display()),
            Self::Step { doing, errno, log } if log.is_empty() => write!(f, "{doing}: {errno}"),
            Self::Step { doing, errno, log } => write!(f, "{doing}: {errno} ({log})"),
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

impl From<DeploymentError> for BootError {
    fn from(error: DeploymentError) -> Self {
        Self::Deployment(error)
    }
}
