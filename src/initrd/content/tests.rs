use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use ostree_seal_root::layout::prepare_root_conf::PLACES;
use ostree_seal_root::read::Files as _;
use proptest::prelude::{any, proptest};

use super::rootfs::{Node, Rootfs};
use super::unpack::Unpacker;
use super::{Budget, Initramfs, POLICY_DIRECTORY, unpack};

#[allow(dead_code, unreachable_pub, reason = "the guests' helper uses all of it")]
#[path = "../../../tests/vm/helper/archives.rs"]
mod archives;
use crate::beneath::Below;

mod units; // who sets up the root

const FILE: u32 = 0o100644;
const LINK: u32 = 0o120777;

/// One cpio archive with regular files.
pub(in crate::initrd) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let members: Vec<_> = files.iter().map(|(name, content)| (FILE, 1, *name, *content)).collect();
    archive_of(&members)
}

/// Mode, number of links, name and content of a member of an archive.
type Member<'a> = (u32, u32, &'a str, &'a [u8]);

/// One cpio archive with members of these modes, numbers of links, names and contents, and the directories that they need.
/// Those with several links are one file.
fn archive_of(members: &[Member<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut directories = std::collections::BTreeSet::new();
    for (inode, member) in (2..).zip(members) {
        for directory in super::above(member.2.trim_start_matches("./")) {
            if directories.insert(directory) {
                append(&mut bytes, 1, (0o040755, 1, directory, b""));
            }
        }
        append(&mut bytes, inode, *member);
    }
    append(&mut bytes, 1, (0, 1, "TRAILER!!!", b""));
    bytes
}

fn append(bytes: &mut Vec<u8>, inode: u32, (mode, links, name, content): Member<'_>) {
    let inode = if links > 1 { 1 } else { inode };
    write!(bytes, "070701{inode:08x}{mode:08x}{:08x}{:08x}{links:08x}{:08x}", 0, 0, 0).unwrap();
    write!(bytes, "{:08x}{:08x}{:08x}{:08x}{:08x}", content.len(), 0, 0, 0, 0).unwrap();
    write!(bytes, "{:08x}{:08x}{name}\0", name.len() + 1, 0).unwrap();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

fn read(bytes: &[u8]) -> Initramfs {
    unpack(bytes).unwrap()
}

fn refused(bytes: &[u8]) -> String {
    let error = unpack(bytes).unwrap_err();
    assert!(error.is::<super::Malformed>(), "{error:#}");
    format!("{error:#}")
}

/// What the program would read at these paths below `directory`.
fn files(found: &Initramfs, directory: &str, names: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let inside = found.inside(Path::new("x"));
    let read = |name: &&str| {
        let content = inside.read(&inside.path(&format!("{directory}/{name}")), 1 << 16).ok()?;
        Some(((*name).to_owned(), content))
    };
    names.iter().filter_map(read).collect()
}

/// The policy's files, by their path.
fn policy(found: &Initramfs) -> BTreeMap<String, Vec<u8>> {
    let inside = found.inside(Path::new("x"));
    let mut policy = files(found, POLICY_DIRECTORY, &["policy.conf"]);
    for directory in ["trusted.d", "revoked.d"] {
        let path = inside.path(&format!("{POLICY_DIRECTORY}/{directory}"));
        for name in inside.names(&path, 5000).unwrap().unwrap_or_default() {
            let name = format!("{directory}/{}", name.to_str().unwrap());
            policy.extend(files(found, POLICY_DIRECTORY, &[&name]));
        }
    }
    policy
}

fn layout(found: &Initramfs) -> BTreeMap<String, Vec<u8>> {
    files(found, "", &PLACES)
}

/// What is in the tree at `t`, as the table of archives has it.
fn listing(tree: &Rootfs) -> Vec<String> {
    let line = |found: super::rootfs::Named<'_>| {
        let path = found.path();
        let (kind, value) = match found.node() {
            Node::Directory(_) => ("dir", b"".as_slice()),
            Node::File(file) => ("file", file.content.bytes.as_deref().unwrap_or_default()),
            Node::Link(target) => ("link", target.as_slice()),
            Node::Other(0o010_000) => ("fifo", b"".as_slice()),
            Node::Other(_) => ("device", b"".as_slice()),
        };
        path.starts_with(b"t/").then(|| archives::shown(&path, kind, value))
    };
    let mut lines: Vec<_> = tree.all().filter_map(line).collect();
    lines.sort();
    lines
}

#[test]
fn archives_make_what_linux_makes_of_them_or_are_refused() {
    let table = include_str!("../../../tests/data/initramfs-archives.txt");
    let cases = archives::parse(table).unwrap();
    assert!(cases.len() >= 80, "{}", cases.len());
    let mut wrong = String::new();
    for case in cases {
        let mut bytes = archive_of(&[(0o040755, 1, "t", b"")]);
        bytes.extend(case.bytes().unwrap());
        let mut unpacker = Unpacker::new(|_| true, Budget::default());
        let result = unpacker.unpack(bytes.as_slice()).map_err(|error| format!("{error:#}"));
        let made = listing(&unpacker.finish());
        let right = match (&result, &case.refused) {
            (Ok(()), None) => made == case.made && case.says.is_none(),
            (Err(error), Some(expected)) => error.contains(expected),
            _ => false,
        };
        if !right {
            wrong += &format!(
                "{}: {result:?} {made:#?}, expected {:?} {:#?}\n",
                case.name, case.refused, case.made
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

const POLICY: &[(&str, &[u8])] = &[
    ("usr/bin/sh", b"#!"),
    ("usr/lib/ostree-seal/policy.conf", b"[seal]\n"),
    ("usr/lib/ostree-seal/trusted.d/a.vkey", b"a"),
    ("usr/lib/modules/6.12/kernel/fs/erofs/erofs.ko.xz", b"module"),
    ("usr/lib/ostree-seal/ostree-seal-root", b"\x7fELF"),
];

#[test]
fn plain_gzip_and_zstd_give_the_same() {
    let plain = archive(POLICY);
    let found = read(&plain);
    assert_eq!(policy(&found)["policy.conf"], b"[seal]\n");
    assert_eq!(policy(&found)["trusted.d/a.vkey"], b"a");
    assert_eq!(policy(&found).len(), 2);
    let program = found.program.as_ref().unwrap();
    assert_eq!(program.path, "usr/lib/ostree-seal/ostree-seal-root");
    assert_eq!(program.digest, crate::merkle::digest(b"\x7fELF"));
    assert_eq!(found.modules, ["erofs"]);
    assert_eq!(read(&gzip(&plain)), found);
    assert_eq!(read(&zstd(&plain)), found);
}

#[test]
fn a_later_archive_replaces_a_file_of_an_earlier_one() {
    let later = archive(&[("./usr/lib/ostree-seal/policy.conf", b"[seal]\nmode = unsealed\n")]);
    for first in [archive(POLICY), gzip(&archive(POLICY)), zstd(&archive(POLICY))] {
        for last in [later.clone(), gzip(&later), zstd(&later)] {
            let mut both = first.clone();
            both.resize(both.len().next_multiple_of(512), 0);
            both.extend_from_slice(&last);
            let found = read(&both);
            assert_eq!(policy(&found)["policy.conf"], b"[seal]\nmode = unsealed\n");
            assert!(found.program.is_some());
        }
    }
}

#[test]
fn microcode_ahead_of_the_main_archive_is_passed_over() {
    let mut bytes = archive(&[("kernel/x86/microcode/GenuineIntel.bin", &[7; 5000])]);
    bytes.extend(zstd(&archive(POLICY)));
    assert_eq!(policy(&read(&bytes)).len(), 2);
}

#[test]
fn xz_is_left_to_its_program() {
    let mut child = std::process::Command::new("xz")
        .args(["-c", "--check=crc32"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&archive(POLICY)).unwrap();
    assert_eq!(policy(&read(&child.wait_with_output().unwrap().stdout)).len(), 2);
}

#[test]
fn hard_links_have_the_content_that_comes_with_any_of_them() {
    let (a, b) = ("usr/lib/ostree-seal/trusted.d/a.vkey", "usr/lib/ostree-seal/trusted.d/b.vkey");
    for contents in [[b"".as_slice(), b"key"], [b"key", b""]] {
        let found = read(&archive_of(&[(FILE, 2, a, contents[0]), (FILE, 2, b, contents[1])]));
        assert_eq!(policy(&found)["trusted.d/a.vkey"], b"key");
        assert_eq!(policy(&found)["trusted.d/b.vkey"], b"key");
    }
    let elsewhere = read(&archive_of(&[(FILE, 2, a, b""), (FILE, 2, "usr/share/key", b"key")]));
    assert_eq!(policy(&elsewhere)["trusted.d/a.vkey"], b"key");
}

/// What took more than 20 s when each name copied the file, and a few milliseconds when it is read once.
#[test]
fn twenty_thousand_names_of_one_large_file_are_one_file() {
    let large = vec![7; 1 << 20];
    let names: Vec<String> = (0..20_000).map(|name| format!("usr/share/{name}")).collect();
    let links = u32::try_from(names.len() + 1).unwrap();
    let mut members: Vec<Member<'_>> = vec![(FILE, links, "usr/bin/large", &large)];
    members.extend(names.iter().map(|name| (FILE, links, name.as_str(), b"".as_slice())));
    let found = read(&gzip(&archive_of(&members)));
    assert_eq!((found.program, policy(&read(&archive(POLICY))).len()), (None, 2));
}

#[test]
fn a_program_with_a_thousand_names_is_hashed_once_and_kept_once() {
    let names: Vec<String> = (0..1024).map(|name| format!("bin/{name}/ostree-seal-root")).collect();
    let program = vec![7; 1 << 20];
    let content = |name: usize| if name == 1023 { program.as_slice() } else { b"" };
    let members: Vec<_> =
        names.iter().enumerate().map(|(name, path)| (FILE, 1024, path.as_str(), content(name))).collect();
    let found = read(&archive_of(&members));
    assert_eq!(found.program.as_ref().unwrap().digest, crate::merkle::digest(&program));
    assert_eq!(found.tree.kept(), 1 << 20);
    // More than may be kept would be told.
    let files: Vec<_> =
        names.iter().take(65).map(|path| (FILE, 1, path.as_str(), program.as_slice())).collect();
    assert!(refused(&archive_of(&files)).contains("what is to be read of it has more than 67108864 bytes"));
}

#[test]
fn what_costs_more_than_any_initramfs_is_refused() {
    let members = |count: usize, name: &dyn Fn(usize) -> String| {
        let mut bytes = Vec::new();
        (0..count).for_each(|number| append(&mut bytes, 3, (FILE, 1, &name(number), b"")));
        bytes
    };
    let too_many = members((1 << 18) + 1, &|_| "a".to_owned());
    assert!(refused(&too_many).contains("more than 262144 members"), "{}", refused(&too_many));
    let long = "/n".repeat(2000);
    let names = refused(&members(8500, &|_| long.clone()));
    assert!(names.contains("names have more than 33554432 bytes"), "{names}");
    // A few symlinks make a short name a long way.
    let mut steps = archive_of(&[(0o040755, 1, "d", b"")]);
    let way = "d/../".repeat(800);
    (0..40).for_each(|number| {
        let target =
            format!("{way}{}", if number == 0 { "d".to_owned() } else { format!("l{}", number - 1) });
        append(&mut steps, 3, (LINK, 1, &format!("l{number}"), target.as_bytes()));
    });
    (0..600).for_each(|_| append(&mut steps, 3, (FILE, 1, "l39/a", b"")));
    // The trailer between is another archive's beginning.
    assert!(refused(&steps).contains("lead through more than 16777216 directories"), "{}", refused(&steps));
    let deep: Vec<String> = (1..=130).map(|depth| vec!["d"; depth].join("/")).collect();
    let deep: Vec<_> = deep.iter().map(|name| (0o040755, 1, name.as_str(), b"".as_slice())).collect();
    assert!(refused(&archive_of(&deep)).contains("a directory below 128 others"));
    // The same where units are looked for.
    let place = "etc/systemd/system";
    let mut steps = archive_of(&[(0o040755, 1, "d", b""), (0o040755, 1, place, b"")]);
    (0..=30).for_each(|number: u32| {
        let target = number.checked_sub(1).map_or("d".to_owned(), |before| format!("l{before}"));
        append(&mut steps, 3, (LINK, 1, &format!("l{number}"), format!("{way}{target}").as_bytes()));
    });
    (0..600).for_each(|number| append(&mut steps, 3, (LINK, 1, &format!("{place}/{number}.wants"), b"/l30")));
    append(&mut steps, 3, (0, 1, "TRAILER!!!", b""));
    assert!(refused(&steps).contains("lead through more than 16777216 directories"), "{}", refused(&steps));
}

#[test]
fn all_files_of_a_deployment_have_one_budget_unpacked() {
    // A megabyte and a half each of padding, which is passed over.
    let mut bytes = archive(POLICY);
    bytes.resize(3 << 19, 0);
    for packed in [gzip(&bytes), zstd(&bytes)] {
        let mut unpacker = Unpacker::new(|_| true, Budget::default());
        assert_eq!(unpacker.left, 2 << 30);
        unpacker.left = 2 << 20;
        unpacker.unpack(packed.as_slice()).unwrap();
        let error = format!("{:#}", unpacker.unpack(packed.as_slice()).unwrap_err());
        assert!(error.contains("may have 2147483648 bytes unpacked, and these have more"), "{error}");
    }
}

#[test]
fn two_pieces_of_xz_or_bzip2_are_refused_where_linux_takes_them_for_two() {
    for program in ["xz", "bzip2"] {
        let pack = |bytes: &[u8]| {
            let mut child = std::process::Command::new(program)
                .arg("-c")
                .stdin(std::process::Stdio::piped())
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(bytes).unwrap();
            child.wait_with_output().unwrap().stdout
        };
        let whole = archive(POLICY);
        assert_eq!(policy(&read(&pack(&whole))).len(), 2, "{program}");
        let (first, second) = whole.split_at(whole.len() / 8 * 4);
        for rest in [second, b""] {
            let error = refused(&[pack(first), pack(rest)].concat());
            assert!(
                error.contains(&format!("decompressing with {program}: two pieces, one behind another")),
                "{error}"
            );
        }
    }
}

#[test]
fn a_gzip_header_that_linux_does_not_know_is_refused() {
    let mut encoder =
        flate2::GzBuilder::new().filename("name").write(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&archive(POLICY)).unwrap();
    assert_eq!(policy(&read(&encoder.finish().unwrap())).len(), 2);
    let mut encoder = flate2::GzBuilder::new().extra("field").write(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&archive(POLICY)).unwrap();
    let error = refused(&encoder.finish().unwrap());
    assert!(error.contains("a header of gzip with the flags 0x04"), "{error}");
}

#[test]
fn a_file_that_linux_never_made_is_not_there() {
    let mut bytes = Vec::new();
    append(&mut bytes, 3, (FILE, 1, "usr/lib/ostree-seal/policy.conf", b"[seal]"));
    append(&mut bytes, 3, (0, 1, "TRAILER!!!", b""));
    assert_eq!(policy(&read(&bytes)), BTreeMap::new());
}

#[test]
fn what_is_no_file_takes_the_place_of_one() {
    let name = "usr/lib/ostree-seal/policy.conf";
    let found = read(&archive_of(&[(FILE, 1, name, b"[seal]\n"), (LINK, 1, name, b"/etc/policy.conf")]));
    assert_eq!(policy(&found).len(), 0);
}

#[test]
fn a_symlink_is_not_taken_for_a_file_that_is_not_there() {
    let key = "usr/lib/ostree-seal/revoked.d/old.vkey";
    let link = (LINK, 1, key, b"../trusted.d/old.vkey".as_slice());
    assert_eq!(read(&archive_of(&[link])).irregular, [key.to_owned()].into());
    assert_eq!(read(&archive_of(&[link, (FILE, 1, key, b"key")])).irregular, [].into());
    assert_eq!(read(&archive_of(&[(FILE, 1, key, b"key"), link])).irregular, [key.to_owned()].into());
    for name in ["usr/lib/ostree-seal", "usr/lib", "usr/lib/ostree-seal/revoked.d"] {
        assert_eq!(read(&archive_of(&[(LINK, 1, name, b"x")])).irregular, [name.to_owned()].into());
    }
    for name in ["usr/bin", "lib", "usr/lib/ostree-seal.d/a", "etc/ostree-seal"] {
        assert_eq!(read(&archive_of(&[(LINK, 1, name, b"x")])).irregular, [].into(), "{name}");
    }
}

#[test]
fn the_layout_is_kept_under_both_of_its_names() {
    let [vendor, admin] = ["usr/lib/ostree/prepare-root.conf", "etc/ostree/prepare-root.conf"];
    let found =
        read(&archive(&[(vendor, b"a"), (admin, b"b"), (vendor, b"c"), ("etc/prepare-root.conf", b"")]));
    assert_eq!(
        layout(&found),
        [(vendor.to_owned(), b"c".to_vec()), (admin.to_owned(), b"b".to_vec())].into()
    );
    for name in [vendor, admin, "etc/ostree", "etc"] {
        assert_eq!(read(&archive_of(&[(LINK, 1, name, b"x")])).irregular, [name.to_owned()].into());
    }
    let gone = read(&archive_of(&[(FILE, 1, admin, b"b"), (0o040755, 1, admin, b"")]));
    assert_eq!((layout(&gone), gone.irregular), ([].into(), [admin.to_owned()].into()));
}

#[test]
fn a_directory_or_device_in_the_place_of_a_key_is_seen() {
    let name = |name: &str| format!("usr/lib/ostree-seal/{name}");
    for mode in [0o040755, 0o010644, 0o020644] {
        for file in ["policy.conf", "revoked.d/a.vkey"] {
            let found = read(&archive_of(&[(mode, 1, &name(file), b"")]));
            assert_eq!(found.irregular, [name(file)].into());
        }
    }
    let directory = |path| (0o040755, 1, path, b"".as_slice());
    let found = archive_of(&[directory("usr/lib/ostree-seal"), directory("usr/lib/ostree-seal/trusted.d")]);
    assert_eq!(read(&found).irregular, [].into());
}

#[test]
fn a_unified_kernel_image_is_read_like_its_initramfs() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("os.efi");
    let microcode = archive(&[("kernel/x86/microcode/GenuineIntel.bin", &[7; 5000])]);
    let main = zstd(&archive(POLICY));
    let sections = [(".initrd", main.as_slice()), (".linux", b"kernel"), (".ucode", &microcode)];
    std::fs::write(&path, crate::initrd::uki::tests::image(&sections)).unwrap();
    let files = [Below::new(directory.path(), "os.efi")];
    let found = super::read(&files, &mut Budget::default()).unwrap();
    assert_eq!((&found.program, policy(&found).len()), (&read(&archive(POLICY)).program, 2));
    std::fs::write(&path, crate::initrd::uki::tests::image(&sections[1..])).unwrap();
    // Microcode alone is no initramfs, but nothing wrong either.
    let found = super::read(&files, &mut Budget::default()).unwrap();
    assert!(found.program.is_none() && !found.has_policy());
    std::fs::write(&path, crate::initrd::uki::tests::image(&[(".linux", b"kernel")])).unwrap();
    let error = format!("{:#}", super::read(&files, &mut Budget::default()).unwrap_err());
    assert!(error.contains("without a section `.initrd`"), "{error}");
}

#[test]
fn a_cut_or_foreign_file_is_an_error() {
    let plain = archive(POLICY);
    for len in [1, 109, 111, 200, plain.len() - 130] {
        unpack(&plain[..len]).unwrap_err();
    }
    unpack(b"MZ not an initramfs").unwrap_err();
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in any::<Vec<u8>>(), position in 0..500_usize, byte in any::<u8>()) {
        drop(unpack(&bytes));
        let mut damaged = archive(POLICY);
        damaged[position] = byte;
        drop(unpack(&damaged));
        let mut damaged = zstd(&archive(POLICY));
        let len = damaged.len();
        damaged[position % len] = byte;
        drop(unpack(&damaged));
    }
}
