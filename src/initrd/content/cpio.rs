//! cpio archives in the format "newc", read as Linux reads them. What no program writes, and what Linux takes in ways that
//! differ between its versions or from what it says, is an error.

use std::io::BufRead;

use anyhow::{Context, Result, bail, ensure};

use super::bytes::Content;
use super::input::skip_zeros;
use super::rootfs::{FileId, Rootfs, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG};

/// The most bytes of a name or a symlink's target, `PATH_MAX`.
const NAME_MAX: u32 = 4096;
/// How much of a content is read at a time.
const PIECE: usize = 64 << 10;

const HEADER_LEN: usize = 110;
const TRAILER: &[u8] = b"TRAILER!!!";
const S_IFBLK: u32 = 0o060_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFIFO: u32 = 0o010_000;
const S_IFSOCK: u32 = 0o140_000;

/// A reader of archives that stand one behind another. It knows how far it has come, since cpio aligns everything to 4 bytes.
pub(super) struct Archives<'a, R> {
    input: R,
    position: u64,
    tree: &'a mut Rootfs,
    /// Whether the content of a file of this path counts.
    matters: fn(&[u8]) -> bool,
}

/// `struct cpio_newc_header`, less the fields that nobody needs here.
struct CpioHeader {
    file: FileId,
    mode: u32,
    links: u32,
    size: u32,
    name_size: u32,
    /// The sum of all bytes, in the format that has one.
    sum: Option<u32>,
}

impl<'a, R: BufRead> Archives<'a, R> {
    pub(super) fn new(input: R, tree: &'a mut Rootfs, matters: fn(&[u8]) -> bool) -> Self {
        Self { input, position: 0, tree, matters }
    }

    /// Reads all archives up to the end of the input, at least one.
    pub(super) fn read_all(mut self) -> Result<()> {
        loop {
            self.read()?;
            if !self.skip_zeros()? {
                return Ok(());
            }
            ensure!(self.position % 4 == 0, "at byte {}: padding that is no multiple of 4", self.position);
        }
    }

    /// Reads one archive, and nothing of what is behind it.
    pub(super) fn read_one(mut self) -> Result<()> {
        self.read()
    }

    /// Passes over padding; false at the end of the input.
    fn skip_zeros(&mut self) -> Result<bool> {
        let (zeros, more) = skip_zeros(&mut self.input)?;
        self.position += zeros;
        Ok(more)
    }

    /// Reads one archive up to its trailer.
    fn read(&mut self) -> Result<()> {
        let mut raw = [0; HEADER_LEN];
        loop {
            let start = self.position;
            self.fill(&mut raw).context("an archive without its trailer")?;
            let member = CpioHeader::parse(&raw).and_then(|header| self.named_member(&header));
            if member.with_context(|| format!("the cpio member at byte {start}"))? {
                self.tree.end_archive();
                return Ok(());
            }
        }
    }

    /// Reads a member behind its header. Whether it is the trailer.
    fn named_member(&mut self, header: &CpioHeader) -> Result<bool> {
        let name = self.name(header.name_size)?;
        self.tree.count(&name)?;
        if name == TRAILER {
            let plain = header.size == 0 && header.mode & S_IFMT != S_IFLNK;
            ensure!(plain, "a trailer with a content, or that is a symbolic link");
            return Ok(true);
        }
        self.member(header, &name)?;
        Ok(false)
    }

    /// A name, which ends with its first NUL; behind that there may be more, as padding.
    fn name(&mut self, size: u32) -> Result<Vec<u8>> {
        ensure!((1..=NAME_MAX).contains(&size), "a name of {size} bytes, expected 1 to {NAME_MAX}");
        let mut name = vec![0; size as usize];
        self.fill(&mut name)?;
        self.align()?;
        ensure!(name.last() == Some(&0), "a name without a NUL at its end");
        name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
        Ok(name)
    }

