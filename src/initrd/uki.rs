//! Unified kernel images: an EFI program (PE) whose sections are the kernel, its command line and its initramfs. Names of
//! sections and what they mean are those of the UAPI group's UKI specification.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use ostree_seal_root::read::ReadError;
use rustix::io::Errno;

use crate::beneath::Below;

/// The most bytes of a kernel or an initramfs: several times what the largest have.
pub(super) const IMAGE_MAX: usize = 1 << 30;

/// The most sections that are looked at; EFI's own limit for a program.
const SECTIONS_MAX: u16 = 96;
/// The most bytes before the PE header: what stands there is a program that says it needs another system.
const HEADER_MAX: usize = 1 << 20;
/// What has to be there of a file that is an EFI program.
const FIRST_LEN: usize = 0x40;
/// The most bytes of a command line: 32 times what the kernel takes.
const CMDLINE_MAX: usize = 64 << 10;

/// `IMAGE_DOS_HEADER.e_lfanew`: where the PE header begins.
const E_LFANEW: usize = 0x3c;
const PE_MAGIC: &[u8] = b"PE\0\0";
/// `IMAGE_FILE_HEADER`, after the magic.
const FILE_HEADER_LEN: usize = 20;
/// `IMAGE_SECTION_HEADER`.
const SECTION_HEADER_LEN: usize = 40;

/// A section: its name, and where in the file it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Section {
    name: [u8; 8],
    start: usize,
    len: usize,
}

/// Whether a file begins like an EFI program.
pub fn is_pe(file: &File) -> bool {
    headers(file).is_ok_and(|headers| pe_header(&headers).is_ok())
}

/// Whether this is an EFI program with an initramfs in it.
pub fn is_unified(file: &Below) -> bool {
    let sections = file.open(IMAGE_MAX).and_then(|file| sections(&headers(&file)?));
    sections.is_ok_and(|sections| sections.iter().any(|section| section.is(".initrd")))
}

/// The unified kernel images in a directory of `usr/lib/modules`: the kernel itself, or else the files beside it.
pub fn in_directory(directory: &Below) -> Result<Vec<Below>> {
    let kernel = directory.join("vmlinuz");
    if is_unified(&kernel) {
        return Ok(vec![kernel]);
    }
    Ok(directory.list()?.into_iter().filter(|file| has_efi_name(file) && is_unified(file)).collect())
}

/// The unified kernel images where a boot loader finds them by itself (boot loader specification, type 2), each once.
fn installed(root: &Path) -> Result<Vec<Below>> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    for place in ["boot", "boot/efi", "efi"] {
        for file in Below::partition(root, place).join("EFI/Linux").list()? {
            if has_efi_name(&file) && file.identity().is_ok_and(|identity| seen.insert(identity)) {
                found.push(file);
            }
        }
    }
    Ok(found)
}

fn has_efi_name(file: &Below) -> bool {
    let extension = Path::new(file.file_name()).extension();
    extension.is_some_and(|extension| extension.eq_ignore_ascii_case("efi"))
}

/// The unified kernel images installed below `root` that may boot this deployment, which lies on the disk that is seen at
/// `physical`: those with a command line that names it.
pub fn of_deployment(root: &Path, physical: &Path, deployment: &Below) -> Result<Vec<Below>> {
    let Ok(deployment) = deployment.identity() else { return Ok(Vec::new()) };
    let names_it = |target: &String| {
        Below::new(physical, target.trim_start_matches('/')).identity().is_ok_and(|found| found == deployment)
    };
    let mut found = Vec::new();
    for image in installed(root)? {
        match image.open(IMAGE_MAX) {
            Ok(file) => {
                if targets(&file).iter().any(names_it) {
                    found.push(image);
                }
            }
            // Whose it is can't be seen.
            Err(error) if is_there(&error) => {
                return Err(error.context(format!("reading {image}")));
            }
            Err(_) => {}
        }
    }
    Ok(found)
}

