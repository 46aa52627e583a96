//! Random dumps, with everything around the boundaries of the image format.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::{Index, select};
use proptest::strategy::Union;

/// The text of a dump.
#[derive(Clone)]
pub struct Dump(pub Vec<u8>);

impl std::fmt::Debug for Dump {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// A dump that is right in every respect.
///
/// The size of a device or FIFO is not stored, but from 4 GiB on it makes the inode an extended one: such an image tells
/// less than the dump. With `Loss::None`, there are none.
pub fn dump(loss: Loss) -> impl Strategy<Value = Dump> {
    (meta(), xattrs(), vec(node(loss), 0..40))
        .prop_map(|(root, xattrs, nodes)| Dump(build(root, &xattrs, &nodes)))
}

/// Whether an image may tell less than its dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    None,
    DeviceSizes,
}

/// One or more lines.
#[derive(Debug, Clone)]
struct Node {
    parent: Index,
    name: Vec<u8>,
    kind: Kind,
    meta: Meta,
    xattrs: Xattrs,
}

#[derive(Debug, Clone)]
enum Kind {
    Directory,
    /// A directory with so many files whose names have so many bytes.
    FullDirectory(u16, u8),
    Inline(u64),
    External(u64, Option<u16>, Option<u8>),
    Symlink(u64),
    Special(u32, u64, u64),
    Link(Index),
}

#[derive(Debug, Clone, Copy)]
struct Meta {
    permissions: u32,
    nlink: u64,
    uid: u64,
    gid: u64,
    mtime: (i64, u32),
}

#[derive(Debug, Clone)]
enum Xattrs {
    List(Vec<(Vec<u8>, Vec<u8>)>),
    /// So many short ones, the same wherever they occur.
    Many(u16),
}

fn node(loss: Loss) -> impl Strategy<Value = Node> {
    (any::<Index>(), name(), kind(loss), meta(), xattrs())
        .prop_map(|(parent, name, kind, meta, xattrs)| Node { parent, name, kind, meta, xattrs })
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => vec(any::<u8>(), 1..12),
        2 => (0..=255_u8).prop_map(|number| format!("{number:02x}").into_bytes()),
        1 => select(vec![&b"!"[..], b"-", b".-", b"...", b".a", b"..a", b"+", b"-x", b"0", b"000"]).prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 250..=255),
    ]
    .prop_map(|mut name| {
        for byte in name.iter_mut().filter(|byte| matches!(**byte, 0 | b'/')) {
            *byte = b'_';
        }
        if name == b"." || name == b".." { b"_".to_vec() } else { name }
    })
}

/// A number near one of these.
fn near(edges: &'static [u64], max: u64) -> impl Strategy<Value = u64> {
    (select(edges), 0..=2_u64, any::<bool>()).prop_map(move |(edge, distance, up)| {
        let number = if up { edge.saturating_add(distance) } else { edge.saturating_sub(distance) };
        number.min(max)
    })
}

fn kind(loss: Loss) -> impl Strategy<Value = Kind> {
    let size = near(&[1, 4096, 8192, 1 << 32, 1 << 43, 1 << 44, 1018 << 43, 1 << 53], 1 << 53);
    let payload =
        prop_oneof![1 => Just(None), 6 => (1..80_u16).prop_map(Some), 1 => (4000..=4095_u16).prop_map(Some)];
    let device_size = near(&[0, 1 << 32], if loss == Loss::None { 0xffff_ffff } else { u64::MAX });
    let type_bits = select(vec![0o010000_u32, 0o020000, 0o020000, 0o060000, 0o140000]);
    prop_oneof![
        4 => Just(Kind::Directory),
        1 => (0..300_u16, any::<u8>()).prop_map(|(count, len)| Kind::FullDirectory(count, len.max(4))),
        4 => prop_oneof![
            near(&[0, 2048, 4096, 5000], 5000),
            0..=5000_u64,
            0..100_u64,
        ].prop_map(Kind::Inline),
        6 => (size, payload, proptest::option::of(0..6_u8))
            .prop_map(|(size, payload, digest)| Kind::External(size.max(1), payload, digest)),
        4 => prop_oneof![1..60_u64, near(&[4000, 4032, 4064, 4095], 4095), 3900..=4095_u64, 1..=4095_u64]
            .prop_map(|len| Kind::Symlink(len.max(1))),
        3 => (type_bits, prop_oneof![Just(0), near(&[256, 0xffff_ffff], 0xffff_ffff)], device_size)
            .prop_map(|(bits, rdev, size)| Kind::Special(bits, rdev, size)),
        2 => any::<Index>().prop_map(Kind::Link),
    ]
}

