//! The table of archives, tests/data/initramfs-archives.txt: what each is made of, and what Linux makes of it. The guest test
//! initramfs-archives holds the kernels to it, and a test of src/initrd/content holds our reader to it.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

/// One archive, or a row of them.
#[derive(Debug, Default)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// Nothing can be unpacked behind it: it needs a boot of its own.
    pub(crate) alone: bool,
    /// It has its own end, or none.
    open: bool,
    lines: Vec<String>,
    /// What Linux makes of it, as [`list`] has it.
    pub(crate) made: Vec<String>,
    /// What Linux says, if it is displeased.
    pub(crate) says: Option<String>,
    /// The lines about a kernel that makes something else: its suite, and `=` or `!` with what follows.
    others: Vec<(String, String)>,
    /// What our reader says, if it refuses.
    pub(crate) refused: Option<String>,
}

/// The cases of the table.
pub(crate) fn parse(text: &str) -> Result<Vec<Case>, String> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word == "case" {
            let mut words = rest.split(' ');
            let name = words.next().unwrap_or_default().to_owned();
            let flags: Vec<_> = words.collect();
            let [alone, open] = ["alone", "open"].map(|flag| flags.contains(&flag));
            cases.push(Case { name, alone, open, ..Case::default() });
            continue;
        }
        let case = cases.last_mut().ok_or("a line before the first case")?;
        match word {
            // So many letters aren't worth a line.
            "=" if rest.starts_with("\\*") => {
                let rest = unescaped(rest).escape_ascii().to_string();
                case.made.push(format!("t/{}/{rest}", case.name));
            }
            "=" => case.made.push(format!("t/{}/{rest}", case.name)),
            "trixie" | "sid" => case.others.push((word.to_owned(), rest.to_owned())),
            "!" => case.says = Some(rest.to_owned()),
            "refused" => case.refused = Some(rest.to_owned()),
            _ => case.lines.push(line.to_owned()),
        }
    }
    for case in &mut cases {
        case.made.push(format!("t/{} dir", case.name));
        case.made.sort();
    }
    Ok(cases)
}

impl Case {
    /// What the kernel of this suite makes of it, and what it says behind that.
    pub(crate) fn expected(&self, suite: &str) -> Vec<String> {
        let others: Vec<_> = self.others.iter().filter(|(of, _)| of == suite).collect();
        if others.is_empty() {
            let says = self.says.iter().map(|says| format!("says {says}"));
            return self.made.iter().cloned().chain(says).collect();
        }
        let line = |rest: &str| match rest.split_once(' ') {
            Some(("!", says)) => format!("says {says}"),
            Some((_, path)) => format!("t/{}/{path}", self.name),
            None => rest.to_owned(),
        };
        let mut lines = vec![format!("t/{} dir", self.name)];
        lines.extend(others.iter().map(|(_, rest)| line(rest)));
        lines.sort_by_key(|line| (line.starts_with("says "), line.clone()));
        lines
    }

    /// Its bytes, to be unpacked where there is a directory `t`.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let (mut plain, mut inside) = (Vec::new(), false);
        let own = Member::of(&self.name, "dir @", &[])?;
        let mut first = Some(own);
        for line in &self.lines {
            let out = if inside { &mut plain } else { &mut bytes };
            let wrong = |what: &str| format!("{}: {what}: {line}", self.name);
            let words = split(line);
            let number =
                || words.get(1).and_then(|word| word.parse::<usize>().ok()).ok_or_else(|| wrong("no number"));
            match words[0].as_str() {
                "gzip" => inside = true,
                "end" => {
                    inside = false;
                    bytes.extend(stored_gzip(&std::mem::take(&mut plain)));
                }
                "zeros" => out.resize(out.len() + number()?, 0),
                "cut" => out.truncate(out.len() - number()?),
                "bytes" => out.extend(unescaped(&words[1])),
                "trailer" => Member::trailer().append(out),
                _ => {
                    if let Some(own) = first.take() {
                        own.append(out);
                    }
                    Member::of(&self.name, line, &words)?.append(out);
                }
            }
        }
        if !self.open {
            Member::trailer().append(&mut bytes);
        }
        Ok(bytes)
    }
}

