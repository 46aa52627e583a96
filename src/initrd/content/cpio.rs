//! cpio archives in the format "newc", as the kernel reads them.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};

use anyhow::{Context, Result, bail};

/// The most bytes of a name, `PATH_MAX`.
const NAME_MAX: u64 = 4096;
/// The most bytes of a file with several names that is remembered until they have all come.
const LINKED_MAX: u64 = 64 << 20;

/// The most bytes of all those files together.
const KEPT_MAX: u64 = 128 << 20;
/// The most names of one file that are files for us: each key directory may have a quarter of them.
const NAMES_MAX: usize = 1024;

const HEADER_LEN: usize = 110;
const S_IFMT: u64 = 0o170000;
const S_IFREG: u64 = 0o100000;
const S_IFLNK: u64 = 0o120000;

/// A member of an archive, as far as it is wanted.
pub(super) enum Member {
    /// A regular file; its content, if [`Members::limit`] asks for it.
    File(Option<Vec<u8>>),
    /// A symlink with this target.
    Link(String),
    /// A directory or a device.
    Other,
}

/// Who goes through archives, and wants some of their members.
pub(super) trait Members {
    /// The most bytes of a file whose content is wanted, and nothing for all others.
    fn limit(name: &str) -> Option<u64>;
    /// Whether anything is taken note of under this name.
    fn matters(name: &str) -> bool;
    /// Takes note of a member; one that was there under this name is gone.
    fn put(&mut self, name: &str, member: Member);
}

/// Reads one archive from a slice and gives back what follows it.
pub(super) fn read_archive<'a>(bytes: &'a [u8], found: &mut impl Members) -> Result<&'a [u8]> {
    let mut archive = Archive::new(bytes);
    archive.read(found)?;
    Ok(archive.input)
}

/// Reads the archives of a decompressed stream to its end.
pub(super) fn read_archives(input: impl BufRead, found: &mut impl Members) -> Result<()> {
    let mut archive = Archive::new(input);
    while archive.skip_zeros()? {
        archive.read(found)?;
    }
    Ok(())
}

/// A reader that knows how far it has come, since cpio aligns everything to 4 bytes.
struct Archive<R> {
    input: R,
    position: u64,
    /// Files of which not all names have come yet.
    linked: HashMap<FileId, Linked>,
    /// Bytes of the contents in it.
    kept: u64,
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
    /// How many names have come.
    seen: u64,
    /// Those of them that matter.
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

impl<R: BufRead> Archive<R> {
    /// Passes over padding; false at the end of the input.
    fn skip_zeros(&mut self) -> Result<bool> {
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                return Ok(false);
            }
            let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
            let more = zeros < buffer.len();
            self.input.consume(zeros);
            self.position += zeros as u64;
            if more {
                return Ok(true);
            }
        }
    }
}

impl<R: Read> Archive<R> {
    fn new(input: R) -> Self {
        Self { input, position: 0, linked: HashMap::new(), kept: 0 }
    }

    /// Reads one archive up to its trailer.
    fn read<M: Members>(&mut self, found: &mut M) -> Result<()> {
        self.linked.clear();
        self.kept = 0;
        let mut raw = [0; HEADER_LEN];
        loop {
            self.fill(&mut raw)?;
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

    fn member<M: Members>(&mut self, header: &Header, name: String, found: &mut M) -> Result<()> {
        match header.mode & S_IFMT {
            S_IFREG if header.links > 1 => self.linked_file(header, name, found),
            S_IFREG => {
                let limit = M::limit(&name);
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

    /// One name of a file with several: whichever brings the content brings it for all. Only names that matter are kept, so
    /// that a file with many others is read as fast as so many files.
    fn linked_file<M: Members>(&mut self, header: &Header, name: String, found: &mut M) -> Result<()> {
        let brings_content = header.size > 0;
        if brings_content {
            let limit = M::limit(&name).or((header.size <= LINKED_MAX).then_some(LINKED_MAX));
            let content = self.content(header.size, limit, &name)?;
            let linked = self.linked.entry(header.file).or_default();
            let before = linked.content.replace(content.unwrap_or_default()).map_or(0, |old| old.len());
            let after = linked.content.as_ref().map_or(0, Vec::len);
            self.kept = self.kept - before as u64 + after as u64;
            if self.kept > KEPT_MAX {
                bail!(
                    "files with several names, of which not all have come, have more than {KEPT_MAX} bytes"
                );
            }
        }
        let linked = self.linked.entry(header.file).or_default();
        linked.seen += 1;
        let put = |name: &str, found: &mut M| {
            let content = M::limit(name).map(|_| linked.content.clone().unwrap_or_default());
            found.put(name, Member::File(content));
        };
        if brings_content {
            linked.names.iter().for_each(|name| put(name, found));
        }
        put(&name, found);
        if M::matters(&name) {
            linked.names.push(name);
            if linked.names.len() > NAMES_MAX {
                bail!("{} and more than {NAMES_MAX} other names are one file", linked.names[0]);
            }
        }
        if linked.seen >= header.links {
            let content = self.linked.remove(&header.file).and_then(|linked| linked.content);
            self.kept -= content.map_or(0, |content| content.len() as u64);
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
