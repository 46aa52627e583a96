//! cpio archives in the format "newc", as the kernel reads them.

use std::collections::HashMap;
use std::io::{self, Read};

use anyhow::{Context, Result, bail};

use super::{Initramfs, Member};

/// The most bytes of a name, `PATH_MAX`.
const NAME_MAX: u64 = 4096;
/// The most bytes of a file with several names that is remembered until they have all come.
const LINKED_MAX: u64 = 64 << 20;

const HEADER_LEN: usize = 110;
const S_IFMT: u64 = 0o170000;
const S_IFREG: u64 = 0o100000;
const S_IFLNK: u64 = 0o120000;

/// Reads one archive from a slice and gives back what follows it.
pub(super) fn read_archive<'a>(bytes: &'a [u8], found: &mut Initramfs) -> Result<&'a [u8]> {
    let mut archive = Archive::new(bytes);
    archive.read_from(&[], found)?;
    Ok(archive.input)
}

/// Reads the archives of a decompressed stream to its end.
pub(super) fn read_archives(input: impl Read, found: &mut Initramfs) -> Result<()> {
    let mut archive = Archive::new(input);
    while archive.skip_zeros(found)? {}
    Ok(())
}

/// A reader that knows how far it has come, since cpio aligns everything to 4 bytes.
struct Archive<R> {
    input: R,
    position: u64,
    /// Files of which not all names have come yet.
    linked: HashMap<FileId, Linked>,
}

/// A file among those of one archive.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct FileId {
    device: (u64, u64),
    inode: u64,
}

/// A file with several names. Its content comes with one of them, in most archives with the last.
#[derive(Default)]
struct Linked {
    names: Vec<String>,
    content: Option<Vec<u8>>,
}

/// `struct cpio_newc_header`, less the fields that nobody needs here.
struct Header {
    file: FileId,
    mode: u64,
    links: u64,
    size: u64,
    name_size: u64,
}

impl<R: Read> Archive<R> {
    fn new(input: R) -> Self {
        Self { input, position: 0, linked: HashMap::new() }
    }

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

    /// Reads one archive up to its trailer; `start` is what was read of its first header already.
    fn read_from(&mut self, start: &[u8], found: &mut Initramfs) -> Result<()> {
        self.linked.clear();
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
            self.member(&header, name, found)?;
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

    fn member(&mut self, header: &Header, name: String, found: &mut Initramfs) -> Result<()> {
        match header.mode & S_IFMT {
            S_IFREG if header.links > 1 => self.linked_file(header, name, found),
            S_IFREG => {
                let limit = Initramfs::limit(&name);
                let content = self.content(header.size, limit, &name)?;
                found.put(&name, Member::File(content));
                Ok(())
            }
            S_IFLNK => {
                let target = self.content(header.size, Some(NAME_MAX), &name)?.unwrap_or_default();
                found.put(&name, Member::Link(String::from_utf8_lossy(&target).into_owned()));
                Ok(())
            }
            _ => {
                self.content(header.size, None, &name)?;
                found.put(&name, Member::Other);
                Ok(())
            }
        }
    }

    /// One name of a file with several: whichever brings the content brings it for all.
    fn linked_file(&mut self, header: &Header, name: String, found: &mut Initramfs) -> Result<()> {
        if header.size > 0 {
            let limit = Initramfs::limit(&name).or((header.size <= LINKED_MAX).then_some(LINKED_MAX));
            let content = self.content(header.size, limit, &name)?;
            self.linked.entry(header.file).or_default().content = content;
        }
        let linked = self.linked.entry(header.file).or_default();
        linked.names.push(name);
        for name in &linked.names {
            found.put(name, Member::File(Some(linked.content.clone().unwrap_or_default())));
        }
        if linked.names.len() as u64 >= header.links {
            self.linked.remove(&header.file);
        }
        Ok(())
    }

    /// Reads a member's content if it has a limit, and passes over it otherwise.
    fn content(&mut self, size: u64, limit: Option<u64>, name: &str) -> Result<Option<Vec<u8>>> {
        let mut data = self.input.by_ref().take(size);
        let (content, read) = match limit {
            Some(limit) if size > limit => {
                bail!("{name} has {size} bytes, more than the {limit} it may have")
            }
            Some(_) => {
                let mut content = Vec::new();
                let read = data.read_to_end(&mut content)? as u64;
                (Some(content), read)
            }
            None => (None, io::copy(&mut data, &mut io::sink())?),
        };
        self.position += read;
        if read < size {
            bail!("{name} ends after {read} of {size} bytes");
        }
        self.align()?;
        Ok(content)
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
        Ok(Self {
            file: FileId { device: (field(7)?, field(8)?), inode: field(0)? },
            mode: field(1)?,
            links: field(4)?,
            size: field(6)?,
            name_size: field(11)?,
        })
    }
}
