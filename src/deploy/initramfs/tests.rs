use std::io::Write;

use proptest::prelude::{any, proptest};

use super::{Initramfs, unpack};

/// One cpio archive with regular files.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, content) in files.iter().chain(&[("TRAILER!!!", b"".as_slice())]) {
        let mode = 0o100644;
        write!(bytes, "070701{:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}", 1, 0, 0, 1, 0).unwrap();
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
    assert_eq!(found.program.as_deref(), Some("usr/lib/ostree-seal/ostree-seal-root"));
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
