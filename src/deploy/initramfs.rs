//! What an initramfs holds of ours, read as the kernel unpacks it: a row of cpio archives ("newc"), each plain or
//! compressed, where a later file replaces an earlier one of the same name.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use flate2::bufread::GzDecoder;
use fn_error_context::context;
use ruzstd::decoding::StreamingDecoder;

/// The program that checks and mounts the root.
pub const PROGRAM: &str = "ostree-seal-root";
/// Where the policy and the keys lie.
pub const POLICY_DIRECTORY: &str = "usr/lib/ostree-seal";

/// The most bytes of a file of ours; policies and keys have a few hundred.
const FILE_MAX: u64 = 1 << 20;
/// The most bytes of a name, `PATH_MAX`.
const NAME_MAX: u64 = 4096;

/// What an initramfs holds of what a sealed boot needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Initramfs {
    /// Where [`PROGRAM`] lies in it.
    pub program: Option<String>,
    /// The files below [`POLICY_DIRECTORY`], by their path below it.
    pub policy: BTreeMap<String, Vec<u8>>,
    /// The kernel modules `erofs`, `overlay` and `loop`, as far as they are there as modules.
    pub modules: Vec<String>,
}

/// Reads an initramfs that may be split into several files, such as a main one and overlays.
pub fn read(paths: &[PathBuf]) -> Result<Initramfs> {
    let mut found = Initramfs::default();
    for path in paths {
        read_into(path, &mut found)?;
    }
    Ok(found)
}

#[context("reading the initramfs {}", path.display())]
fn read_into(path: &Path, found: &mut Initramfs) -> Result<()> {
    unpack(&std::fs::read(path)?, found)
}

/// Goes through the archives of one file.
fn unpack(bytes: &[u8], found: &mut Initramfs) -> Result<()> {
    let mut rest = bytes;
    loop {
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        rest = &rest[zeros..];
        if rest.is_empty() {
            return Ok(());
        }
        rest = match Packing::of(rest) {
            Packing::Plain => read_archive(rest, found)?,
            Packing::Gzip => {
                let mut decoder = GzDecoder::new(rest);
                read_archives(BufReader::new(&mut decoder), found)?;
                io::copy(&mut decoder, &mut io::sink())?;
                decoder.into_inner()
            }
            Packing::Zstd => {
                let mut input = rest;
                let mut decoder = StreamingDecoder::new(&mut input)?;
                read_archives(BufReader::new(&mut decoder), found)?;
                io::copy(&mut decoder, &mut io::sink())?;
                input
            }
            Packing::Program(program) => {
                read_archives(decompress_with(program, rest)?.as_slice(), found)?;
                &[]
            }
            Packing::Unknown => {
                bail!("at byte {}: neither cpio nor a known compression", bytes.len() - rest.len())
            }
        };
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Plain,
    Gzip,
    Zstd,
    /// A format rare enough to ask its own program.
    Program(&'static str),
    Unknown,
}

impl Packing {
    fn of(bytes: &[u8]) -> Self {
        let starts = |magic: &[u8]| bytes.starts_with(magic);
        if starts(b"070701") || starts(b"070702") {
            Self::Plain
        } else if starts(b"\x1f\x8b") {
            Self::Gzip
        } else if starts(b"\x28\xb5\x2f\xfd") {
            Self::Zstd
        } else if starts(b"\xfd7zXZ\0") || starts(b"\x5d\0\0") {
            Self::Program("xz")
        } else if starts(b"\x02\x21\x4c\x18") {
            Self::Program("lz4")
        } else if starts(b"BZh") {
            Self::Program("bzip2")
        } else {
            Self::Unknown
        }
    }
}

#[context("decompressing with {program}")]
fn decompress_with(program: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut child = Command::new(program).arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().context("no pipe")?;
    let mut output = child.stdout.take().context("no pipe")?;
    let mut decompressed = Vec::new();
    std::thread::scope(|scope| {
        // A pipe that closes early shows in the program's exit status.
        scope.spawn(move || io::Write::write_all(&mut input, bytes));
        output.read_to_end(&mut decompressed)
    })?;
    let status = child.wait()?;
    if !status.success() {
        bail!("{status}");
    }
    Ok(decompressed)
}

/// Reads one archive from a slice and gives back what follows it.
fn read_archive<'a>(bytes: &'a [u8], found: &mut Initramfs) -> Result<&'a [u8]> {
    let mut archive = Archive { input: bytes, position: 0 };
    archive.read(found)?;
    Ok(archive.input)
}