    fn member(&mut self, header: &CpioHeader, name: &[u8]) -> Result<()> {
        let kind = header.mode & S_IFMT;
        // Linux would look through a symlink of this name.
        ensure!(
            kind == S_IFDIR || !name.ends_with(b"/"),
            "the name of what is no directory ends with a slash"
        );
        match kind {
            S_IFREG => return self.file(header, name),
            S_IFLNK => {
                let target = self.target(header.size)?;
                return self.tree.make_symlink(name, &target);
            }
            _ => {}
        }
        // Linux makes nothing of what has a content and can't have one.
        if header.size > 0 {
            self.content(header.size, false)?;
            return Ok(());
        }
        match kind {
            S_IFDIR => self.tree.make_directory(name),
            S_IFBLK | S_IFCHR | S_IFIFO | S_IFSOCK => self.tree.make_other(name, kind, header.linked()),
            _ => self.tree.make_nothing(name),
        }
    }

    fn file(&mut self, header: &CpioHeader, name: &[u8]) -> Result<()> {
        let opened = self.tree.open(name, header.linked(), self.matters)?;
        let (content, sum) = self.content(header.size, opened.is_some_and(|opened| opened.keep))?;
        if let Some(expected) = header.sum.filter(|_| header.size > 0) {
            ensure!(sum == expected, "its bytes have the sum {sum:08x}, expected {expected:08x}");
        }
        opened.map_or(Ok(()), |opened| self.tree.write(opened, content))
    }

    /// A symlink's target, which ends with its first NUL.
    fn target(&mut self, size: u32) -> Result<Vec<u8>> {
        ensure!(size <= NAME_MAX, "a symbolic link of {size} bytes, expected at most {NAME_MAX}");
        let mut target = vec![0; size as usize];
        self.fill(&mut target)?;
        self.align()?;
        target.truncate(target.iter().position(|byte| *byte == 0).unwrap_or(target.len()));
        Ok(target)
    }

    /// Reads a content, piece by piece, and adds its bytes up.
    fn content(&mut self, size: u32, keep: bool) -> Result<(Content, u32)> {
        let mut content = Content::writer(size.into(), keep);
        let (mut left, mut sum) = (size as usize, 0_u32);
        while left > 0 {
            let piece = self.input.fill_buf()?;
            ensure!(!piece.is_empty(), "its content ends {left} bytes early");
            let piece = &piece[..piece.len().min(left).min(PIECE)];
            content.add(piece);
            sum = piece.iter().fold(sum, |sum, byte| sum.wrapping_add(u32::from(*byte)));
            let len = piece.len();
            self.input.consume(len);
            left -= len;
        }
        self.position += u64::from(size);
        self.align()?;
        Ok((content.finish(), sum))
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

impl CpioHeader {
    /// Linux reads numbers up to their first character that is no digit, or not at all: none but plain ones are known here.
    fn parse(raw: &[u8; HEADER_LEN]) -> Result<Self> {
        ensure!(raw.starts_with(b"070701") || raw.starts_with(b"070702"), "no cpio magic");
        let mut fields = [0; 13];
        for (index, field) in fields.iter_mut().enumerate() {
            let digits = &raw[6 + 8 * index..][..8];
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                bail!("the number {}, expected 8 hexadecimal digits", digits.escape_ascii());
            }
            *field = u32::from_str_radix(std::str::from_utf8(digits)?, 16)?;
        }
        let [inode, mode, _, _, links, _, size, major, minor, _, _, name_size, sum] = fields;
        ensure!(mode <= 0o177_777, "the mode {mode:o}, expected one of 16 bits");
        Ok(Self {
            file: FileId { device: (major, minor), inode, kind: mode & S_IFMT },
            mode,
            links,
            size,
            name_size,
            sum: raw.starts_with(b"070702").then_some(sum),
        })
    }

    /// What this member may share with others.
    fn linked(&self) -> Option<FileId> {
        (self.links >= 2).then_some(self.file)
    }
}
