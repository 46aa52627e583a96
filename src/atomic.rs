//! Files that are there whole or not at all: a temporary name in the same directory, fsync, the name, fsync of the directory.
//!
//! A run that is killed may leave a temporary name behind. The next one that writes into the directory removes it: a live
//! run holds a lock on its file, a killed one doesn't.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat};
use rustix::io::Errno;
use tempfile::TempPath;

/// What the name of a file that waits for its own begins with.
pub const TEMPORARY_PREFIX: &str = ".ostree-seal-";

/// A file under a temporary name. Dropped before it gets its own, it's gone.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    temporary: TempPath,
    path: PathBuf,
}

/// Writes a file in place of the one that may be there. `mode` is what it has, whatever the umask is.
pub fn replace(path: &Path, mode: u32, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut new = NewFile::create(path, mode)?;
    write(&mut new.file)?;
    new.file.sync_all()?;
    let directory = parent(&new.path).to_owned();
    new.rename()?;
    File::open(directory)?.sync_all()
}

/// Writes a file where there is none yet; one that is there stays, and is an error.
pub fn create(path: &Path, mode: u32, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut new = NewFile::create(path, mode)?;
    write(&mut new.file)?;
    new.file.sync_all()?;
    let directory = parent(&new.path).to_owned();
    new.temporary.persist_noclobber(&new.path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
}

impl NewFile {
    /// Begins a file that is to have this path and this mode.
    pub fn create(path: &Path, mode: u32) -> io::Result<Self> {
        let directory = parent(path);
        remove_leftovers(directory);
        let open = |name: &Path| {
            let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(name)?;
            match prepare(&file, mode) {
                Ok(()) => Ok(file),
                Err(error) => {
                    // The first error is the one to report. What is left is removed by the next run.
                    drop(std::fs::remove_file(name));
                    Err(error)
                }
            }
        };
        let (file, temporary) =
            tempfile::Builder::new().prefix(TEMPORARY_PREFIX).make_in(directory, open)?.into_parts();
        Ok(Self { file, temporary, path: path.to_owned() })
    }

    /// To be written to.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// The file, and its temporary name, which the file loses when that is dropped.
    pub fn into_parts(self) -> (File, TempPath) {
        (self.file, self.temporary)
    }

    /// Gives the file its name, in place of the one that may be there. Nothing is synced.
    pub fn rename(self) -> io::Result<()> {
        self.temporary.persist(&self.path).map_err(|error| error.error)
    }
}

/// Gives a file its mode and locks it. Before it was locked, another run may have taken it for a leftover: then the error is
/// one at which another name is tried.
fn prepare(file: &File, mode: u32) -> io::Result<()> {
    rustix::fs::fchmod(file, Mode::from_raw_mode(mode))?;
    match hold(file) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(ErrorKind::AlreadyExists.into()),
        held => held?,
    }
    if fstat(file)?.st_nlink > 0 { Ok(()) } else { Err(ErrorKind::AlreadyExists.into()) }
}

/// Locks a file that has a temporary name, or is about to get one, so that nobody takes it for a leftover.
pub fn hold(file: &File) -> io::Result<()> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        // A file system without locks: leftovers stay.
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOLCK) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Removes what killed runs have left. What can't be removed costs room and nothing else.
pub fn remove_leftovers(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let is_temporary = entry.file_name().as_encoded_bytes().starts_with(TEMPORARY_PREFIX.as_bytes());
        if is_temporary && is_left(&entry.path()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Whether it is a regular file that nobody holds.
fn is_left(path: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(path, flags, Mode::empty()).map(File::from) else { return false };
    file.metadata().is_ok_and(|metadata| metadata.is_file())
        && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::{NewFile, TEMPORARY_PREFIX, create, replace};

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole_or_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        replace(&path, 0o640, |file| file.write_all(b"old")).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
        let failed = replace(&path, 0o640, |file| {
            file.write_all(b"half")?;
            Err(std::io::Error::other("no more"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "no more");
        assert_eq!(
            (fs::read(&path).unwrap(), names(directory.path())),
            (b"old".to_vec(), vec!["file".to_owned()])
        );
        replace(&path, 0o640, |file| file.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_file_that_is_there_is_not_created_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        create(&path, 0o600, |file| file.write_all(b"first")).unwrap();
        let error = create(&path, 0o600, |file| file.write_all(b"second")).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
        assert_eq!(
            (fs::read(&path).unwrap(), names(directory.path())),
            (b"first".to_vec(), vec!["file".to_owned()])
        );
    }

    #[test]
    fn what_killed_runs_left_is_removed_and_what_live_ones_write_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let left = directory.path().join(format!("{TEMPORARY_PREFIX}left"));
        fs::write(&left, "half").unwrap();
        fs::create_dir(directory.path().join(format!("{TEMPORARY_PREFIX}directory"))).unwrap();
        let live = NewFile::create(&directory.path().join("live"), 0o600).unwrap();
        assert!(!left.exists());
        replace(&directory.path().join("other"), 0o600, |file| file.write_all(b"x")).unwrap();
        live.rename().unwrap();
        let expected = [&format!("{TEMPORARY_PREFIX}directory"), "live", "other"];
        assert_eq!(names(directory.path()), expected);
    }

    #[test]
    fn an_error_names_no_temporary_file() {
        let error = replace(Path::new("/proc/x"), 0o600, |_| Ok(())).unwrap_err().to_string();
        assert!(!error.contains(TEMPORARY_PREFIX), "{error}");
    }
}