/// Reads the archives of a decompressed stream to its end.
fn read_archives(input: impl Read, found: &mut Initramfs) -> Result<()> {
    let mut archive = Archive { input, position: 0 };
    while archive.skip_zeros(found)? {}
    Ok(())
}

/// A reader that knows how far it has come, since cpio aligns everything to 4 bytes.
struct Archive<R> {
    input: R,
    position: u64,
}

/// `struct cpio_newc_header`, less the fields that nobody needs here.
struct Header {
    mode: u64,
    size: u64,
    name_size: u64,
}

const HEADER_LEN: usize = 110;
const S_IFMT: u64 = 0o170000;
const S_IFREG: u64 = 0o100000;

impl<R: Read> Archive<R> {
    /// Reads the next archive after padding; false at the end of the input.
    fn skip_zeros(&mut self, found: &mut Initramfs) -> Result<bool> {
        let mut byte = [0];
        loop {
            if self.input.read(&mut byte)? == 0 {
                return Ok(false);
            }
            self.position += 1;
            if byte[0] != 0 {
                break;
            }
        }
        self.read_from(&byte, found)?;
        Ok(true)
    }

    fn read(&mut self, found: &mut Initramfs) -> Result<()> {
        self.read_from(&[], found)
    }

    /// Reads one archive up to its trailer; `start` is what was read of its first header already.
    fn read_from(&mut self, start: &[u8], found: &mut Initramfs) -> Result<()> {
        let mut read = start.len();
        let mut raw = [0; HEADER_LEN];
        raw[..read].copy_from_slice(start);
        loop {
            self.fill(&mut raw[read..])?;
            read = 0;
            let header =
                Header::parse(&raw).with_context(|| format!("cpio header at byte {}", self.position))?;
            let name = self.name(header.name_size)?;
            if name == "TRAILER!!!" {
                return Ok(());
            }
            self.member(&header, &name, found)?;
        }
    }

    fn name(&mut self, size: u64) -> Result<String> {
        if size == 0 || size > NAME_MAX {
            bail!("cpio header at byte {}: a name of {size} bytes", self.position);
        }
        let mut name = vec![0; usize::try_from(size)?];
        self.fill(&mut name)?;
        self.align()?;
        name.pop();
        let name = String::from_utf8_lossy(&name).into_owned();
        Ok(name.trim_start_matches("./").trim_start_matches('/').to_owned())
    }

    fn member(&mut self, header: &Header, name: &str, found: &mut Initramfs) -> Result<()> {
        let regular = header.mode & S_IFMT == S_IFREG;
        let below_policy = name.strip_prefix(POLICY_DIRECTORY).and_then(|rest| rest.strip_prefix('/'));
        match below_policy {
            Some(file) if regular && file != PROGRAM => {
                if header.size > FILE_MAX {
                    bail!("{name} has {} bytes; policies and keys are small", header.size);
                }
                let mut content = vec![0; usize::try_from(header.size)?];
                self.fill(&mut content)?;
                found.policy.insert(file.to_owned(), content);
            }
            _ => {
                let skipped = io::copy(&mut self.input.by_ref().take(header.size), &mut io::sink())?;
                self.position += skipped;
                if skipped < header.size {
                    bail!("{name} ends after {skipped} of {} bytes", header.size);
                }
            }
        }
        if regular {
            found.note_name(name);
        }
        self.align()
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.input.read_exact(buffer).with_context(|| format!("at byte {}", self.position))?;
        self.position += buffer.len() as u64;
        Ok(())
    }

    fn align(&mut self) -> Result<()> {
        let padding = usize::try_from(self.position.wrapping_neg() % 4)?;
        self.fill(&mut [0; 3][..padding])
    }
}

impl Header {
    fn parse(raw: &[u8; HEADER_LEN]) -> Result<Self> {
        if !raw.starts_with(b"070701") && !raw.starts_with(b"070702") {
            bail!("no cpio magic");
        }
        let field = |index: usize| -> Result<u64> {
            let digits = std::str::from_utf8(&raw[6 + 8 * index..][..8])?;
            Ok(u64::from(u32::from_str_radix(digits, 16)?))
        };
        Ok(Self { mode: field(1)?, size: field(6)?, name_size: field(11)? })
    }
}

impl Initramfs {
    fn note_name(&mut self, name: &str) {
        let base = name.rsplit('/').next().unwrap_or(name);
        if base == PROGRAM {
            self.program = Some(name.to_owned());
        }
        let module = base.split(".ko").next().unwrap_or(base);
        if base.contains(".ko") && matches!(module, "erofs" | "overlay" | "loop") {
            self.modules.push(module.to_owned());
        }
    }
}

#[cfg(test)]
mod tests;
