//! What stands in an initramfs file: a row of cpio archives, each plain or compressed, one behind another. One budget of
//! bytes for all files of a deployment, and never all of them in memory.

use std::fmt;
use std::io::{self, BufRead as _, BufReader, ErrorKind};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use flate2::bufread::GzDecoder;
use fn_error_context::context;
use ruzstd::decoding::StreamingDecoder;

use super::cpio::Archives;
use super::input::{Input, skip_zeros};
use super::rootfs::{Rootfs, Spent};

/// The most bytes that what is packed may have unpacked, in all files of one deployment together: several times what the
/// largest initramfs images have.
const UNPACKED_MAX: u64 = 2 << 30;
/// The most bytes of memory that `xz` may take. Its largest preset needs 65 MiB.
const XZ_MEMORY: &str = "--memlimit-decompress=128MiB";

/// What all that may boot one deployment may cost together, less what it has cost already.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// What is left of [`UNPACKED_MAX`].
    left: u64,
    spent: Spent,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: UNPACKED_MAX, spent: Spent::default() }
    }
}

/// Reads one file behind another into one tree, as Linux does with all that the boot loader gives it.
#[derive(Debug)]
pub(super) struct Unpacker {
    tree: Rootfs,
    /// What is left of [`UNPACKED_MAX`].
    pub(super) left: u64,
    matters: fn(&[u8]) -> bool,
}

/// An initramfs of which only a part is known to be unpacked, or to be unpacked in one way. Linux boots with such a part.
#[derive(Debug)]
pub struct Malformed;

/// An initramfs that this machine can't read, though the kernel perhaps can.
#[derive(Debug)]
pub struct NotReadableHere(String);

impl Unpacker {
    /// `matters` says whether the content of a file of this path counts.
    pub(super) fn new(matters: fn(&[u8]) -> bool, budget: Budget) -> Self {
        Self { tree: Rootfs::after(budget.spent), left: budget.left, matters }
    }

    /// What the next one has.
    pub(super) fn budget(&self) -> Budget {
        Budget { left: self.left, spent: self.tree.spent() }
    }

    pub(super) fn finish(self) -> Rootfs {
        self.tree
    }

    /// Reads one file.
    pub(super) fn unpack(&mut self, source: impl io::Read + Send) -> Result<()> {
        self.pieces(Input::new(source)).map_err(|error| match error.is::<NotReadableHere>() {
            true => error,
            false => error.context(Malformed),
        })
    }

    fn pieces(&mut self, mut input: Input<impl io::Read + Send>) -> Result<()> {
        while skip_zeros(&mut input)?.1 {
            let at = input.position();
            self.piece(&mut input).with_context(|| format!("at byte {at}"))?;
        }
        Ok(())
    }

    /// Reads what begins here, and nothing of what follows it.
    fn piece(&mut self, input: &mut Input<impl io::Read + Send>) -> Result<()> {
        let at = input.position();
        let start = input.peek(MAGIC_MAX)?;
        match Packing::of(start) {
            Packing::Plain => {
                ensure!(at % 4 == 0, "an archive that doesn't begin at a multiple of 4");
                Archives::new(input, &mut self.tree, self.matters).read_one()
            }
            Packing::Gzip => {
                // Linux passes over a name in the header, and over nothing else.
                let flags = start.get(3).copied().unwrap_or_default();
                ensure!(
                    flags & !0x08 == 0,
                    "a header of gzip with the flags {flags:#04x}, expected a name at most"
                );
                self.read_packed(GzDecoder::new(input))
            }
            Packing::Zstd => self.read_packed(StreamingDecoder::new(input)?),
            Packing::Program(program) => self.read_with(program, input),
            // Linux boots with what came before it.
            Packing::Unknown if at > 0 => bail!("neither cpio nor a known compression"),
            Packing::Unknown => {
                Err(NotReadableHere("neither cpio nor a known compression".to_owned()).into())
            }
        }
    }

    /// Reads the archives that come out of a decompressor.
    fn read_packed(&mut self, decoder: impl io::Read) -> Result<()> {
        let input = BufReader::new(Metered { input: decoder, left: &mut self.left });
        Archives::new(input, &mut self.tree, self.matters).read_all()
    }

