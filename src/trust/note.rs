//! The seal: a signed note (C2SP signed-note) with a text of four or five fixed lines.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use base64ct::{Base64, Encoding};

use crate::digest::Digest;
use crate::names::{CommitId, Product};
use crate::text::shortened;
use crate::vkey::{KeyId, is_name};

/// The most bytes of a note: 16 signatures of the largest algorithm in sight (ML-DSA-87) fit.
pub const NOTE_MAX: usize = 128 << 10;

/// The most signatures of a note or a commit.
pub const SIGNATURES_MAX: usize = 64;

const TITLE: &str = "ostree-seal v1";
const SIGNATURE: &str = "\u{2014} ";

/// What a note says. [`fmt::Display`] gives the bytes that are signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What the image is meant for.
    pub product: Product,
    /// The image's fs-verity digest.
    pub image: Digest,
    /// The release's place in the order of releases.
    pub index: u64,
    /// The commit that the image was made from, if the note is to hold for that commit alone.
    pub commit: Option<CommitId>,
}

/// A note whose form is right. Nobody has looked at its signatures yet.
#[derive(Debug, Clone)]
pub struct Note<'a> {
    /// The signed bytes: what [`Note::statement`] was read from, newline included.
    pub text: &'a str,
    /// What the text says.
    pub statement: Statement,
    /// One for each signature line, in their order, at least one.
    pub signatures: Vec<NoteSignature<'a>>,
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature<'a> {
    /// The name of the key.
    pub name: &'a str,
    /// The key hash and the signature's bytes; nothing if the line's last word is not the base64 of five bytes or more.
    pub body: Option<([u8; 4], Vec<u8>)>,
}

/// Why bytes are not a note of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoteError {
    /// More than [`NOTE_MAX`] bytes; this many, or at least this many.
    TooLarge(usize),
    /// Not UTF-8 from this byte on.
    NotText(usize),
    /// A control character other than newline, at this byte.
    Control(usize, u8),
    /// No blank line with signature lines after it.
    NoSignature,
    /// The text's line of this number (from 1) is not what must be there.
    Line {
        /// Counted from 1.
        number: usize,
        /// The form of the line that must be there.
        expected: &'static str,
        /// What is there, shortened.
        found: String,
    },
    /// The text goes on after its last line, here shortened.
    Trailing(String),
    /// A line after the blank one is not a signature line; shortened.
    SignatureLine(String),
    /// More than [`SIGNATURES_MAX`] signatures.
    TooManySignatures(usize),
}

impl<'a> Note<'a> {
    /// Reads a note. Signatures that can't be decoded are kept as such, so that one of them doesn't spoil the rest.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_MAX {
            return Err(NoteError::TooLarge(bytes.len()));
        }
        let note = core::str::from_utf8(bytes).map_err(|error| NoteError::NotText(error.valid_up_to()))?;
        if let Some(at) = note.bytes().position(|byte| byte < b' ' && byte != b'\n') {
            return Err(NoteError::Control(at, bytes[at]));
        }
        let blank =
            note.as_bytes().windows(2).rposition(|pair| pair == b"\n\n").ok_or(NoteError::NoSignature)?;
        let (text, signatures) = (&note[..=blank], &note[blank + 2..]);
        let signatures = parse_signatures(signatures)?;
        Ok(Self { text, statement: Statement::parse(text)?, signatures })
    }
}

fn parse_signatures(lines: &str) -> Result<Vec<NoteSignature<'_>>, NoteError> {
    if lines.is_empty() {
        return Err(NoteError::NoSignature);
    }
    let Some(lines) = lines.strip_suffix('\n') else {
        let last = lines.rsplit('\n').next().unwrap_or(lines);
        return Err(NoteError::SignatureLine(shortened(last)));
    };
    let count = lines.split('\n').count();
    if count > SIGNATURES_MAX {
        return Err(NoteError::TooManySignatures(count));
    }
    lines.split('\n').map(parse_signature).collect()
}

