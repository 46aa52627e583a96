//! The deployment to boot: found below the physical root, whatever the disk says, and the files of it that the check
//! wants to see. Everything here comes from the disk and is worth nothing until it is checked.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use ostree_seal_trust::names::CommitId;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2, readlink};
use rustix::io::Errno;

use crate::read::read_limited;

/// The image's name in a deployment.
pub const IMAGE_NAME: &str = ".ostree.cfs";

/// The repository's objects, below the physical root.
pub const OBJECTS: &str = "ostree/repo/objects";

/// The repository's configuration, below the physical root.
pub const CONFIG: &str = "ostree/repo/config";

/// The most bytes of that file.
const CONFIG_MAX: usize = 1 << 20;

/// A deployment directory.
#[derive(Debug)]
pub struct DeploymentDir {
    /// The directory, opened with `O_PATH`.
    pub dir: OwnedFd,
    /// Its path below the physical root: `ostree/deploy/STATEROOT/deploy/CHECKSUM.SERIAL`.
    pub path: String,
    /// The name of the OS, whose deployments share one `/var`.
    pub stateroot: String,
    /// The commit, as the directory's name claims it.
    pub commit: CommitId,
}

/// Why there is no deployment to boot, or no image in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeploymentError {
    /// This path below the physical root doesn't exist, or something on the way isn't a directory.
    Missing(String),
    /// This path leaves the physical root, or goes through more symbolic links than the kernel follows.
    Escapes(String),
    /// This path of the system itself leaves the physical root.
    Outside(String),
    /// This path leads to that directory, which isn't `ostree/deploy/OS/deploy/CHECKSUM.SERIAL`.
    NotADeployment {
        /// The path on the kernel command line.
        target: String,
        /// Where it leads: a path below the physical root, or `None` if that has none in UTF-8.
        found: Option<String>,
    },
    /// The deployment has no file of this path.
    NoFile(String),
    /// The file of this path is of this type instead of a regular file.
    NotRegular {
        /// Path below the physical root.
        path: String,
        /// What it is.
        found: &'static str,
    },
    /// The file has fs-verity, and the kernel can't open such files.
    NoVerityInKernel(String),
    /// The kernel said something else about this path.
    Os(String, Errno),
}

