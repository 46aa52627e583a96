//! A policy's directory as it was read, by whoever reads files.

use alloc::string::String;
use alloc::vec::Vec;

/// The most bytes of `policy.conf` or of a key file.
pub const FILE_MAX: usize = 64 << 10;

/// The most files in `trusted.d` or `revoked.d`.
pub const FILES_MAX: usize = 256;

/// `policy.conf`, `trusted.d` and `revoked.d`.
#[derive(Debug, Clone)]
pub struct PolicyFiles {
    /// Where `policy.conf` is: a path, for sentences only.
    pub path: String,
    /// What is in it.
    pub conf: Vec<u8>,
    /// The files of `trusted.d`, by name.
    pub trusted: Vec<KeyFile>,
    /// The files of `revoked.d`, by name.
    pub revoked: Vec<KeyFile>,
}

/// A file in `trusted.d` or `revoked.d`.
#[derive(Debug, Clone)]
pub struct KeyFile {
    /// The file's path. Its last component must end in `.vkey`.
    pub path: String,
    /// What is in it, or why it could not be read.
    pub content: Result<Vec<u8>, String>,
}

impl KeyFile {
    /// Whether the file is named like one that holds a key: `NAME.vkey`.
    pub(super) fn is_named_vkey(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name.strip_suffix(".vkey").is_some_and(|stem| !stem.is_empty())
    }
}