fn parse_signature(line: &str) -> Result<NoteSignature<'_>, NoteError> {
    let words = line.strip_prefix(SIGNATURE).and_then(|words| words.split_once(' '));
    match words {
        Some((name, base64)) if is_name(name) && !base64.is_empty() && !base64.contains(' ') => {
            Ok(NoteSignature { name, body: decode_signature(base64) })
        }
        _ => Err(NoteError::SignatureLine(shortened(line))),
    }
}

fn decode_signature(base64: &str) -> Option<([u8; 4], Vec<u8>)> {
    let bytes = Base64::decode_vec(base64).ok()?;
    let (hash, signature) = bytes.split_first_chunk()?;
    if signature.is_empty() { None } else { Some((*hash, signature.to_vec())) }
}

/// The line that carries a signature, newline included.
pub fn signature_line(key: &KeyId, signature: &[u8]) -> String {
    let bytes = [key.hash.as_slice(), signature].concat();
    format!("{SIGNATURE}{} {}\n", key.name, Base64::encode_string(&bytes))
}

impl Statement {
    /// Reads a note's text: each line once, in this order, nothing else. A line that isn't known here may be a
    /// restriction, so it must not be passed over.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let mut lines = Lines { number: 0, rest: text };
        lines.next(TITLE, |line| (line == TITLE).then_some(()))?;
        let statement = Self {
            product: lines.next("product NAME", |line| line.strip_prefix("product ")?.parse().ok())?,
            image: lines.next("image fsverity-sha256-4096 <64 lower-case hex digits>", |line| {
                line.strip_prefix("image fsverity-sha256-4096 ")?.parse().ok()
            })?,
            index: lines.next("index <decimal number>", |line| parse_index(line.strip_prefix("index ")?))?,
            commit: match lines.rest {
                "" => None,
                _ => Some(lines.next("commit <64 lower-case hex digits>, or the end", |line| {
                    line.strip_prefix("commit ")?.parse().ok()
                })?),
            },
        };
        if lines.rest.is_empty() { Ok(statement) } else { Err(NoteError::Trailing(shortened(lines.rest))) }
    }
}

struct Lines<'a> {
    number: usize,
    rest: &'a str,
}

impl<'a> Lines<'a> {
    /// The next line's value, or what should have been there.
    fn next<T>(
        &mut self,
        expected: &'static str,
        value: impl Fn(&'a str) -> Option<T>,
    ) -> Result<T, NoteError> {
        self.number += 1;
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        let ended = line.len() + rest.len() < self.rest.len();
        match value(line) {
            Some(value) if ended => {
                self.rest = rest;
                Ok(value)
            }
            _ => Err(NoteError::Line { number: self.number, expected, found: shortened(line) }),
        }
    }
}

/// A number in its one spelling: no sign, no leading zero, at most 2^64 - 1.
pub fn parse_index(text: &str) -> Option<u64> {
    let one_spelling = text == "0" || !text.starts_with(['0', '+']);
    if one_spelling { text.parse().ok() } else { None }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{TITLE}\nproduct {}\nimage fsverity-sha256-4096 {}\n", self.product, self.image)?;
        writeln!(f, "index {}", self.index)?;
        self.commit.iter().try_for_each(|commit| writeln!(f, "commit {commit}"))
    }
}

impl fmt::Display for NoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(len) => write!(f, "it has {len} bytes or more, at most {NOTE_MAX} are possible"),
            Self::NotText(at) => write!(f, "it is not UTF-8 at byte {at}"),
            Self::Control(at, byte) => write!(f, "it has the control character 0x{byte:02x} at byte {at}"),
            Self::NoSignature => write!(f, "it has no blank line with a signature line after it"),
            Self::Line { number, expected, found } => {
                write!(f, "its line {number} must be \"{expected}\", found \"{found}\"")
            }
            Self::Trailing(found) => write!(f, "its text goes on with \"{found}\" after the last known line"),
            Self::SignatureLine(found) => write!(f, "\"{found}\" is not a signature line"),
            Self::TooManySignatures(count) => {
                write!(f, "it has {count} signatures, at most {SIGNATURES_MAX} are possible")
            }
        }
    }
}

impl core::error::Error for NoteError {}