/// A member as its header has it: each number as the text of its field.
struct Member {
    magic: String,
    fields: Vec<(&'static str, String)>,
    name: Vec<u8>,
    content: Vec<u8>,
}

const FIELDS: [&str; 13] = [
    "ino", "mode", "uid", "gid", "nlink", "mtime", "size", "major", "minor", "rmajor", "rminor", "namesize",
    "check",
];

impl Member {
    /// `TYPE NAME [CONTENT] [FIELD=TEXT...]`
    fn of(case: &str, line: &str, words: &[String]) -> Result<Self, String> {
        let words = if words.is_empty() { &split(line) } else { words };
        let mode = match words[0].as_str() {
            "dir" => 0o040_755,
            "file" => 0o100_644,
            "link" => 0o120_777,
            "fifo" => 0o010_644,
            "chr" => 0o020_644,
            "none" => 0o030_644,
            _ => return Err(format!("{case}: what is this: {line}")),
        };
        let place = |text: &str| unescaped(&text.replace('@', &format!("t/{case}")));
        let mut name = place(words.get(1).ok_or("no name")?);
        name.push(0);
        let (fields, contents): (Vec<_>, Vec<_>) = words[2..].iter().partition(|word| is_field(word));
        let content = contents.first().map(|text| place(text)).unwrap_or_default();
        let mut member = Self::new(mode, name, content);
        for field in fields {
            member.set(field);
        }
        Ok(member)
    }

    fn new(mode: u32, name: Vec<u8>, content: Vec<u8>) -> Self {
        let of = |field: &'static str| match field {
            "mode" => mode,
            "nlink" => 1,
            "size" => u32::try_from(content.len()).unwrap_or(u32::MAX),
            "namesize" => u32::try_from(name.len()).unwrap_or(u32::MAX),
            _ => 0,
        };
        let fields = FIELDS.map(|field| (field, format!("{:08x}", of(field)))).to_vec();
        Self { magic: "070701".to_owned(), fields, name, content }
    }

    fn trailer() -> Self {
        Self::new(0, b"TRAILER!!!\0".to_vec(), Vec::new())
    }

    fn set(&mut self, field: &str) {
        let (name, text) = field.split_once('=').unwrap_or((field, ""));
        let text = text.replace('_', " ");
        if name == "magic" {
            self.magic = text;
        } else if let Some((_, value)) = self.fields.iter_mut().find(|(known, _)| *known == name) {
            *value = format!("{text:0>8}");
        }
    }

    fn append(&self, out: &mut Vec<u8>) {
        out.extend(self.magic.as_bytes());
        self.fields.iter().for_each(|(_, text)| out.extend(text.as_bytes()));
        out.extend(&self.name);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend(&self.content);
        out.resize(out.len().next_multiple_of(4), 0);
    }
}

fn is_field(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| name == "magic" || FIELDS.contains(&name))
}

fn split(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// `\0`, `\s` for a blank, `\xFF`, and `\*NUMBER.` for so many letters.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend(before.as_bytes());
        let (byte, used) = match after.as_bytes().first() {
            Some(b'0') => (0, 1),
            Some(b's') => (b' ', 1),
            Some(b'x') => (u8::from_str_radix(&after[1..3], 16).unwrap_or(b'?'), 3),
            Some(b'*') => {
                let (number, _) = after[1..].split_once('.').unwrap_or_default();
                bytes.resize(bytes.len() + number.parse::<usize>().unwrap_or(0), b'n');
                rest = &after[number.len() + 2..];
                continue;
            }
            _ => (b'\\', 0),
        };
        bytes.push(byte);
        rest = &after[used..];
    }
    bytes.extend(rest.as_bytes());
    bytes
}

/// gzip of bytes that aren't packed at all.
fn stored_gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = b"\x1f\x8b\x08\0\0\0\0\0\0\xff".to_vec();
    let mut blocks = bytes.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        out.push(u8::from(blocks.peek().is_none()));
        let len = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.extend(len.to_le_bytes());
        out.extend((!len).to_le_bytes());
        out.extend(block);
    }
    let crc = bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    });
    out.extend((!crc).to_le_bytes());
    out.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out
}

/// One line of a listing.
pub(crate) fn shown(path: &[u8], kind: &str, value: &[u8]) -> String {
    let line = format!("{} {kind} {}", path.escape_ascii(), value.escape_ascii());
    line.trim_end().to_owned()
}

/// What is below a directory of the running system, sorted.
#[allow(dead_code, reason = "the guests use it, and the test of the reader doesn't")]
pub(crate) fn list(directory: &Path) -> Result<Vec<String>, String> {
    let mut lines = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(path) = left.pop() {
        let told = |error: std::io::Error| format!("{}: {error}", path.display());
        let name = path.strip_prefix("/").unwrap_or(&path).as_os_str().as_bytes();
        let kind = path.symlink_metadata().map_err(told)?.file_type();
        lines.push(if kind.is_dir() {
            for entry in fs::read_dir(&path).map_err(told)? {
                left.push(entry.map_err(told)?.path());
            }
            shown(name, "dir", b"")
        } else if kind.is_symlink() {
            shown(name, "link", fs::read_link(&path).map_err(told)?.as_os_str().as_bytes())
        } else if kind.is_file() {
            shown(name, "file", &fs::read(&path).map_err(told)?)
        } else if kind.is_fifo() {
            shown(name, "fifo", b"")
        } else {
            shown(name, "device", b"")
        });
    }
    lines.sort();
    Ok(lines)
}
