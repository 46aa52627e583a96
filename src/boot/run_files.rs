//! What is left in `/run` for later stages, and taken away again if the root doesn't come to be.

use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, RawMode, chmod, mkdirat, openat, stat, symlinkat};
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

    /// Makes a directory of this mode, whatever the umask is. One that is there already is given the mode.
    pub fn directory(&mut self, name: &str, mode: RawMode) -> Result<PathBuf, BootError> {
        let path = self.run.join(name);
        let doing = Doing::with("making the directory", &path);
        match mkdirat(CWD, &path, Mode::RWXU) {
            Ok(()) => self.made.push(path.clone()),
            Err(Errno::EXIST) if is_directory(&path) => {}
            Err(errno) => return Err(doing(errno)),
        }
        chmod(&path, Mode::from_raw_mode(mode)).map_err(doing)?;
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

    /// Writes a file of mode 0644 under its final name in one step.
    pub fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), BootError> {
        let path = self.run.join(name);
        let part = self.run.join(format!("{name}.part"));
        let doing = Doing::with("writing", &path);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(CWD, &part, flags, Mode::RUSR | Mode::WUSR).map_err(&doing)?;
        self.made.push(part.clone());
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = rustix::io::write(&file, rest).map_err(&doing)?;
            rest = &rest[written..];
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644)).map_err(&doing)?;
        rustix::fs::rename(&part, &path).map_err(&doing)?;
        self.made.push(path);
        Ok(())
    }

    /// Makes a symbolic link, in the place of one that may be there.
    pub fn link(&mut self, name: &str, target: &str) -> Result<(), BootError> {
        let path = self.run.join(name);
        let doing = Doing::with("linking", &path);
        match rustix::fs::unlink(&path) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(doing(errno)),
        }
        symlinkat(target, CWD, &path).map_err(doing)?;
        self.made.push(path);
        Ok(())
    }

    /// Whether `name` exists.
    pub fn has(&self, name: &str) -> bool {
        rustix::fs::lstat(self.run.join(name)).is_ok()
    }

    /// Removes what was made, last first. What can't be removed stays: the failure that led here is the one to tell.
    pub fn remove(self) {
        for path in self.made.iter().rev() {
            let _ = if is_directory(path) { rustix::fs::rmdir(path) } else { rustix::fs::unlink(path) };
        }
    }
}

fn is_directory(path: &Path) -> bool {
    stat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}
