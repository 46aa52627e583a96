//! Lines to nodes. One line is held at a time; its nodes go into the tree at once, hard links when all lines are read.

use std::collections::HashMap;
use std::io::{BufRead, Read};

use ostree_seal_trust::digest::Digest;

use super::error::{DumpError, DumpErrorKind, Field};
use super::escape::{BadEscape, hex, unescape};
use super::links::Links;
use crate::tree::{
    Content, FILE_SIZE_MAX, INLINE_MAX, Metadata, Mtime, NodeId, Role, Span, TARGET_MAX, Tree, TreeError,
    XattrsId, mode,
};

/// No node needs a line of so many bytes.
const LINE_MAX: u64 = 16 * 1024 * 1024;

type FieldResult<T> = Result<T, (Option<Field>, DumpErrorKind)>;

/// Reads a dump. The tree is sorted, and its hard links are resolved.
///
/// The error names the line and the field. What mkcomposefs leaves undefined is an error here: signs and spaces
/// before numbers, numbers that don't fit, a NUL in a path, target or key, an external file without its DIGEST field.
pub fn parse(mut reader: impl BufRead) -> Result<Tree, DumpError> {
    let mut parser = Parser::default();
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        number += 1;
        line.clear();
        let at_line = |(field, reason)| DumpError { line: number, field, reason };
        let read = reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut line);
        let len = read.map_err(|error| at_line((None, DumpErrorKind::Read(error))))?;
        if len == 0 {
            break;
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        if text.len() as u64 == LINE_MAX {
            return Err(at_line((None, DumpErrorKind::LineTooLong)));
        }
        parser.line(text, number).map_err(at_line)?;
    }
    parser.finish()
}

#[derive(Default)]
struct Parser {
    tree: Tree,
    links: Links,
    /// Directories by path, without a slash at the end.
    directories: HashMap<Box<[u8]>, NodeId>,
    /// The parent of the last line's node, since the next one often has the same.
    last_parent: Option<(Vec<u8>, NodeId)>,
    /// The last line's xattrs, since the next one often has the same.
    last_xattrs: Option<(Vec<u8>, XattrsId)>,
    /// The path of the line's node: `/` before each name, nothing for the root.
    normal_path: Vec<u8>,
    buffers: Buffers,
}

/// Room for the decoded bytes of a line's fields.
#[derive(Default)]
struct Buffers {
    path: Vec<u8>,
    payload: Vec<u8>,
    content: Vec<u8>,
}

/// The fields of a line that are not read yet.
struct Fields<'l>(&'l [u8]);

impl<'l> Fields<'l> {
    /// The next field; empty if the line has ended.
    fn next(&mut self) -> &'l [u8] {
        let len = self.0.iter().position(|byte| *byte == b' ').unwrap_or(self.0.len());
        let (field, rest) = self.0.split_at(len);
        self.0 = rest.get(1..).unwrap_or(&[]);
        field
    }
}

/// The fields of fixed size.
struct Numbers {
    size: u64,
    nlink: u32,
    uid: u32,
    gid: u32,
    rdev: u32,
    mtime: Mtime,
}

impl Parser {
    fn line(&mut self, line: &[u8], number: u64) -> FieldResult<()> {
        if line.contains(&0) {
            return Err((None, DumpErrorKind::Nul));
        }
        let mut buffers = std::mem::take(&mut self.buffers);
        let result = self.fields(&mut Fields(line), number, &mut buffers);
        self.buffers = buffers;
        result
    }

    fn fields(&mut self, fields: &mut Fields<'_>, line: u64, buffers: &mut Buffers) -> FieldResult<()> {
        let path = text(fields.next(), &mut buffers.path).map_err(|error| (Some(Field::Path), error))?;
        let place = self.place(path).map_err(|error| (Some(Field::Path), error))?;
        let size = fields.next();
        let field = fields.next();
        let st_mode = octal(field.strip_prefix(b"@").unwrap_or(field))?;
        if field.starts_with(b"@") {
            return self.link(place, st_mode, fields, line);
        }
        let numbers = numbers(size, fields)?;
        let description = Description {
            mode: st_mode,
            payload: optional(fields.next(), &mut buffers.payload)?,
            content: content(fields.next(), numbers.size, &mut buffers.content)?,
            digest: fields.next(),
            numbers,
        };
        self.node(place, &description, fields.0)
    }

