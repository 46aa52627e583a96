//! The whole way from an initramfs file to the policy that is found in it, for `tests/whole_way.rs` and the fuzz targets:
//! archives that are made by any bytes, and what is answered to a file.

#![allow(
    dead_code,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "each program that uses it uses a part of it"
)]

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use ostree_seal::initrd::bootable;
use ostree_seal::initrd::policy::{Trust, of_deployment};
use ostree_seal::refused::is_refusal;

use super::boot_files::uki;

const SEALED: &str = "[seal]\nmode = sealed\nproduct = example.com/os\n";
const UNSEALED: &str = "[seal]\nmode = unsealed\n";
const KEY: &str = "example.com/release+c95b3a4e+AYSaViUAEEIfqBlfmVVmla+eNebP/N81iEmxAqC6xLtB";

/// What is answered to an initramfs file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A sealed image, under these keys.
    Sealed(Vec<String>),
    /// No check, as the policy has it.
    Unsealed,
    /// Nothing of ours.
    Foreign,
    /// No.
    Refused(String),
    /// It could not be told.
    Failed(String),
}

/// A deployment whose tree asks for a sealed boot, and the place of the file.
#[derive(Debug)]
pub struct Place {
    tree: tempfile::TempDir,
    file: PathBuf,
}

impl Place {
    pub fn new() -> Self {
        let tree = tempfile::tempdir().unwrap();
        let ours = tree.path().join("usr/lib/ostree-seal");
        fs::create_dir_all(ours.join("trusted.d")).unwrap();
        fs::write(ours.join("policy.conf"), SEALED).unwrap();
        fs::write(ours.join("trusted.d/a.vkey"), KEY).unwrap();
        let file = tree.path().join("initramfs.img");
        Self { tree, file }
    }

    /// What is answered to this file.
    pub fn answer(&self, bytes: &[u8]) -> Answer {
        // Some file systems wait for the disk where a file takes the place of its old content.
        let _ = fs::remove_file(&self.file);
        fs::write(&self.file, bytes).unwrap();
        let bootable = bootable::in_file(&self.file).unwrap();
        match of_deployment(self.tree.path(), &bootable) {
            Ok(Trust::Sealed { policy, .. }) => {
                assert!(policy.trusted().len() >= policy.threshold());
                Answer::Sealed(policy.trusted().iter().map(ToString::to_string).collect())
            }
            Ok(Trust::Unsealed(_)) => Answer::Unsealed,
            Ok(Trust::Foreign) => Answer::Foreign,
            Err(error) if is_refusal(&error) => Answer::Refused(format!("{error:#}")),
            Err(error) => Answer::Failed(format!("{error:#}")),
        }
    }
}

impl Place {
    /// The answer to an archive, which doesn't hang on how it is wrapped.
    pub fn judge(&self, archive: &[u8]) -> Answer {
        let plain = self.answer(archive);
        assert_eq!(self.answer(&uki(&[(".initrd", archive)])), plain);
        // Linux takes zeros before an archive in some places, and in a packed one nobody has them.
        let packed = self.answer(&gzip(archive));
        assert!(packed == plain || packed.is_no(), "plain {plain:?}, packed {packed:?}");
        plain
    }
}

impl Answer {
    /// Whether nothing boots by it.
    pub fn is_no(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Failed(_))
    }
}

/// Whether other programs would be started to decompress it, which are not what is tried.
pub fn is_for_others(bytes: &[u8]) -> bool {
    let foreign = [b"\xfd7zXZ\0".as_slice(), b"\x5d\0\0", b"\x02\x21\x4c\x18", b"BZh"];
    foreign.iter().any(|magic| bytes.windows(magic.len()).any(|window| window == *magic))
}

/// Parts of paths that somebody reads or writes through.
const NAMES: [&str; 32] = [
    "usr",
    "usr/lib",
    "usr/lib/ostree-seal",
    "usr/lib/ostree-seal/policy.conf",
    "usr/lib/ostree-seal/trusted.d",
    "usr/lib/ostree-seal/trusted.d/a.vkey",
    "usr/lib/ostree-seal/trusted.d/b.vkey",
    "usr/lib/ostree-seal/revoked.d",
    "usr/lib/ostree-seal/revoked.d/a.vkey",
    "usr/lib/ostree-seal/ostree-seal-root",
    "usr/bin",
    "usr/bin/ostree-seal-root",
    "lib",
    "etc",
    "etc/ostree",
    "etc/ostree/prepare-root.conf",
    "usr/lib/ostree",
    "usr/lib/ostree/prepare-root.conf",
    "etc/systemd",
    "etc/systemd/system",
    "etc/systemd/system/ostree-seal-root.service",
    "usr/lib/systemd",
    "usr/lib/systemd/system",
    "usr/lib/systemd/system/ostree-prepare-root.service",
    "usr/lib/systemd/system/initrd-root-fs.target.requires",
    "usr/lib/systemd/system/initrd-root-fs.target.requires/ostree-seal-root.service",
    "run",
    "dev/console",
    ".",
    "..",
    "a",
    "TRAILER!!!",
];

