//! Files of a deployment or of its boot partition, which nobody has vouched for yet: regular files only, and none without a
//! limit. A fifo would be waited for, a device may do something when it is opened, and `/dev/zero` never ends.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};

/// The most bytes of a kernel or an initramfs: several times what the largest have.
pub(super) const IMAGE_MAX: u64 = 1 << 30;

/// Opens a regular file that has at most this many bytes. What it is, is looked at before it is opened for reading.
pub(super) fn open_regular(path: &Path, max: u64) -> Result<File> {
    let found = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let stat = fstat(&found)?;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    ensure!(is_file, "it is not a regular file");
    let size = u64::try_from(stat.st_size)?;
    ensure!(size <= max, "it has {size} bytes, more than the {max} that are possible");
    let same = format!("/proc/self/fd/{}", found.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(File::from(open(same, flags, Mode::empty()).context("opening it again")?))
}

/// Reads a regular file that has at most this many bytes.
pub(super) fn read(path: &Path, max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path, max)?.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::read;

    #[test]
    fn what_is_no_file_is_refused_without_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("file"), "content").unwrap();
        assert_eq!(read(&path("file"), 7).unwrap(), b"content");
        assert!(Command::new("mkfifo").arg(path("fifo")).status().unwrap().success());
        std::os::unix::fs::symlink("/dev/zero", path("zero")).unwrap();
        for name in ["fifo", "zero", "."] {
            let error = format!("{:#}", read(&path(name), 7).unwrap_err());
            assert_eq!(error, "it is not a regular file", "{name}");
        }
        let large = format!("{:#}", read(&path("file"), 6).unwrap_err());
        assert_eq!(large, "it has 7 bytes, more than the 6 that are possible");
        read(Path::new("/nowhere/file"), 7).unwrap_err();
    }
}