/// Opens the physical root, the directory that the file system of `root=` is mounted on.
pub fn open_root(path: &Path) -> Result<OwnedFd, Errno> {
    openat(rustix::fs::CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Finds the deployment that `target` names below the physical root: the directory itself or a symbolic link to it.
pub fn find(sysroot: &OwnedFd, target: &str) -> Result<DeploymentDir, DeploymentError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = open_beneath(sysroot, target, flags).map_err(|errno| match errno {
        Errno::NOENT | Errno::NOTDIR => DeploymentError::Missing(target.to_owned()),
        Errno::XDEV | Errno::LOOP => DeploymentError::Escapes(target.to_owned()),
        errno => DeploymentError::Os(target.to_owned(), errno),
    })?;
    let path = path_below(sysroot, &dir).map_err(|errno| DeploymentError::Os(target.to_owned(), errno))?;
    let not_a_deployment =
        || DeploymentError::NotADeployment { target: target.to_owned(), found: path.clone() };
    let text = path.as_deref().ok_or_else(not_a_deployment)?;
    let (stateroot, commit) = split(text).ok_or_else(not_a_deployment)?;
    Ok(DeploymentDir { dir, path: text.to_owned(), stateroot: stateroot.to_owned(), commit })
}

impl DeploymentDir {
    /// Path of the image below the physical root.
    pub fn image_path(&self) -> String {
        format!("{}/{IMAGE_NAME}", self.path)
    }

    /// Opens the image, for reading. The one lookup by name: all that follows uses this descriptor.
    pub fn open_image(&self) -> Result<OwnedFd, DeploymentError> {
        open_regular(&self.dir, IMAGE_NAME, &self.image_path())
    }
}

/// Opens the repository's objects below the physical root.
pub fn open_objects(sysroot: &OwnedFd) -> Result<OwnedFd, DeploymentError> {
    open_beneath(sysroot, OBJECTS, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC).map_err(|errno| {
        match errno {
            Errno::NOENT | Errno::NOTDIR => DeploymentError::NoFile(OBJECTS.to_owned()),
            Errno::XDEV | Errno::LOOP => DeploymentError::Outside(OBJECTS.to_owned()),
            errno => DeploymentError::Os(OBJECTS.to_owned(), errno),
        }
    })
}

/// The text of the repository's configuration, if there is one. Nothing that is checked may depend on it.
pub fn repository_config(sysroot: &OwnedFd) -> Result<Option<String>, DeploymentError> {
    let file = match open_regular(sysroot, CONFIG, CONFIG) {
        Ok(file) => file,
        Err(DeploymentError::NoFile(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let bytes = read_limited(file, CONFIG_MAX)
        .map_err(|error| DeploymentError::Os(CONFIG.to_owned(), error.errno()))?;
    String::from_utf8(bytes).map(Some).map_err(|_| DeploymentError::Os(CONFIG.to_owned(), Errno::ILSEQ))
}

/// Opens a regular file below `dir`. What it is gets looked at before it is opened for reading: to open a device does
/// something to the device, and to open a fifo may wait for ever.
fn open_regular(dir: impl AsFd, name: &str, shown: &str) -> Result<OwnedFd, DeploymentError> {
    let os = |errno| DeploymentError::Os(shown.to_owned(), errno);
    let seen = match open_beneath(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC) {
        Ok(seen) => seen,
        Err(Errno::NOENT) => return Err(DeploymentError::NoFile(shown.to_owned())),
        Err(errno) => return Err(os(errno)),
    };
    let found = match FileType::from_raw_mode(fstat(&seen).map_err(os)?.st_mode) {
        FileType::RegularFile => None,
        FileType::Symlink => Some("a symbolic link"),
        FileType::Directory => Some("a directory"),
        FileType::Fifo => Some("a fifo"),
        FileType::Socket => Some("a socket"),
        _ => Some("a device"),
    };
    if let Some(found) = found {
        return Err(DeploymentError::NotRegular { path: shown.to_owned(), found });
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    match openat(rustix::fs::CWD, descriptor_path(&seen), flags, Mode::empty()) {
        Ok(file) => Ok(file),
        Err(Errno::OPNOTSUPP) => Err(DeploymentError::NoVerityInKernel(shown.to_owned())),
        Err(errno) => Err(os(errno)),
    }
}

fn open_beneath(dir: impl AsFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    loop {
        // The kernel says EAGAIN where a rename somewhere made it impossible to be sure that `..` stayed inside.
        match openat2(&dir, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
}

/// The name under which the kernel gives out what a descriptor of this process refers to.
pub(crate) fn descriptor_path(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

/// Where a directory is, below another one; `None` if it isn't below it or has a name that isn't UTF-8.
fn path_below(root: &OwnedFd, dir: &OwnedFd) -> Result<Option<String>, Errno> {
    let root = readlink(descriptor_path(root), Vec::new())?.into_bytes();
    let path = readlink(descriptor_path(dir), Vec::new())?.into_bytes();
    let below =
        path.strip_prefix(root.strip_suffix(b"/").unwrap_or(&root)).and_then(|rest| rest.strip_prefix(b"/"));
    Ok(below.and_then(|below| String::from_utf8(below.to_vec()).ok()))
}

/// Stateroot and commit of `ostree/deploy/STATEROOT/deploy/CHECKSUM.SERIAL`.
fn split(path: &str) -> Option<(&str, CommitId)> {
    let (stateroot, rest) = path.strip_prefix("ostree/deploy/")?.split_once('/')?;
    let (checksum, serial) = rest.strip_prefix("deploy/")?.split_once('.')?;
    let number = !serial.is_empty() && serial.bytes().all(|digit| digit.is_ascii_digit());
    checksum.parse().ok().filter(|_| number).map(|commit| (stateroot, commit))
}

impl DeploymentError {
    /// Every word that [`DeploymentError::name`] has.
    pub const NAMES: [&str; 8] = [
        "deployment/missing",
        "deployment/escapes",
        "deployment/outside",
        "deployment/not-a-deployment",
        "deployment/no-file",
        "deployment/not-regular",
        "deployment/no-verity-in-kernel",
        "deployment/unreadable",
    ];

    /// A word for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Missing(_) => "deployment/missing",
            Self::Escapes(_) => "deployment/escapes",
            Self::Outside(_) => "deployment/outside",
            Self::NotADeployment { .. } => "deployment/not-a-deployment",
            Self::NoFile(_) => "deployment/no-file",
            Self::NotRegular { .. } => "deployment/not-regular",
            Self::NoVerityInKernel(_) => "deployment/no-verity-in-kernel",
            Self::Os(..) => "deployment/unreadable",
        }
    }
}

impl fmt::Display for DeploymentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path) => write!(
                f,
                "ostree=/{path} names no directory below the physical root; boot another entry, or check root= and \
                 that entry's ostree="
            ),
            Self::Escapes(path) => write!(
                f,
                "ostree=/{path} leads out of the physical root, expected a relative symbolic link that stays in it; \
                 boot another entry and deploy this one again"
            ),
            Self::Outside(path) => write!(
                f,
                "/{path} leads out of the physical root, expected a directory in it; boot from a disk with a repository"
            ),
            Self::NotADeployment { target, found } => write!(
                f,
                "ostree=/{target} leads to {}, expected ostree/deploy/OS/deploy/CHECKSUM.SERIAL; boot another \
                 entry and deploy this one again",
                found
                    .as_deref()
                    .map_or_else(|| "a directory without a path".to_owned(), |path| format!("/{path}"))
            ),
            Self::NoFile(path) => write!(
                f,
                "/{path} is missing; boot another entry and run ostree-seal deploy for this deployment"
            ),
            Self::NotRegular { path, found } => write!(
                f,
                "/{path} is {found}, expected a regular file; boot another entry and deploy this one again"
            ),
            Self::NoVerityInKernel(path) => write!(
                f,
                "/{path} has fs-verity, which this kernel doesn't support; boot a kernel with CONFIG_FS_VERITY"
            ),
            Self::Os(path, errno) => write!(f, "/{path} can't be opened or read: {errno}"),
        }
    }
}

impl std::error::Error for DeploymentError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::split;

    #[test]
    fn a_deployment_has_an_os_a_checksum_and_a_serial() {
        let checksum = "0123456789abcdef".repeat(4);
        let (stateroot, commit) = split(&format!("ostree/deploy/debian/deploy/{checksum}.12")).map_or_else(
            || panic!("a deployment's path is not understood"),
            |(stateroot, commit)| (stateroot.to_owned(), commit.to_string()),
        );
        assert_eq!((stateroot.as_str(), commit), ("debian", checksum.clone()));
        for path in [
            format!("ostree/deploy/debian/deploy/{checksum}"),
            format!("ostree/deploy/debian/deploy/{checksum}."),
            format!("ostree/deploy/debian/deploy/{checksum}.x"),
            format!("ostree/deploy/debian/deploy/{}.0", &checksum[1..]),
            format!("ostree/deploy/debian/deploy/{}.0", checksum.to_uppercase()),
            format!("ostree/deploy/debian/deploy/{checksum}.0/etc"),
            format!("ostree/deploy/a/b/deploy/{checksum}.0"),
            format!("ostree/deploy/debian/backing/{checksum}.0"),
            String::new(),
        ] {
            assert!(split(&path).is_none(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(path in any::<String>(), rest in "[./0-9a-f]{0,80}") {
            let _ = split(&path);
            let _ = split(&format!("ostree/deploy/os/deploy/{rest}"));
        }
    }
}