fn meta() -> impl Strategy<Value = Meta> {
    let id = || prop_oneof![6 => Just(0), 1 => near(&[65535, 0xffff_ffff], 0xffff_ffff)];
    let seconds = prop_oneof![
        6 => Just(0_i64),
        2 => -3..3_i64,
        1 => select(vec![i64::MIN, i64::MAX, 1_700_000_000]),
    ];
    let nanoseconds =
        prop_oneof![6 => Just(0_u32), 1 => Just(1), 1 => Just(999_999_999), 1 => Just(u32::MAX)];
    let nlink = prop_oneof![6 => Just(1_u64), 1 => near(&[65535, 0xffff_ffff], 0xffff_ffff)];
    (0..0o10000_u32, nlink, id(), id(), (seconds, nanoseconds))
        .prop_map(|(permissions, nlink, uid, gid, mtime)| Meta { permissions, nlink, uid, gid, mtime })
}

fn xattrs() -> impl Strategy<Value = Xattrs> {
    prop_oneof![
        5 => Just(Xattrs::List(Vec::new())),
        6 => vec((xattr_name(), xattr_value()), 1..5).prop_map(Xattrs::List),
        1 => (126..132_u16).prop_map(Xattrs::Many),
    ]
}

fn xattr_name() -> impl Strategy<Value = Vec<u8>> {
    let fixed = select(vec![
        "security.selinux",
        "security.selinux",
        "security.selinux",
        "security.ima",
        "user.a",
        "user.b",
        "user.",
        "trusted.a",
        "trusted.overlay.",
        "trusted.overlay.opaque",
        "trusted.overlay.metacopy",
        "trusted.overlay.redirect",
        "trusted.overlay.whiteout",
        "trusted.overlay.whiteouts",
        "trusted.overlay.overlay.whiteout",
        "trusted.overlayfoo",
        "user.overlay.whiteout",
        "user.overlay.whiteouts",
        "user.overlay.opaque",
        "system.posix_acl_access",
        "system.posix_acl_default",
        "system.posix_acl_accessX",
        "system.other",
        "lustre.lov",
        "noprefix",
        "a",
        "z",
    ]);
    Union::new_weighted(vec![
        (20, fixed.prop_map(|name| name.as_bytes().to_vec()).boxed()),
        (1, vec(b'a'..=b'z', 200..=255).boxed()),
        (1, vec(b'a'..=b'z', 1..=231).prop_map(|rest| [b"trusted.overlay.", &rest[..]].concat()).boxed()),
    ])
}

fn xattr_value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        12 => select(vec![&b""[..], b"x", b"y", b"label-a\0", b"label-b\0"]).prop_map(<[u8]>::to_vec),
        4 => vec(any::<u8>(), 0..10),
        1 => prop_oneof![1..200_usize, 1900..2200_usize, 4000..4200_usize, 30_000..32_500_usize]
            .prop_map(|len| vec![b'v'; len]),
    ]
}

fn repeat(len: u64) -> usize {
    usize::try_from(len).unwrap()
}

/// What the lines so far have made.
struct Builder {
    text: Vec<u8>,
    directories: Vec<Vec<u8>>,
    files: Vec<Vec<u8>>,
    paths: BTreeSet<Vec<u8>>,
}

fn build(root: Meta, xattrs: &Xattrs, nodes: &[Node]) -> Vec<u8> {
    let mut builder = Builder {
        text: Vec::new(),
        directories: vec![Vec::new()],
        files: Vec::new(),
        paths: BTreeSet::new(),
    };
    builder.line(b"/", &root, &Fields { type_bits: 0o040000, ..Fields::size(4096) }, xattrs);
    for node in nodes {
        builder.node(node);
    }
    builder.text
}

/// The fields that depend on the type.
#[derive(Default)]
struct Fields {
    type_bits: u32,
    size: u64,
    rdev: u64,
    payload: Vec<u8>,
    content: Vec<u8>,
    digest: Option<u8>,
}