/// Whether an image is there and can't be read, unlike one that is no file, too large, or a link that leads nowhere.
fn is_there(error: &anyhow::Error) -> bool {
    let Some(ReadError::Os(errno)) = error.downcast_ref() else { return false };
    !matches!(*errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

/// Where in an EFI program microcode (`.ucode`) and initramfs (`.initrd`) lie, in the order in which the kernel gets them. A
/// section that lies outside of the file is an error, as is an image whose profiles bring an initramfs of their own: which of
/// them boots can't be told.
pub fn initrds(file: &File) -> Result<Vec<Range<u64>>> {
    let len = file.metadata()?.len();
    let sections = sections(&headers(file)?)?;
    let (base, profiles) = profiles(&sections);
    if profiles.iter().any(|section| section.is(".initrd")) {
        bail!("it has profiles with an initramfs of their own, and which of them boots can't be told");
    }
    let mut initrds = Vec::new();
    for name in [".ucode", ".initrd"] {
        initrds.extend(only(base, name)?.map(|section| section.within(len)).transpose()?);
    }
    Ok(initrds)
}

/// What `ostree=` on an image's command lines names, those of its profiles included; on each the first one counts. An image
/// that is damaged elsewhere still says it.
pub fn targets(file: &File) -> Vec<String> {
    let sections = headers(file).and_then(|headers| sections(&headers)).unwrap_or_default();
    let lines = sections.iter().filter(|section| section.is(".cmdline") && section.len <= CMDLINE_MAX);
    let target = |section: &Section| {
        let mut line = vec![0; section.len];
        file.read_exact_at(&mut line, section.start as u64).ok()?;
        let line = text_of(&line);
        let mut arguments = line.split_ascii_whitespace();
        arguments.find_map(|argument| argument.strip_prefix("ostree=")).map(str::to_owned)
    };
    lines.filter_map(target).collect()
}

/// The part of a file that has its headers, and nothing else of it.
fn headers(file: &File) -> Result<Vec<u8>> {
    let mut start = vec![0; FIRST_LEN];
    file.read_exact_at(&mut start, 0)?;
    ensure!(start.starts_with(b"MZ"), "it is no EFI program");
    let header = usize::try_from(u32_at(&start, E_LFANEW)?)?;
    ensure!(header <= HEADER_MAX, "its PE header begins at byte {header}, expected below {HEADER_MAX}");
    let table = usize::from(SECTIONS_MAX) * SECTION_HEADER_LEN;
    let len = header + PE_MAGIC.len() + FILE_HEADER_LEN + usize::from(u16::MAX) + table;
    let mut headers = Vec::new();
    let mut from_start = file;
    from_start.seek(SeekFrom::Start(0))?;
    from_start.take(len as u64).read_to_end(&mut headers)?;
    Ok(headers)
}

/// The sections of the image itself, and those of its profiles.
fn profiles(sections: &[Section]) -> (&[Section], &[Section]) {
    let first = sections.iter().position(|section| section.is(".profile")).unwrap_or(sections.len());
    sections.split_at(first)
}

fn text_of(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end_matches('\0').trim().to_owned()
}

/// The section of this name, of which there may be one.
fn only<'s>(sections: &'s [Section], name: &str) -> Result<Option<&'s Section>> {
    let mut found = sections.iter().filter(|section| section.is(name));
    let first = found.next();
    if found.next().is_some() {
        bail!("it has two sections `{name}`");
    }
    Ok(first)
}

impl Section {
    fn is(&self, name: &str) -> bool {
        let mut padded = [0; 8];
        let len = name.len().min(8);
        padded[..len].copy_from_slice(&name.as_bytes()[..len]);
        self.name == padded
    }

    /// Where it lies in a file of `len` bytes.
    fn within(&self, len: u64) -> Result<Range<u64>> {
        let start = self.start as u64;
        let end = start.saturating_add(self.len as u64);
        ensure!(
            end <= len,
            "section {} ({} bytes from byte {start}) ends beyond the file's {len} bytes",
            String::from_utf8_lossy(&self.name).trim_end_matches('\0'),
            self.len
        );
        Ok(start..end)
    }
}

/// Where the PE header begins.
fn pe_header(bytes: &[u8]) -> Result<usize> {
    let start = usize::try_from(u32_at(bytes, E_LFANEW)?)?;
    if bytes.get(start..).is_none_or(|rest| !rest.starts_with(PE_MAGIC)) {
        bail!("no PE header at byte {start}");
    }
    Ok(start + PE_MAGIC.len())
}

/// The section table.
fn sections(bytes: &[u8]) -> Result<Vec<Section>> {
    let header = pe_header(bytes)?;
    let count = u16_at(bytes, header + 2)?;
    if count > SECTIONS_MAX {
        bail!("{count} sections, more than the {SECTIONS_MAX} that EFI allows");
    }
    let table = header + FILE_HEADER_LEN + usize::from(u16_at(bytes, header + 16)?);
    (0..usize::from(count)).map(|index| section(bytes, table + index * SECTION_HEADER_LEN)).collect()
}

fn section(bytes: &[u8], at: usize) -> Result<Section> {
    let name =
        bytes.get(at..).and_then(|rest| rest.first_chunk()).context("the section table is cut short")?;
    // What is longer in memory than in the file is filled with zeros; what is longer in the file is padding.
    let (in_memory, in_file) = (u32_at(bytes, at + 8)?, u32_at(bytes, at + 16)?);
    Ok(Section {
        name: *name,
        start: usize::try_from(u32_at(bytes, at + 20)?)?,
        len: usize::try_from(in_memory.min(in_file))?,
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16> {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    Ok(u16::from_le_bytes(*field.with_context(|| format!("the file ends before byte {}", at + 2))?))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    Ok(u32::from_le_bytes(*field.with_context(|| format!("the file ends before byte {}", at + 4))?))
}

#[cfg(test)]
pub(super) mod tests;