    /// A further name of a node that another line describes. Of the other fields only PAYLOAD is read.
    fn link(
        &mut self,
        place: Option<(NodeId, Span)>,
        st_mode: u32,
        fields: &mut Fields<'_>,
        line: u64,
    ) -> FieldResult<()> {
        let (parent, name) = place.ok_or((Some(Field::Mode), DumpErrorKind::RootNotDirectory))?;
        match st_mode & mode::S_IFMT {
            mode::S_IFDIR => return Err((Some(Field::Mode), DumpErrorKind::DirectoryLink)),
            mode::S_IFREG | mode::S_IFLNK | mode::S_IFIFO | mode::S_IFSOCK => {}
            _ if is_device(st_mode) => {}
            _ => return Err((Some(Field::Mode), DumpErrorKind::FileType(st_mode))),
        }
        for _ in [Field::Nlink, Field::Uid, Field::Gid, Field::Rdev, Field::Mtime] {
            fields.next();
        }
        let mut buffer = Vec::new();
        let target = optional(fields.next(), &mut buffer)?.filter(|target| !target.is_empty());
        let target = target.ok_or((Some(Field::Payload), DumpErrorKind::NoTarget))?;
        self.links.add(line, (parent, name), target);
        Ok(())
    }

    /// The parent and the name of a line's node; `None` for the root.
    fn place(&mut self, path: &[u8]) -> Result<Option<(NodeId, Span)>, DumpErrorKind> {
        if path == b"/" {
            self.normal_path.clear();
            return if self.tree.is_empty() { Ok(None) } else { Err(DumpErrorKind::SecondRoot) };
        }
        if self.tree.is_empty() {
            return Err(DumpErrorKind::NoRoot);
        }
        let normal = &mut self.normal_path;
        normal.clear();
        for component in path.split(|byte| *byte == b'/').filter(|component| !component.is_empty()) {
            normal.push(b'/');
            normal.extend_from_slice(component);
        }
        let slash = normal.iter().rposition(|byte| *byte == b'/').filter(|_| !path.ends_with(b"/"));
        let slash = slash.ok_or(DumpErrorKind::NoName)?;
        let name = self.tree.add_name(&normal[slash + 1..])?;
        let parent = &normal[..slash];
        let node = match &self.last_parent {
            Some((path, node)) if path == parent => *node,
            _ => {
                let node = self.directories.get(parent).copied();
                let missing = || String::from_utf8_lossy(if slash == 0 { b"/" } else { parent }).into_owned();
                let node = node.ok_or_else(|| DumpErrorKind::NoParent(missing()))?;
                let (last, last_node) = self.last_parent.get_or_insert_with(|| (Vec::new(), node));
                last.clear();
                last.extend_from_slice(parent);
                *last_node = node;
                node
            }
        };
        Ok(Some((node, name)))
    }
}

/// What a line says of its node, decoded.
struct Description<'l> {
    mode: u32,
    numbers: Numbers,
    payload: Option<&'l [u8]>,
    content: Option<&'l [u8]>,
    digest: &'l [u8],
}

impl Parser {
    fn node(
        &mut self,
        place: Option<(NodeId, Span)>,
        line: &Description<'_>,
        xattrs: &[u8],
    ) -> FieldResult<()> {
        let content = self.content(line)?;
        let is_directory = matches!(content, Content::Directory(_));
        if place.is_none() && !is_directory {
            return Err((Some(Field::Mode), DumpErrorKind::RootNotDirectory));
        }
        let Numbers { size, nlink, uid, gid, rdev, mtime } = line.numbers;
        let size = match content {
            Content::Symlink(target) => target.len() as u64,
            _ => size,
        };
        let rdev = if is_device(line.mode) { rdev } else { 0 };
        let xattrs = self.xattrs(xattrs)?;
        let meta = Metadata { mode: line.mode, nlink, uid, gid, rdev, size, mtime, xattrs };
        let node = self.tree.add_node(meta, content).map_err(in_no_field)?;
        if is_directory {
            self.directories.insert(self.normal_path.as_slice().into(), node);
        }
        if let Some((parent, name)) = place {
            self.tree.insert(parent, name, node, Role::Place).map_err(in_no_field)?;
        }
        Ok(())
    }

