//! fs-verity as the kernel does it: the digest of an open file, measured and not computed, and switching it on.

use std::fmt;
use std::os::fd::AsFd;

use ostree_seal_trust::digest::Digest;
use rustix::io::Errno;

use crate::sys;

/// Why the kernel has no digest for a file, or none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeasureError {
    /// The file has no fs-verity.
    NotEnabled,
    /// The file system or the kernel has no fs-verity.
    Unsupported,
    /// The file has fs-verity with another hash algorithm (`FS_VERITY_HASH_ALG_*`) than SHA-256.
    OtherAlgorithm(u16),
    /// The kernel said something else.
    Os(Errno),
}

/// What switching fs-verity on came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enabled {
    /// The file has it from now on.
    Now,
    /// The file had it before.
    Before,
}

/// Why fs-verity could not be switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnableError {
    /// The file system or the kernel has no fs-verity.
    Unsupported,
    /// Some process holds the file open for writing.
    Busy,
    /// The kernel said something else.
    Os(Errno),
}

/// The fs-verity digest that the kernel enforces on each read of this open file. Nothing is read or hashed here.
pub fn measure(file: impl AsFd) -> Result<Digest, MeasureError> {
    match sys::measure_verity(file) {
        Ok(arg) if arg.algorithm == sys::FS_VERITY_HASH_ALG_SHA256 && arg.size == 32 => {
            let mut digest = [0; 32];
            digest.copy_from_slice(&arg.digest[..32]);
            Ok(Digest(digest))
        }
        Ok(arg) => Err(MeasureError::OtherAlgorithm(arg.algorithm)),
        Err(Errno::NODATA) => Err(MeasureError::NotEnabled),
        Err(Errno::NOTTY | Errno::OPNOTSUPP) => Err(MeasureError::Unsupported),
        Err(errno) => Err(MeasureError::Os(errno)),
    }
}

/// Switches fs-verity on (SHA-256, 4096-byte blocks, no salt) for a file that is open for reading only.
pub fn enable(file: impl AsFd) -> Result<Enabled, EnableError> {
    match sys::enable_verity(file) {
        Ok(()) => Ok(Enabled::Now),
        Err(Errno::EXIST) => Ok(Enabled::Before),
        Err(Errno::NOTTY | Errno::OPNOTSUPP) => Err(EnableError::Unsupported),
        Err(Errno::TXTBSY) => Err(EnableError::Busy),
        Err(errno) => Err(EnableError::Os(errno)),
    }
}

impl fmt::Display for MeasureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotEnabled => write!(f, "fs-verity is not enabled on the file"),
            Self::Unsupported => write!(f, "the file system or the kernel has no fs-verity"),
            Self::OtherAlgorithm(number) => {
                write!(f, "the file has fs-verity with hash algorithm {number} instead of 1 (SHA-256)")
            }
            Self::Os(errno) => write!(f, "the kernel could not measure the file: {errno}"),
        }
    }
}

impl fmt::Display for EnableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported => write!(f, "the file system or the kernel has no fs-verity"),
            Self::Busy => write!(f, "the file is open for writing"),
            Self::Os(errno) => write!(f, "the kernel could not enable fs-verity: {errno}"),
        }
    }
}

impl std::error::Error for MeasureError {}
impl std::error::Error for EnableError {}

#[cfg(test)]
mod tests {
    use super::{MeasureError, measure};

    #[test]
    fn a_file_without_verity_has_no_digest() {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let error = measure(&file).unwrap_err();
        assert!(matches!(error, MeasureError::NotEnabled | MeasureError::Unsupported), "{error}");
    }
}