/// What comes before or behind a name.
const AROUND: [(&str, &str); 8] =
    [("", ""), ("/", ""), ("./", ""), ("", "/"), ("//", ""), ("a/../", ""), ("lib/../", ""), ("", "\0x")];

const CONTENTS: [&str; 12] = [
    SEALED,
    KEY,
    "",
    UNSEALED,
    "/",
    "/dev/null",
    "..",
    "usr/lib",
    "/usr/lib/ostree-seal/policy.conf",
    "example.com/x+00000000+AZsF",
    "[composefs]\nenabled = yes\n",
    "[root]\ntransient = true\n",
];

const MODES: [u32; 12] = [
    0o100_644, 0o100_644, 0o100_644, 0o040_755, 0o040_755, 0o040_755, 0o120_777, 0o120_777, 0o020_600,
    0o010_600, 0o140_600, 0,
];

/// The most bytes of an archive that a recipe makes.
const MADE_MAX: usize = 1 << 18;

/// One archive or several, as these bytes say. All bytes are a recipe.
pub fn archives(recipe: &[u8]) -> Vec<u8> {
    let mut made = Vec::new();
    let mut recipe = recipe.iter().copied();
    match recipe.next().unwrap_or_default() % 4 {
        0 | 1 => ready(&mut made, SEALED),
        2 => ready(&mut made, UNSEALED),
        _ => {}
    }
    while made.len() < MADE_MAX {
        let Some(kind) = recipe.next() else { break };
        let mut next = || recipe.next().unwrap_or_default();
        match kind {
            0..=7 => member(&mut made, &Member::named("TRAILER!!!")),
            8..=15 => made.resize(made.len() + usize::from(next() & 0xfc), 0),
            16 => made.push(next()),
            _ => {
                let (drawn, again) = (Member::drawn(&mut next), next());
                let times = if again < 248 { 1 } else { usize::from(again) * 4 };
                for _ in 0..times {
                    member(&mut made, &drawn);
                    if made.len() >= MADE_MAX {
                        break;
                    }
                }
            }
        }
    }
    member(&mut made, &Member::named("TRAILER!!!"));
    made
}

/// The directories and files of an initramfs with this policy.
fn ready(made: &mut Vec<u8>, policy: &str) {
    for name in [2, 4, 7, 10, 18, 21, 22, 24].map(|index: usize| NAMES[index]) {
        let above = name.match_indices('/').map(|(slash, _)| &name[..slash]);
        for name in above.chain([name]) {
            member(made, &Member { mode: 0o040_755, ..Member::named(name) });
        }
    }
    for (name, content) in [(3, policy), (5, KEY), (9, "program"), (25, "[Unit]\n")] {
        let content = content.as_bytes().to_vec();
        member(made, &Member { mode: 0o100_644, content, ..Member::named(NAMES[name]) });
    }
}

/// A member of an archive.
struct Member {
    name: String,
    mode: u32,
    inode: u8,
    links: u8,
    content: Vec<u8>,
    /// What its header says more than its content has.
    lie: u32,
    magic: &'static str,
}

impl Member {
    fn named(name: &str) -> Self {
        let content = Vec::new();
        Self { name: name.to_owned(), mode: 0, inode: 0, links: 1, content, lie: 0, magic: "070701" }
    }

    fn drawn(next: &mut impl FnMut() -> u8) -> Self {
        let name = NAMES[usize::from(next()) % NAMES.len()];
        let (before, behind) = AROUND[usize::from(next().saturating_sub(128)) % AROUND.len()];
        let content = match next() {
            size @ 0xf0.. => vec![b'x'; usize::from(size) << 8],
            index => CONTENTS[usize::from(index) % CONTENTS.len()].as_bytes().to_vec(),
        };
        Self {
            name: format!("{before}{name}{behind}"),
            mode: MODES[usize::from(next()) % MODES.len()],
            inode: next() % 4,
            links: next() % 4,
            content,
            lie: u32::from(next().saturating_sub(0xf8)),
            magic: if next() < 0xf0 { "070701" } else { "070702" },
        }
    }
}

fn member(made: &mut Vec<u8>, member: &Member) {
    // Linux makes no more than the type of a directory or a device with a content.
    let has_content = matches!(member.mode & 0o170_000, 0o100_000 | 0o120_000);
    let content = if has_content { member.content.as_slice() } else { &[] };
    let (content_len, name_len) =
        (u32::try_from(content.len()).unwrap(), u32::try_from(member.name.len()).unwrap());
    let sum = content.iter().fold(0_u32, |sum, byte| sum + u32::from(*byte));
    let (inode, links) = (u32::from(member.inode), u32::from(member.links));
    let size = content_len + member.lie;
    let fields = [inode, member.mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_len + 1, sum];
    let mut header = member.magic.to_owned();
    fields.iter().for_each(|field| write!(header, "{field:08x}").unwrap());
    // What is written has its place by the archive's own beginning, which is that of the file.
    for piece in [[header.as_bytes(), member.name.as_bytes(), b"\0"].concat().as_slice(), content] {
        made.extend_from_slice(piece);
        made.resize(made.len().next_multiple_of(4), 0);
    }
}

/// The same bytes in one piece of gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}
