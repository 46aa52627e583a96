//! Files that the user names, read whole and with a limit: some files never end.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Result, ensure};

/// The most bytes of an image: a million files take a third of it.
pub(super) const IMAGE_MAX: u64 = 1 << 30;

/// The most bytes of a key, a signature or the text of a note.
pub(super) const SMALL_MAX: u64 = 128 << 10;

/// Reads a file, or stdin if the name is `-`.
pub(super) fn read_or_stdin(path: &Path, max: u64) -> Result<Vec<u8>> {
    if path == Path::new("-") { limited(io::stdin().lock(), max) } else { read(path, max) }
}

/// Reads a file.
pub(super) fn read(path: &Path, max: u64) -> Result<Vec<u8>> {
    limited(File::open(path)?, max)
}

fn limited(file: impl Read, max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 <= max, "it has more than the {max} bytes that are possible");
    Ok(bytes)
}
