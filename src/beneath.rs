//! Files below a root that nobody has vouched for yet: a deployment, its boot partition, records of earlier runs. Whoever
//! made them may have put a fifo there, which would be waited for, a device, which may do something when it is opened, a
//! file that never ends, or a link that leads out.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use fn_error_context::context;
use ostree_seal_root::read::{ReadError, read_limited};
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use rustix::io::Errno;

/// The most names of a directory; the largest that are listed have a few dozen.
const NAMES_MAX: usize = 10_000;

/// The most bytes of a small text file, such as a record or a kernel's configuration; the largest have half a MiB.
pub const TEXT_MAX: usize = 4 << 20;

/// How often an opening is tried again in which a rename somewhere came between.
const TRIES: u32 = 100;

/// A path below a root. Links on it are followed as if the root were `/`, as they are when it has become that: none leads out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Below {
    root: PathBuf,
    name: PathBuf,
}

impl Below {
    /// The path `name` below `root`. The root's own path is the caller's, and links on it are followed as always.
    pub fn new(root: impl Into<PathBuf>, name: impl AsRef<Path>) -> Self {
        let name = name.as_ref();
        Self { root: root.into(), name: name.strip_prefix("/").unwrap_or(name).to_owned() }
    }

    /// The directory of a partition that is mounted below `root`. Its links lead to files on it, unless the directory is
    /// itself a link below `root`.
    pub fn partition(root: &Path, name: &str) -> Self {
        let directory = root.join(name);
        if directory.is_symlink() { Self::new(root, name) } else { Self::new(directory, "") }
    }

    /// A path below this one.
    pub fn join(&self, name: impl AsRef<Path>) -> Self {
        Self { root: self.root.clone(), name: self.name.join(name) }
    }

    /// The whole path, to be shown.
    pub fn path(&self) -> PathBuf {
        self.root.join(&self.name)
    }

    /// The last part of the path.
    pub fn file_name(&self) -> &OsStr {
        self.name.file_name().unwrap_or_default()
    }

    /// Whether there is anything; a link that leads nowhere is nothing. Where the disk can't tell, that is an error: what is
    /// taken for missing may be a policy.
    pub fn exists(&self) -> Result<bool, Errno> {
        self.is_there(OFlags::PATH)
    }

    /// Whether there is anything of that name, such as a link that leads nowhere.
    pub fn is_named(&self) -> Result<bool, Errno> {
        self.is_there(OFlags::PATH | OFlags::NOFOLLOW)
    }

    fn is_there(&self, flags: OFlags) -> Result<bool, Errno> {
        match self.resolve(flags) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Opens a regular file of at most `max` bytes. What it is gets looked at before it is opened for reading. The errors
    /// leave the path to the caller.
    pub fn open(&self, max: usize) -> Result<File> {
        Ok(File::from(self.open_regular(max)?))
    }

    /// Reads a regular file of at most `max` bytes, for who tells the path and the reason in words of his own.
    pub fn try_read(&self, max: usize) -> Result<Vec<u8>, ReadError> {
        read_limited(self.open_regular(max)?, max)
    }

    /// Reads a regular file of at most `max` bytes, also if it grows while it is read.
    #[context("reading {self}")]
    pub fn read(&self, max: usize) -> Result<Vec<u8>> {
        Ok(self.try_read(max)?)
    }

    /// The same, and `None` if there is nothing of that name. A link that leads nowhere is something.
    #[context("reading {self}")]
    pub fn read_if_there(&self, max: usize) -> Result<Option<Vec<u8>>> {
        match self.try_read(max) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ReadError::Os(Errno::NOENT)) => {
                ensure!(!self.is_named()?, "it is a symbolic link that leads nowhere");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn open_regular(&self, max: usize) -> Result<OwnedFd, ReadError> {
        let found = self.resolve(OFlags::PATH)?;
        let stat = fstat(&found)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(ReadError::NotAFile);
        }
        if usize::try_from(stat.st_size).is_ok_and(|size| size > max) {
            return Err(ReadError::TooLarge(max));
        }
        let same = format!("/proc/self/fd/{}", found.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        Ok(open(same, flags, Mode::empty())?)
    }

    /// What is in a directory, sorted; nothing if there is no directory of that name.
    #[context("listing {self}")]
    pub fn list(&self) -> Result<Vec<Self>> {
        let mut names = match self.names(NAMES_MAX + 1) {
            Err(ReadError::Os(Errno::NOENT | Errno::NOTDIR | Errno::LOOP)) => Vec::new(),
            result => result?.unwrap_or_default(),
        };
        ensure!(names.len() <= NAMES_MAX, "it has more than the {NAMES_MAX} names that are possible");
        names.sort_unstable();
        Ok(names.into_iter().map(|name| self.join(name)).collect())
    }

    /// Names in a directory, no more than `limit`; nothing if there is no such directory. What is no directory, and a link
    /// that leads to none, is an error.
    pub fn names(&self, limit: usize) -> Result<Option<Vec<OsString>>, ReadError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK;
        let directory = match self.resolve(flags) {
            Ok(directory) => directory,
            Err(Errno::NOENT) if !self.is_named()? => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let mut names = Vec::new();
        let mut entries = Dir::new(directory)?;
        while let (true, Some(entry)) = (names.len() < limit, entries.next()) {
            let name = OsString::from(OsStr::from_bytes(entry?.file_name().to_bytes()));
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(Some(names))
    }

    /// Device and inode number of what is there, which are the same under all of its names.
    pub fn identity(&self) -> Result<(u64, u64)> {
        let stat = fstat(self.resolve(OFlags::PATH)?)?;
        Ok((stat.st_dev, stat.st_ino))
    }

    fn resolve(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open(&self.root, directory, Mode::empty())?;
        let name = if self.name.as_os_str().is_empty() { Path::new(".") } else { &self.name };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mut tries = 0;
        loop {
            match openat2(&root, name, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) if tries < TRIES => tries += 1,
                result => return result,
            }
        }
    }
}

impl fmt::Display for Below {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path().display())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use ostree_seal_root::read::ReadError;
    use rustix::io::Errno;

    use super::{Below, NAMES_MAX};

    #[test]
    fn what_is_no_file_is_refused_without_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let below = |name: &str| Below::new(directory.path(), name);
        fs::write(path("file"), "content").unwrap();
        assert_eq!(below("file").read(7).unwrap(), b"content");
        assert!(Command::new("mkfifo").arg(path("fifo")).status().unwrap().success());
        let socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        for name in ["fifo", "socket", "."] {
            let error = format!("{:#}", below(name).open(7).unwrap_err());
            assert_eq!(error, "it is not a regular file", "{name}");
            let error = format!("{:#}", below(name).read(7).unwrap_err());
            assert!(error.contains(&format!("reading {}", below(name))), "{error}");
        }
        drop(socket);
        let large = format!("{:#}", below("file").open(6).unwrap_err());
        assert_eq!(large, "it has more than the 6 bytes that are possible");
    }

