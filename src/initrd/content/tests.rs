use std::io::Write;

use proptest::prelude::{any, proptest};

use super::{Initramfs, unpack};

const FILE: u32 = 0o100644;
const LINK: u32 = 0o120777;

/// One cpio archive with regular files.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let members: Vec<_> = files.iter().map(|(name, content)| (FILE, 1, *name, *content)).collect();
    archive_of(&members)
}

/// One cpio archive with members of these modes, numbers of links, names and contents. Those with several links are one file.
fn archive_of(members: &[(u32, u32, &str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let trailer = (0, 1, "TRAILER!!!", b"".as_slice());
    for (inode, (mode, links, name, content)) in (2..).zip(members.iter().chain(&[trailer])) {
        let inode = if *links > 1 { 1 } else { inode };
        write!(bytes, "070701{inode:08x}{mode:08x}{:08x}{:08x}{links:08x}{:08x}", 0, 0, 0).unwrap();
        write!(bytes, "{:08x}{:08x}{:08x}{:08x}{:08x}", content.len(), 0, 0, 0, 0).unwrap();
        write!(bytes, "{:08x}{:08x}{name}\0", name.len() + 1, 0).unwrap();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
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
    let mut found = Initramfs::default();
    unpack(bytes, &mut found).unwrap();
    found
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
    assert_eq!(found.policy["policy.conf"], b"[seal]\n");
    assert_eq!(found.policy["trusted.d/a.vkey"], b"a");
    assert_eq!(found.policy.len(), 2);
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
            assert_eq!(found.policy["policy.conf"], b"[seal]\nmode = unsealed\n");
            assert!(found.program.is_some());
        }
    }
}

#[test]
fn microcode_ahead_of_the_main_archive_is_passed_over() {
    let mut bytes = archive(&[("kernel/x86/microcode/GenuineIntel.bin", &[7; 5000])]);
    bytes.extend(zstd(&archive(POLICY)));
    assert_eq!(read(&bytes).policy.len(), 2);
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
    assert_eq!(read(&child.wait_with_output().unwrap().stdout).policy.len(), 2);
}

#[test]
fn hard_links_have_the_content_that_comes_with_any_of_them() {
    let (a, b) = ("usr/lib/ostree-seal/trusted.d/a.vkey", "usr/lib/ostree-seal/trusted.d/b.vkey");
    for contents in [[b"".as_slice(), b"key"], [b"key", b""]] {
        let found = read(&archive_of(&[(FILE, 2, a, contents[0]), (FILE, 2, b, contents[1])]));
        assert_eq!(found.policy["trusted.d/a.vkey"], b"key");
        assert_eq!(found.policy["trusted.d/b.vkey"], b"key");
    }
    let elsewhere = read(&archive_of(&[(FILE, 2, a, b""), (FILE, 2, "usr/share/key", b"key")]));
    assert_eq!(elsewhere.policy["trusted.d/a.vkey"], b"key");
}

#[test]
fn twenty_thousand_names_of_one_large_file_take_no_longer_than_so_many_files() {
    let large = vec![0; 1 << 20];
    let names: Vec<String> = (0..20_000).map(|name| format!("usr/share/{name}")).collect();
    let links = u32::try_from(names.len() + 1).unwrap();
    let mut members: Vec<(u32, u32, &str, &[u8])> = vec![(FILE, links, "usr/bin/large", &large)];
    members.extend(names.iter().map(|name| (FILE, links, name.as_str(), b"".as_slice())));
    let started = std::time::Instant::now();
    let found = read(&gzip(&archive_of(&members)));
    assert_eq!(found, Initramfs::default());
    // It took more than 20 s; here it is a fraction of one.
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn one_file_under_too_many_names_that_matter_is_an_error() {
    let names: Vec<String> =
        (0..1100).map(|name| format!("usr/lib/ostree-seal/trusted.d/{name}.vkey")).collect();
    let links = u32::try_from(names.len()).unwrap();
    let members: Vec<_> = names.iter().map(|name| (FILE, links, name.as_str(), b"k".as_slice())).collect();
    let error = format!("{:#}", unpack(&archive_of(&members), &mut Initramfs::default()).unwrap_err());
    assert!(error.contains("more than 1024 other names are one file"), "{error}");
}

#[test]
fn what_unpacks_to_more_than_any_initramfs_is_an_error_and_never_all_in_memory() {
    // 2 GiB and a half of zeros, in a few megabytes: padding, which is passed over.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&archive(POLICY)).unwrap();
    let zeros = vec![0; 16 << 20];
    for _ in 0..160 {
        encoder.write_all(&zeros).unwrap();
    }
    let packed = encoder.finish().unwrap();
    let error = format!("{:#}", unpack(&packed, &mut Initramfs::default()).unwrap_err());
    assert!(error.contains("more than the 2147483648 bytes that are possible, unpacked"), "{error}");
}

#[test]
fn what_is_no_file_takes_the_place_of_one() {
    let name = "usr/lib/ostree-seal/policy.conf";
    let found = read(&archive_of(&[(FILE, 1, name, b"[seal]\n"), (LINK, 1, name, b"/etc/policy.conf")]));
    assert_eq!(found.policy.len(), 0);
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
    assert_eq!(found.layout, [(vendor.to_owned(), b"c".to_vec()), (admin.to_owned(), b"b".to_vec())].into());
    for name in [vendor, admin, "etc/ostree", "etc"] {
        assert_eq!(read(&archive_of(&[(LINK, 1, name, b"x")])).irregular, [name.to_owned()].into());
    }
    let gone = read(&archive_of(&[(FILE, 1, admin, b"b"), (0o040755, 1, admin, b"")]));
    assert_eq!((gone.layout, gone.irregular), ([].into(), [admin.to_owned()].into()));
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
fn units_tell_who_sets_up_the_root() {
    let ours = "usr/lib/systemd/system/ostree-seal-root.service";
    let pulled_in = "etc/systemd/system/initrd-root-fs.target.requires/ostree-seal-root.service";
    let other = "usr/lib/systemd/system/ostree-prepare-root.service";
    let mask = "etc/systemd/system/ostree-prepare-root.service";
    let link = (LINK, 1, pulled_in, b"/usr/lib/systemd/system/ostree-seal-root.service".as_slice());
    let found = read(&archive_of(&[(FILE, 1, ours, b""), (FILE, 1, other, b"")]));
    assert!(!found.starts_program() && found.starts_prepare_root());
    let found = read(&archive_of(&[(FILE, 1, ours, b""), link, (FILE, 1, other, b"")]));
    assert!(found.starts_program() && found.starts_prepare_root());
    let found = read(&archive_of(&[
        (FILE, 1, ours, b""),
        link,
        (FILE, 1, other, b""),
        (LINK, 1, mask, b"/dev/null"),
    ]));
    assert!(found.starts_program() && !found.starts_prepare_root());
    let found = read(&archive(&[("scripts/local-bottom/ostree-seal", b"")]));
    assert!(found.starts_program() && !found.starts_prepare_root());
}

#[test]
fn a_unified_kernel_image_is_read_like_its_initramfs() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("os.efi");
    let microcode = archive(&[("kernel/x86/microcode/GenuineIntel.bin", &[7; 5000])]);
    let main = zstd(&archive(POLICY));
    let sections = [(".initrd", main.as_slice()), (".linux", b"kernel"), (".ucode", &microcode)];
    std::fs::write(&path, crate::initrd::uki::tests::image(&sections)).unwrap();
    let found = super::read(std::slice::from_ref(&path)).unwrap();
    assert_eq!(found, read(&archive(POLICY)));
    std::fs::write(&path, crate::initrd::uki::tests::image(&sections[1..])).unwrap();
    // Microcode alone is no initramfs, but nothing wrong either.
    assert_eq!(super::read(std::slice::from_ref(&path)).unwrap(), Initramfs::default());
    std::fs::write(&path, crate::initrd::uki::tests::image(&[(".linux", b"kernel")])).unwrap();
    let error = format!("{:#}", super::read(&[path]).unwrap_err());
    assert!(error.contains("without a section `.initrd`"), "{error}");
}

#[test]
fn a_cut_or_foreign_file_is_an_error() {
    let plain = archive(POLICY);
    for len in [1, 109, 111, 200, plain.len() - 130] {
        unpack(&plain[..len], &mut Initramfs::default()).unwrap_err();
    }
    unpack(b"MZ not an initramfs", &mut Initramfs::default()).unwrap_err();
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in any::<Vec<u8>>(), position in 0..500_usize, byte in any::<u8>()) {
        drop(unpack(&bytes, &mut Initramfs::default()));
        let mut damaged = archive(POLICY);
        damaged[position] = byte;
        drop(unpack(&damaged, &mut Initramfs::default()));
        let mut damaged = zstd(&archive(POLICY));
        let len = damaged.len();
        damaged[position % len] = byte;
        drop(unpack(&damaged, &mut Initramfs::default()));
    }
}
