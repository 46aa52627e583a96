//! Unified kernel images: an EFI program (PE) whose sections are the kernel, its command line and its initramfs. Names of
//! sections and what they mean are those of the UAPI group's UKI specification.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::file;

/// The most sections that are looked at; EFI's own limit for a program.
const SECTIONS_MAX: u16 = 96;
/// How much of a file holds its headers.
const HEADERS_LEN: u64 = 64 << 10;

/// `IMAGE_DOS_HEADER.e_lfanew`: where the PE header begins.
const E_LFANEW: usize = 0x3c;
const PE_MAGIC: &[u8] = b"PE\0\0";
/// `IMAGE_FILE_HEADER`, after the magic.
const FILE_HEADER_LEN: usize = 20;
/// `IMAGE_SECTION_HEADER`.
const SECTION_HEADER_LEN: usize = 40;

/// What a unified kernel image holds of what matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uki<'a> {
    /// Microcode (`.ucode`) and initramfs (`.initrd`), in the order in which the kernel gets them.
    pub initrds: Vec<&'a [u8]>,
    /// The kernel command line (`.cmdline`).
    pub cmdline: Option<String>,
}

/// A section: its name, and where in the file it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Section {
    name: [u8; 8],
    start: usize,
    len: usize,
}

/// Whether these bytes begin like an EFI program.
pub fn is_pe(bytes: &[u8]) -> bool {
    bytes.starts_with(b"MZ") && pe_header(bytes).is_ok()
}

/// Whether the file at this path is an EFI program with an initramfs in it.
pub fn is_unified(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = file::open_regular(path, file::IMAGE_MAX)
        .and_then(|file| Ok(file.take(HEADERS_LEN).read_to_end(&mut start)?));
    let has_initrd = |sections: Vec<Section>| sections.iter().any(|section| section.is(".initrd"));
    read.is_ok() && is_pe(&start) && sections(&start).is_ok_and(has_initrd)
}

/// The unified kernel image in a directory of `usr/lib/modules`: the kernel itself, or a file beside it.
pub fn in_directory(directory: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut beside: Vec<PathBuf> = entries.filter(|path| has_efi_name(path)).collect();
    beside.sort();
    std::iter::once(directory.join("vmlinuz")).chain(beside).find(|path| is_unified(path))
}

/// The unified kernel images where a boot loader finds them by itself (boot loader specification, type 2).
pub fn installed(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for place in ["boot/EFI/Linux", "boot/efi/EFI/Linux", "efi/EFI/Linux"] {
        let entries = std::fs::read_dir(root.join(place)).into_iter().flatten().flatten();
        found.extend(
            entries.map(|entry| entry.path()).filter(|path| {
                path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("efi"))
            }),
        );
    }
    found.sort();
    found
}

fn has_efi_name(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("efi"))
}

/// The unified kernel image installed below `root` whose own command line boots the deployment in `directory`, which lies
/// on the disk that is seen at `physical`.
pub fn of_deployment(root: &Path, physical: &Path, directory: &Path) -> Option<PathBuf> {
    let directory = directory.canonicalize().ok()?;
    installed(root).into_iter().find(|path| {
        let target = file::read(path, file::IMAGE_MAX).ok().and_then(|bytes| target(&bytes));
        // A link that leads out of `physical` leads to no deployment of it.
        let resolved =
            target.and_then(|target| physical.join(target.trim_start_matches('/')).canonicalize().ok());
        resolved.is_some_and(|resolved| resolved == directory)
    })
}

impl<'a> Uki<'a> {
    /// Reads the sections of an EFI program. A section that lies outside of the file is an error, as is an image whose
    /// profiles bring an initramfs of their own: which of them boots can't be told.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let sections = sections(bytes)?;
        let (base, profiles) = profiles(&sections);
        if profiles.iter().any(|section| section.is(".initrd")) {
            bail!("it has profiles with an initramfs of their own, and which of them boots can't be told");
        }
        let mut initrds = Vec::new();
        for name in [".ucode", ".initrd"] {
            initrds.extend(only(base, name)?.map(|section| section.content(bytes)).transpose()?);
        }
        Ok(Self { initrds, cmdline: cmdline(base, bytes)? })
    }
}

/// What `ostree=` on an image's command line names; the first one counts. An image that is damaged elsewhere still says it.
pub fn target(bytes: &[u8]) -> Option<String> {
    let sections = sections(bytes).ok()?;
    let cmdline = cmdline(profiles(&sections).0, bytes).ok()??;
    let mut arguments = cmdline.split_ascii_whitespace();
    arguments.find_map(|argument| argument.strip_prefix("ostree=")).map(str::to_owned)
}

/// The sections of the image itself, and those of its profiles.
fn profiles(sections: &[Section]) -> (&[Section], &[Section]) {
    let first = sections.iter().position(|section| section.is(".profile")).unwrap_or(sections.len());
    sections.split_at(first)
}

fn cmdline(sections: &[Section], bytes: &[u8]) -> Result<Option<String>> {
    let Some(section) = only(sections, ".cmdline")? else { return Ok(None) };
    let text = String::from_utf8_lossy(section.content(bytes)?);
    Ok(Some(text.trim_end_matches('\0').trim().to_owned()))
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

    fn content<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let content = bytes.get(self.start..).and_then(|rest| rest.get(..self.len));
        content.with_context(|| {
            let name = String::from_utf8_lossy(&self.name);
            format!(
                "section {} ({} bytes from byte {}) ends beyond the file's {} bytes",
                name.trim_end_matches('\0'),
                self.len,
                self.start,
                bytes.len()
            )
        })
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