    /// Reads archives through a program that decompresses all that is left, without ever having all of its output.
    #[context("decompressing with {program}")]
    fn read_with(&mut self, program: &str, input: &mut Input<impl io::Read + Send>) -> Result<()> {
        let mut child = start(program)?;
        let pipe = child.stdin.take().context("no pipe")?;
        let output = child.stdout.take().context("no pipe")?;
        let (read, fed) = std::thread::scope(|scope| {
            let feeder = scope.spawn(|| feed(program, input, pipe));
            let read = self.read_packed(output);
            if read.is_err() {
                // Nobody reads any more of it. That it is gone already is as good.
                drop(child.kill());
            }
            (read, feeder.join().expect("the feeder doesn't panic"))
        });
        let status = child.wait()?;
        ensure!(fed? == Pieces::One, "two pieces, one behind another");
        read?;
        ensure!(status.success(), "{status}");
        Ok(())
    }
}

/// Whether more than one packed piece was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pieces {
    One,
    More,
}

/// Gives all that is left to a decompressor, and looks whether another piece begins in it. A pipe that closes early shows in the
/// decompressor's exit status.
fn feed(program: &str, input: &mut Input<impl io::Read>, mut pipe: impl io::Write) -> io::Result<Pieces> {
    let (mut found, mut is_open) = (Pieces::One, true);
    let mut window = Vec::new();
    // The first byte belongs to the first piece's beginning.
    let mut passed = 1;
    loop {
        let chunk = input.fill_buf()?;
        if chunk.is_empty() {
            return Ok(found);
        }
        window.extend_from_slice(&chunk[passed..]);
        if begins_in(program, &window) {
            found = Pieces::More;
        }
        window.drain(..window.len().saturating_sub(MAGIC_MAX - 1));
        is_open = is_open && pipe.write_all(chunk).is_ok();
        let len = chunk.len();
        input.consume(len);
        passed = 0;
    }
}

fn start(program: &str) -> Result<Child> {
    let mut command = Command::new(program);
    command.arg("-dc");
    if program == "xz" {
        command.arg(XZ_MEMORY);
    }
    match command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(NotReadableHere(format!("there is no program {program} here")).into())
        }
        child => Ok(child?),
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

const XZ: &[u8] = b"\xfd7zXZ\0";
/// What follows `BZh` and a digit.
const BZIP2: [&[u8]; 2] = [b"1AY&SY", b"\x17rE8P\x90"];
/// The most bytes that tell what begins.
const MAGIC_MAX: usize = 10;

impl Packing {
    fn of(bytes: &[u8]) -> Self {
        let starts = |magic: &[u8]| bytes.starts_with(magic);
        if starts(b"070701") || starts(b"070702") {
            Self::Plain
        } else if starts(b"\x1f\x8b") {
            Self::Gzip
        } else if starts(b"\x28\xb5\x2f\xfd") {
            Self::Zstd
        } else if starts(XZ) || starts(b"\x5d\0\0") {
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

/// Whether another piece begins in these bytes: the program would unpack it as well, and Linux takes it for a new one.
fn begins_in(program: &str, bytes: &[u8]) -> bool {
    match program {
        "xz" => bytes.windows(XZ.len()).any(|found| found == XZ),
        "bzip2" => {
            bytes.windows(MAGIC_MAX).any(|found| found.starts_with(b"BZh") && BZIP2.contains(&&found[4..]))
        }
        // One piece of lzma has no other behind it, and of lz4 Linux reads all that there are.
        _ => false,
    }
}

/// A decompressor's output, which ends with an error where nobody would make so much of it.
struct Metered<'a, R> {
    input: R,
    left: &'a mut u64,
}

impl<R: io::Read> io::Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(buffer)?;
        *self.left = self.left.checked_sub(len as u64).ok_or_else(|| {
            io::Error::other(format!(
                "the initramfs files of a deployment may have {UNPACKED_MAX} bytes unpacked, and these have more"
            ))
        })?;
        Ok(len)
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what Linux would unpack of it can't be told")
    }
}

impl std::error::Error for Malformed {}

impl fmt::Display for NotReadableHere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotReadableHere {}
