//! What an initramfs holds of ours, read as the kernel unpacks it: a row of cpio archives ("newc"), each plain or
//! compressed, where a later file replaces an earlier one of the same name. A unified kernel image carries its own.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use flate2::bufread::GzDecoder;
use fn_error_context::context;
use ostree_seal_root::layout::prepare_root_conf;
use ostree_seal_trust::digest::Digest;
use ostree_seal_trust::policy;
use ruzstd::decoding::StreamingDecoder;

use super::{file, uki};
use crate::merkle;

mod cpio; // the archives

use cpio::{Member, Members, read_archive, read_archives};

/// The program that checks and mounts the root.
pub const PROGRAM: &str = "ostree-seal-root";
/// Where the policy and the keys lie.
pub const POLICY_DIRECTORY: &str = "usr/lib/ostree-seal";

/// The most bytes of a policy or key file, as for the program.
const POLICY_MAX: u64 = policy::FILE_MAX as u64;
/// The most bytes of a layout file; it has a few hundred.
const LAYOUT_MAX: u64 = 1 << 20;
/// The most bytes of the program, with room for one that was built for debugging.
const PROGRAM_MAX: u64 = 64 << 20;

/// The most bytes that what is packed may have unpacked: several times what the largest initramfs images have.
const UNPACKED_MAX: u64 = 2 << 30;

/// What an initramfs holds of what a sealed boot needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Initramfs {
    /// [`PROGRAM`].
    pub program: Option<Program>,
    /// The files below [`POLICY_DIRECTORY`], by their path below it.
    pub policy: BTreeMap<String, Vec<u8>>,
    /// `prepare-root.conf`, as far as it is there, by its path in [`prepare_root_conf::PLACES`].
    pub layout: BTreeMap<String, Vec<u8>>,
    /// What is a symlink, or otherwise no regular file, where the program reads one. It follows links, and no link is
    /// followed here.
    pub irregular: BTreeSet<String>,
    /// The kernel modules `erofs`, `overlay` and `loop`, as far as they are there as modules.
    pub modules: Vec<String>,
    /// What decides which program sets up the root: the units of ostree-seal-root and ostree-prepare-root and what pulls
    /// them in, and the script of initramfs-tools. A path has the target of its link, or nothing if it is a file.
    pub units: BTreeMap<String, Option<String>>,
}

/// The program in an initramfs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Where it lies.
    pub path: String,
    /// Digest of its content.
    pub digest: Digest,
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
    let bytes = file::read(path, file::IMAGE_MAX)?;
    if !uki::is_pe(&bytes) {
        return unpack(&bytes, found);
    }
    let image = uki::Uki::parse(&bytes)?;
    if image.initrds.is_empty() {
        bail!("it is an EFI program without a section `.initrd`");
    }
    image.initrds.iter().try_for_each(|initrd| unpack(initrd, found))
}

/// Goes through the archives of one file. What it holds replaces what was found before.
pub fn unpack(bytes: &[u8], found: &mut Initramfs) -> Result<()> {
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
                read_packed(&mut decoder, found)?;
                decoder.into_inner()
            }
            Packing::Zstd => {
                let mut input = rest;
                read_packed(&mut StreamingDecoder::new(&mut input)?, found)?;
                input
            }
            Packing::Program(program) => {
                read_with(program, rest, found)?;
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

/// Reads the archives that come out of a decompressor, and what follows them.
fn read_packed(decoder: impl io::Read, found: &mut Initramfs) -> Result<()> {
    let mut input = Metered { input: decoder, left: UNPACKED_MAX };
    read_archives(BufReader::new(&mut input), found)?;
    io::copy(&mut input, &mut io::sink())?;
    Ok(())
}

/// A decompressor's output, which ends with an error where nobody would make so much of it.
struct Metered<R> {
    input: R,
    left: u64,
}

impl<R: io::Read> io::Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(buffer)?;
        self.left = self.left.checked_sub(len as u64).ok_or_else(|| {
            io::Error::other(format!("it has more than the {UNPACKED_MAX} bytes that are possible, unpacked"))
        })?;
        Ok(len)
    }
}

/// Reads archives through a program that decompresses, without ever having all of its output.
#[context("decompressing with {program}")]
fn read_with(program: &str, bytes: &[u8], found: &mut Initramfs) -> Result<()> {
    let mut child = Command::new(program).arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().context("no pipe")?;
    let output = child.stdout.take().context("no pipe")?;
    let read = std::thread::scope(|scope| {
        // A pipe that closes early shows in the program's exit status.
        scope.spawn(move || io::Write::write_all(&mut input, bytes));
        let read = read_packed(output, found);
        if read.is_err() {
            // Nobody reads any more of it. That it is gone already is as good.
            drop(child.kill());
        }
        read
    });
    let status = child.wait()?;
    read?;
    if !status.success() {
        bail!("{status}");
    }
    Ok(())
}