impl Fields {
    fn size(size: u64) -> Self {
        Self { size, ..Self::default() }
    }
}

impl Builder {
    fn node(&mut self, node: &Node) {
        let parent = node.parent.get(&self.directories);
        let path = [parent, &b"/"[..], &node.name].concat();
        if !self.paths.insert(path.clone()) {
            return;
        }
        let type_bits = match &node.kind {
            Kind::Directory | Kind::FullDirectory(..) => 0o040000,
            Kind::Inline(_) | Kind::External(..) => 0o100000,
            Kind::Symlink(_) => 0o120000,
            Kind::Special(bits, ..) => *bits,
            Kind::Link(target) => return self.link(&path, target),
        };
        let of_kind = match node.kind {
            Kind::Inline(len) => {
                let content = (0..=250).cycle().take(repeat(len)).collect();
                Fields { size: len, content, ..Fields::default() }
            }
            Kind::External(size, payload, digest) => {
                let payload = payload.map_or(Vec::new(), |len| vec![b'p'; usize::from(len)]);
                Fields { size, payload, digest, ..Fields::default() }
            }
            Kind::Symlink(len) => Fields { payload: vec![b't'; repeat(len)], ..Fields::size(7) },
            Kind::Special(_, rdev, size) => Fields { rdev, size, ..Fields::default() },
            _ => Fields::size(0),
        };
        let fields = Fields { type_bits, ..of_kind };
        self.line(&path, &node.meta, &fields, &node.xattrs);
        match node.kind {
            Kind::Directory => self.directories.push(path),
            Kind::FullDirectory(count, name_len) => {
                let file = Fields { type_bits: 0o100000, ..Fields::default() };
                for number in 0..count {
                    let name = format!("{number:0>width$}", width = usize::from(name_len));
                    let path = [&path, &b"/"[..], name.as_bytes()].concat();
                    self.line(&path, &node.meta, &file, &Xattrs::List(Vec::new()));
                }
            }
            _ => self.files.push(path),
        }
    }

    fn link(&mut self, path: &[u8], target: &Index) {
        if self.files.is_empty() {
            return;
        }
        let target = target.get(&self.files).clone();
        self.escaped(path);
        self.text.extend_from_slice(b" 0 @100644 1 0 0 0 0.0 ");
        self.escaped(&target);
        self.text.extend_from_slice(b" - -\n");
        self.files.push(path.to_vec());
    }

    fn line(&mut self, path: &[u8], meta: &Meta, fields: &Fields, xattrs: &Xattrs) {
        let Meta { permissions, nlink, uid, gid, mtime: (sec, nsec) } = *meta;
        let mode = fields.type_bits | permissions;
        self.escaped(path);
        let (size, rdev) = (fields.size, fields.rdev);
        let numbers = format!(" {size} {mode:o} {nlink} {uid} {gid} {rdev} {sec}.{nsec} ");
        self.text.extend_from_slice(numbers.as_bytes());
        for field in [&fields.payload, &fields.content] {
            self.escaped(if field.is_empty() { b"-" } else { field });
            self.text.push(b' ');
        }
        match fields.digest {
            Some(digest) => {
                let digest = format!("{digest:02x}").repeat(32);
                self.text.extend_from_slice(digest.as_bytes());
            }
            None => self.text.push(b'-'),
        }
        let mut budget = 32767 - 12;
        for (name, value) in xattrs.list() {
            // A repeated name needs no room, but counting it does no harm.
            let cost = 7 + name.len() + value.len();
            if cost <= budget {
                budget -= cost;
                self.text.push(b' ');
                self.escaped(&name);
                self.text.push(b'=');
                self.escaped(&value);
            }
        }
        self.text.push(b'\n');
    }

    fn escaped(&mut self, bytes: &[u8]) {
        if bytes == b"-" {
            return self.text.push(b'-');
        }
        for byte in bytes {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' => self.text.push(*byte),
                _ => self.text.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
            }
        }
    }
}

impl Xattrs {
    fn list(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        match self {
            Self::List(list) => list.clone(),
            Self::Many(count) => (0..*count)
                .map(|number| (format!("user.{number:03}").into_bytes(), b"same".to_vec()))
                .collect(),
        }
    }
}