    fn content(&mut self, line: &Description<'_>) -> FieldResult<Content> {
        let in_field = |field| move |error: TreeError| (Some(field), error.into());
        match line.mode & mode::S_IFMT {
            mode::S_IFDIR => self.tree.add_directory().map_err(in_no_field),
            mode::S_IFLNK => {
                self.tree.add_symlink(line.payload.unwrap_or_default()).map_err(in_field(Field::Payload))
            }
            mode::S_IFREG => {
                let digest = digest(line.digest)?;
                if let Some(content) = line.content {
                    return self.tree.add_inline(content).map_err(in_field(Field::Content));
                }
                if line.numbers.size == 0 {
                    return Ok(Content::Empty);
                }
                if line.numbers.size > FILE_SIZE_MAX {
                    return Err((Some(Field::Size), DumpErrorKind::FileTooLarge(line.numbers.size)));
                }
                if line.digest.is_empty() {
                    return Err((Some(Field::Digest), DumpErrorKind::Digest));
                }
                let backing = self.tree.add_backing(line.payload.unwrap_or_default(), digest);
                Ok(Content::External(backing.map_err(in_field(Field::Payload))?))
            }
            mode::S_IFCHR | mode::S_IFBLK | mode::S_IFIFO | mode::S_IFSOCK => Ok(Content::Special),
            _ => Err((Some(Field::Mode), DumpErrorKind::FileType(line.mode))),
        }
    }

    /// The xattrs at the end of a line.
    fn xattrs(&mut self, text: &[u8]) -> FieldResult<XattrsId> {
        if text.is_empty() {
            return Ok(XattrsId::NONE);
        }
        if let Some((_, set)) = self.last_xattrs.as_ref().filter(|(last, _)| last == text) {
            return Ok(*set);
        }
        let set = self.new_xattrs(text).map_err(|error| (Some(Field::Xattr), error))?;
        let (last, last_set) = self.last_xattrs.get_or_insert_with(|| (Vec::new(), set));
        last.clear();
        last.extend_from_slice(text);
        *last_set = set;
        Ok(set)
    }

    fn new_xattrs(&mut self, text: &[u8]) -> Result<XattrsId, DumpErrorKind> {
        let mut ids = Vec::new();
        let text = text.strip_suffix(b" ").unwrap_or(text);
        let (mut key_buffer, mut value_buffer) = (Vec::new(), Vec::new());
        for xattr in text.split(|byte| *byte == b' ').filter(|_| !text.is_empty()) {
            let equals = xattr.iter().position(|byte| *byte == b'=').ok_or(DumpErrorKind::NoEquals)?;
            let key = self::text(&xattr[..equals], &mut key_buffer)?;
            let value = unescape(&xattr[equals + 1..], &mut value_buffer)?;
            ids.push(self.tree.add_xattr(key, value)?);
        }
        Ok(self.tree.add_xattr_set(ids)?)
    }

    fn finish(mut self) -> Result<Tree, DumpError> {
        if self.tree.is_empty() {
            return Err(DumpError { line: 0, field: None, reason: DumpErrorKind::NoLines });
        }
        self.directories = HashMap::new();
        self.links.resolve(&mut self.tree)?;
        Ok(self.tree)
    }
}

fn in_no_field(error: TreeError) -> (Option<Field>, DumpErrorKind) {
    (None, error.into())
}

fn is_device(st_mode: u32) -> bool {
    matches!(st_mode & mode::S_IFMT, mode::S_IFCHR | mode::S_IFBLK)
}

/// A field of text, in which no NUL can be.
fn text<'a>(field: &'a [u8], buffer: &'a mut Vec<u8>) -> Result<&'a [u8], DumpErrorKind> {
    let text = unescape(field, buffer)?;
    if text.contains(&0) { Err(DumpErrorKind::Nul) } else { Ok(text) }
}