impl Members for Initramfs {
    fn limit(name: &str) -> Option<u64> {
        if base_name(name) == PROGRAM {
            return Some(PROGRAM_MAX);
        }
        policy_name(name).map(|_| POLICY_MAX).or(is_layout(name).then_some(LAYOUT_MAX))
    }

    fn matters(name: &str) -> bool {
        let base = base_name(name);
        let is_module = base.split_once(".ko").is_some_and(|(module, _)| MODULES.contains(&module));
        Self::limit(name).is_some()
            || leads_to_orders(name)
            || UNITS.contains(&base)
            || name == SCRIPT
            || is_module
    }

    fn put(&mut self, name: &str, member: Member) {
        let irregular = match member {
            Member::File(_) => false,
            Member::Link(_) => leads_to_orders(name),
            Member::Other => {
                let is_policy = |file: &str| file == "policy.conf" || file.ends_with(".vkey");
                is_layout(name) || policy_name(name).is_some_and(is_policy)
            }
        };
        if irregular {
            self.irregular.insert(name.to_owned());
        } else {
            self.irregular.remove(name);
        }
        let base = base_name(name);
        if base == PROGRAM {
            self.program = match member {
                Member::File(Some(content)) => {
                    Some(Program { path: name.to_owned(), digest: merkle::digest(&content) })
                }
                _ => self.program.take().filter(|program| program.path != name),
            };
        } else if let Some(file) = policy_name(name) {
            match member {
                Member::File(Some(content)) => self.policy.insert(file.to_owned(), content),
                _ => self.policy.remove(file),
            };
        } else if is_layout(name) {
            match member {
                Member::File(Some(content)) => self.layout.insert(name.to_owned(), content),
                _ => self.layout.remove(name),
            };
        } else if UNITS.contains(&base) || name == SCRIPT {
            match member {
                Member::File(_) => self.units.insert(name.to_owned(), None),
                Member::Link(target) => self.units.insert(name.to_owned(), Some(target)),
                Member::Other => self.units.remove(name),
            };
        } else if let (Member::File(_), Some((module, _))) = (member, base.split_once(".ko")) {
            if MODULES.contains(&module) && !self.modules.iter().any(|known| known == module) {
                self.modules.push(module.to_owned());
            }
        }
    }
}

impl Initramfs {
    /// What keeps from telling what the program will read.
    pub fn obstacle(&self) -> Option<&str> {
        // A program that isn't seen may be behind a link in its directory. Any other link is its own affair, then.
        let counts = |name: &&String| self.program.is_some() || policy_name(name).is_some();
        self.irregular.iter().find(counts).map(String::as_str)
    }

    /// Whether something in it starts the program: systemd, or a script of initramfs-tools.
    pub fn starts_program(&self) -> bool {
        let pulled_in = |path: &str| {
            path.ends_with(&format!(".requires/{UNIT}")) || path.ends_with(&format!(".wants/{UNIT}"))
        };
        self.units.contains_key(SCRIPT) || self.units.keys().any(|path| pulled_in(path))
    }

    /// Whether ostree-prepare-root would be started, too.
    pub fn starts_prepare_root(&self) -> bool {
        let of_unit = |path: &&String| base_name(path) == PREPARE_ROOT_UNIT;
        let masked = |(_, target): (&String, &Option<String>)| target.as_deref() == Some("/dev/null");
        self.units.keys().any(|path| of_unit(&path))
            && !self.units.iter().filter(|(path, _)| of_unit(path)).any(masked)
    }
}

/// The unit that starts [`PROGRAM`].
const UNIT: &str = "ostree-seal-root.service";
const PREPARE_ROOT_UNIT: &str = "ostree-prepare-root.service";
const UNITS: [&str; 2] = [UNIT, PREPARE_ROOT_UNIT];
/// What starts [`PROGRAM`] where initramfs-tools makes the initramfs.
const SCRIPT: &str = "scripts/local-bottom/ostree-seal";
const MODULES: [&str; 3] = ["erofs", "overlay", "loop"];

fn base_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn policy_name(name: &str) -> Option<&str> {
    name.strip_prefix(POLICY_DIRECTORY)?.strip_prefix('/')
}

fn is_layout(name: &str) -> bool {
    prepare_root_conf::PLACES.contains(&name)
}

/// Whether this is a file that the program reads, a directory above one, or anything in [`POLICY_DIRECTORY`].
fn leads_to_orders(name: &str) -> bool {
    let is_above = |path: &str| Path::new(path).starts_with(name);
    policy_name(name).is_some()
        || is_above(POLICY_DIRECTORY)
        || prepare_root_conf::PLACES.into_iter().any(is_above)
}

#[cfg(test)]
mod tests;
