//! What is left in `/run` for later stages, and taken away again if the root doesn't come to be.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, RawMode, chmod, mkdirat, openat, stat, symlinkat, unlink};
use rustix::io::Errno;

use crate::error::{BootError, Doing};

/// The directories and files that this run has made in `/run`.
#[derive(Debug)]
pub struct RunFiles {
    run: PathBuf,
    made: Vec<PathBuf>,
}

impl RunFiles {
    /// Nothing is made yet. `run` is `/run`.
    pub fn new(run: PathBuf) -> Self {
        Self { run, made: Vec::new() }
    }

    /// Makes a directory of this mode. One that is there already is given the mode.
    pub fn directory(&mut self, name: &str, mode: RawMode) -> Result<PathBuf, BootError> {
        let path = self.run.join(name);
        let mode = Mode::from_raw_mode(mode);
        let made = match mkdirat(CWD, &path, mode) {
            Ok(()) => {
                self.made.push(path.clone());
                Ok(())
            }
            Err(Errno::EXIST) if is_directory(&path) => chmod(&path, mode),
            Err(errno) => Err(errno),
        };
        made.map_err(Doing::with("making the directory", &path))?;
        Ok(path)
    }

    /// Makes a directory of mode 0700 that wasn't there before: `NAME.0`, or the next number that is free. A random name
    /// would have to wait for the entropy pool.
    pub fn fresh_directory(&mut self, name: &str) -> Result<PathBuf, BootError> {
        for number in 0..1000_u32 {
            let path = self.run.join(format!("{name}.{number}"));
            match mkdirat(CWD, &path, Mode::RWXU) {
                Ok(()) => {
                    self.made.push(path.clone());
                    return Ok(path);
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(Doing::with("making the directory", &path)(errno)),
            }
        }
        Err(Doing::with("making a directory named like", &self.run.join(name))(Errno::EXIST))
    }

    /// Writes a file of mode 0644, in the place of one that may be there. Who is to read it doesn't run yet.
    pub fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), BootError> {
        let path = self.run.join(name);
        let doing = Doing::with("writing", &path);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let create = || openat(CWD, &path, flags, Mode::from_raw_mode(0o644));
        let file = match create() {
            Err(Errno::EXIST) => unlink(&path).and_then(|()| create()),
            result => result,
        };
        let file = file.map_err(&doing)?;
        self.made.push(path.clone());
        write_all(&file, bytes).map_err(&doing)
    }

    /// Writes a file again that was written before, over what is in it. The new bytes are no fewer than the old ones.
    pub fn rewrite(&self, name: &str, bytes: &[u8]) -> Result<(), BootError> {
        let path = self.run.join(name);
        openat(CWD, &path, OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .and_then(|file| write_all(&file, bytes))
            .map_err(Doing::with("writing", &path))
    }

    /// Makes a symbolic link, in the place of one that may be there.
    pub fn link(&mut self, name: &str, target: &str) -> Result<(), BootError> {
        let path = self.run.join(name);
        let create = || symlinkat(target, CWD, &path);
        let made = match create() {
            Err(Errno::EXIST) => unlink(&path).and_then(|()| create()),
            result => result,
        };
        made.map_err(Doing::with("linking", &path))?;
        self.made.push(path);
        Ok(())
    }

    /// Whether `name` exists.
    pub fn has(&self, name: &str) -> bool {
        rustix::fs::lstat(self.run.join(name)).is_ok()
    }

    /// Does several of these, or none: after an error, what they made is removed, and what was there before stays.
    pub fn whole(&mut self, make: impl FnOnce(&mut Self) -> Result<(), BootError>) -> Result<(), BootError> {
        let before = self.made.len();
        let made = make(self);
        if made.is_err() {
            let half = self.made.split_off(before);
            Self { run: self.run.clone(), made: half }.remove();
        }
        made
    }

    /// Removes what was made, last first. What can't be removed stays: the failure that led here is the one to tell.
    pub fn remove(self) {
        for path in self.made.iter().rev() {
            let _ = if is_directory(path) { rustix::fs::rmdir(path) } else { rustix::fs::unlink(path) };
        }
    }
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let written = rustix::io::write(file, bytes)?;
        bytes = &bytes[written..];
    }
    Ok(())
}

fn is_directory(path: &Path) -> bool {
    stat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}