/// A field of text that `-` leaves unset.
fn optional<'a>(field: &'a [u8], buffer: &'a mut Vec<u8>) -> FieldResult<Option<&'a [u8]>> {
    if field == b"-" {
        return Ok(None);
    }
    let text = text(field, buffer).map_err(|error| (Some(Field::Payload), error))?;
    if text.len() > TARGET_MAX {
        return Err((Some(Field::Payload), TreeError::TargetTooLong(text.len()).into()));
    }
    Ok(Some(text))
}

/// Inline content, `None` if unset or of 0 bytes.
fn content<'a>(field: &'a [u8], size: u64, buffer: &'a mut Vec<u8>) -> FieldResult<Option<&'a [u8]>> {
    if field == b"-" || field.is_empty() {
        return Ok(None);
    }
    let in_field = |error| (Some(Field::Content), error);
    let content = unescape(field, buffer).map_err(|error| in_field(error.into()))?;
    if content.len() > INLINE_MAX {
        return Err(in_field(TreeError::InlineTooLarge(content.len()).into()));
    }
    if content.len() as u64 != size {
        return Err(in_field(DumpErrorKind::ContentSize { content: content.len(), size }));
    }
    Ok(Some(content))
}

/// A digest field; `-` and a missing one are none.
fn digest(field: &[u8]) -> FieldResult<Option<Digest>> {
    let bad = || (Some(Field::Digest), DumpErrorKind::Digest);
    if field == b"-" || field.is_empty() {
        return Ok(None);
    }
    let digits: &[u8; 64] = field.try_into().map_err(|_| bad())?;
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (hex(pair[0]).map_err(|_| bad())? << 4) | hex(pair[1]).map_err(|_| bad())?;
    }
    Ok(Some(Digest(digest)))
}

/// SIZE, NLINK, UID, GID, RDEV and MTIME.
fn numbers(size: &[u8], fields: &mut Fields<'_>) -> FieldResult<Numbers> {
    let mut small = |field| narrow(fields.next(), field);
    Ok(Numbers {
        size: decimal(size).ok_or_else(|| bad_number(Field::Size, size, "a number of bytes"))?,
        nlink: small(Field::Nlink)?,
        uid: small(Field::Uid)?,
        gid: small(Field::Gid)?,
        rdev: small(Field::Rdev)?,
        mtime: mtime(fields.next())?,
    })
}

fn narrow(text: &[u8], field: Field) -> FieldResult<u32> {
    let number = decimal(text).and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| bad_number(field, text, "a number from 0 to 4294967295"))
}

fn octal(text: &[u8]) -> FieldResult<u32> {
    let digits = text.iter().try_fold(0_u32, |number, digit| match digit {
        b'0'..=b'7' if number >> 29 == 0 => Some((number << 3) | u32::from(digit - b'0')),
        _ => None,
    });
    let number = digits.filter(|_| !text.is_empty());
    number.ok_or_else(|| bad_number(Field::Mode, text, "an octal mode of at most 32 bits"))
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// Seconds and nanoseconds: two numbers with a dot between, not a fraction.
fn mtime(text: &[u8]) -> FieldResult<Mtime> {
    let parts = || {
        let dot = text.iter().position(|byte| *byte == b'.')?;
        let (is_negative, seconds) = match text[..dot].strip_prefix(b"-") {
            Some(seconds) => (true, seconds),
            None => (false, &text[..dot]),
        };
        let seconds = i128::from(decimal(seconds)?);
        Some(Mtime {
            sec: i64::try_from(if is_negative { -seconds } else { seconds }).ok()?,
            nsec: u32::try_from(decimal(&text[dot + 1..])?).ok()?,
        })
    };
    parts().ok_or_else(|| bad_number(Field::Mtime, text, "seconds, a dot and nanoseconds"))
}

fn bad_number(field: Field, found: &[u8], expected: &'static str) -> (Option<Field>, DumpErrorKind) {
    let found = String::from_utf8_lossy(found).into_owned();
    (Some(field), DumpErrorKind::Number { found, expected })
}

impl From<BadEscape> for DumpErrorKind {
    fn from(_: BadEscape) -> Self {
        Self::Escape
    }
}