    #[test]
    fn a_link_leads_to_what_the_root_has_of_that_name_and_to_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let (root, outside) = (directory.path().join("root"), directory.path().join("outside"));
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/inside"), "inside").unwrap();
        fs::write(&outside, "outside").unwrap();
        symlink("/etc/inside", root.join("absolute")).unwrap();
        symlink("../../../../etc/inside", root.join("etc/up")).unwrap();
        symlink(&outside, root.join("out")).unwrap();
        symlink("../outside", root.join("relative")).unwrap();
        symlink("/dev/zero", root.join("zero")).unwrap();
        symlink("/proc/self/fd/0", root.join("magic")).unwrap();
        let read = |name: &str| Below::new(&root, name).read_if_there(100);
        for name in ["absolute", "etc/up", "/absolute"] {
            assert_eq!(read(name).unwrap().unwrap(), b"inside", "{name}");
        }
        for name in ["out", "relative", "zero", "magic"] {
            let error = format!("{:#}", read(name).unwrap_err());
            assert!(error.ends_with("it is a symbolic link that leads nowhere"), "{name}: {error}");
            assert!(!Below::new(&root, name).exists().unwrap());
        }
        assert_eq!(read("nothing").unwrap(), None);
        assert_eq!(read("../outside").unwrap(), None);
        // The magic links of /proc would lead out of any root.
        let error = Below::new("/proc/self", "fd/0").open(100).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&ReadError::Os(Errno::LOOP)));
    }

    #[test]
    fn a_file_that_grows_while_it_is_read_has_a_limit_too() {
        // Its size is 0 before it is read, as that of one that will grow.
        let maps = Below::new("/proc/self", "maps");
        assert!(maps.read(1 << 20).unwrap().len() > 7);
        let error = format!("{:#}", maps.read(7).unwrap_err());
        assert!(error.ends_with("it has more than the 7 bytes that are possible"), "{error}");
    }

    #[test]
    fn names_are_sorted_and_not_without_a_limit() {
        let directory = tempfile::tempdir().unwrap();
        let below = Below::new(directory.path(), "");
        for name in ["b", "a", "c"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        assert_eq!(below.list().unwrap(), ["a", "b", "c"].map(|name| below.join(name)));
        assert_eq!(below.join("a").list().unwrap(), []);
        assert_eq!(below.join("nothing").list().unwrap(), []);
        fs::create_dir(directory.path().join("many")).unwrap();
        for name in 0..=NAMES_MAX {
            fs::hard_link(directory.path().join("a"), directory.path().join("many").join(name.to_string()))
                .unwrap();
        }
        let error = format!("{:#}", below.join("many").list().unwrap_err());
        assert!(error.contains("many: it has more than the 10000 names that are possible"), "{error}");
    }
}
