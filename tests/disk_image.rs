//! Images as real programs make them: the disks among them are found, and what isn't ext4 is refused by its name.

#![allow(clippy::unwrap_used, reason = "a test program: a panic is its answer")]

mod common;

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{run, scratch};
use ostree_seal::disk_image::{Choice, Extent, Located, locate};
use ostree_seal::refused;

const MIB: u64 = 1 << 20;

/// Runs a line of shell in a directory; it may use all programs that administrators have.
fn shell(directory: &Path, script: &str) {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let output =
        Command::new("sh").args(["-ec", script]).current_dir(directory).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A sparse file.
fn blank(path: &Path, len: u64) {
    File::create(path).unwrap().set_len(len).unwrap();
}

/// A disk of 64 MiB that a program has made by what is typed.
fn disk(path: &Path, program: &[&str], typed: &str) {
    blank(path, 64 * MIB);
    let mut child = Command::new(Path::new("/usr/sbin").join(program[0]))
        .args(&program[1..])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{program:?}: {typed}");
}

/// Everything that is ext4 is said to hold the system.
fn find(path: &Path) -> anyhow::Result<Located> {
    locate(&File::open(path).unwrap(), &Choice::Find, |_| Ok(true))
}

fn refusal(path: &Path) -> String {
    let error = find(path).expect_err("it was taken");
    assert!(refused::is_refusal(&error), "{error:#}");
    format!("{error:#}")
}

fn wipe(path: &Path, at: u64, len: usize) {
    File::options().write(true).open(path).unwrap().write_all_at(&vec![0; len], at).unwrap();
}

const SFDISK: [&str; 2] = ["sfdisk", "--quiet"];
const ESP_AND_ROOT: &str = "label: gpt\nsize=8M, type=U, name=esp\nsize=40M, type=L, name=root\n";

/// sfdisk of Debian 12 makes no sectors of 4096 bytes; fdisk does.
fn esp_and_root(directory: &Path, sector: u64) -> Extent {
    let path = directory.join("disk");
    if sector == 512 {
        disk(&path, &SFDISK, ESP_AND_ROOT);
    } else {
        let program = ["fdisk", "--sector-size", &sector.to_string()];
        disk(&path, &program, "g\nn\n1\n\n+8M\nn\n2\n\n+40M\nx\nn\n1\nesp\nn\n2\nroot\nr\nw\n");
    }
    shell(directory, "mke2fs -q -t ext4 -b 4096 -E offset=9437184 disk 40M");
    Extent { offset: 9 * MIB, len: 40 * MIB }
}

#[test]
fn disks_of_fdisk_are_read_with_either_size_of_sector() {
    for sector in [512, 4096] {
        let work = scratch();
        let disk = work.path().join("disk");
        let extent = esp_and_root(work.path(), sector);
        let found = find(&disk).unwrap();
        assert_eq!((found.extent, found.from_backup), (extent, false));
        assert_eq!(found.partition.unwrap().to_string(), "partition 2 'root'");
        wipe(&disk, sector, 92);
        let found = find(&disk).unwrap();
        assert_eq!((found.extent, found.from_backup), (extent, true));
        wipe(&disk, 64 * MIB - sector, 92);
        let said = refusal(&disk);
        assert!(said.contains("an MBR, no GPT, and partition 1 of type 0xee"), "{said}");
    }
}

#[test]
fn a_damaged_or_truncated_disk_of_sgdisk_is_refused() {
    let work = scratch();
    let disk = work.path().join("disk");
    blank(&disk, 64 * MIB);
    shell(
        work.path(),
        "sgdisk --clear --set-alignment=8 --new=7:2048:+20M --change-name=7:root --new=3:0:+8M disk >/dev/null
         mke2fs -q -t ext4 -b 4096 -E offset=1048576 disk 20M",
    );
    let found = find(&disk).unwrap();
    assert_eq!(found.partition.unwrap().to_string(), "partition 7 'root'");
    // The first table is broken and the second one serves; then that, too, is.
    wipe(&disk, 1024 + 2 * 128, 64);
    assert!(find(&disk).unwrap().from_backup);
    wipe(&disk, 64 * MIB - 33 * 512 + 6 * 128, 64);
    let said = refusal(&disk);
    assert!(
        said.contains("damaged: the checksum of its entries is wrong; see what `sfdisk --verify`"),
        "{said}"
    );
}

#[test]
fn a_disk_that_was_cut_off_is_refused() {
    let work = scratch();
    let disk = work.path().join("disk");
    esp_and_root(work.path(), 512);
    File::options().write(true).open(&disk).unwrap().set_len(30 * MIB).unwrap();
    let said = refusal(&disk);
    assert!(said.contains("damaged: partition 2 'root' ends beyond the end of the file"), "{said}");
}

#[test]
fn partitions_in_the_old_way_are_refused_with_their_offsets() {
    let work = scratch();
    let disk = work.path().join("disk");
    self::disk(&disk, &SFDISK, "label: dos\nsize=8M, type=c\nsize=40M, type=83\n");
    shell(work.path(), "mke2fs -q -t ext4 -b 4096 -E offset=9437184 disk 40M");
    let said = refusal(&disk);
    assert!(said.contains("partition 2 of type 0x83 at byte 9437184: give the offset"), "{said}");
    let image = File::open(&disk).unwrap();
    let found = locate(&image, &Choice::Offset(9 * MIB), |_| Ok(true)).unwrap();
    assert_eq!(found.extent, Extent { offset: 9 * MIB, len: 55 * MIB });
}

#[test]
fn a_file_system_without_partitions_is_one() {
    let work = scratch();
    let image = work.path().join("disk");
    blank(&image, 16 * MIB);
    shell(work.path(), "mke2fs -q -t ext4 -b 4096 disk");
    assert_eq!(find(&image).unwrap().extent, Extent { offset: 0, len: 16 * MIB });
    let named = locate(&File::open(&image).unwrap(), &Choice::Partition("root".to_owned()), |_| Ok(true));
    assert!(named.unwrap_err().to_string().contains("leave `--partition` away"));
}

/// How a program makes it of `disk`, an ext4 of 16 MB or nothing; what is said of it, and what to do.
const FORMATS: [(&str, &str, &str); 22] = [
    ("gzip -c disk >made", "it is compressed with gzip", "unpack it"),
    ("xz -0c disk >made", "it is compressed with xz", "unpack it"),
    ("zstd -qc disk >made", "it is compressed with zstd", "unpack it"),
    ("bzip2 -c disk >made", "it is compressed with bzip2", "unpack it"),
    ("tar -cf made disk", "it is a tar archive", "unpack it"),
    ("qemu-img create -q -f qcow2 made 16M", "it is a qcow2 image", "qemu-img convert -O raw"),
    ("qemu-img convert -O vmdk disk made", "it is a VMDK image", "qemu-img convert -O raw"),
    ("qemu-img convert -O vhdx disk made", "it is a VHDX image", "qemu-img convert -O raw"),
    ("qemu-img convert -O vpc disk made", "it is a VHD image", "qemu-img convert -O raw"),
    ("qemu-img convert -O vdi disk made", "it is a VDI image", "qemu-img convert -O raw"),
    ("truncate -s 300M made; mkfs.xfs -q made", "it is an XFS file system", "mkfs.ext4"),
    ("truncate -s 128M made; mkfs.btrfs -q made", "it is a btrfs file system", "ostree-seal deploy"),
    ("truncate -s 128M made; mkfs.f2fs -q made", "it is an f2fs file system", "ostree-seal deploy"),
    ("mkdir d; mksquashfs d made -quiet", "it is a squashfs file system", "can't be written"),
    ("mkdir d; mkfs.erofs made d", "it is an EROFS file system", "can't be written"),
    ("truncate -s 64M made; mkfs.vfat -F 32 made", "it is a FAT file system", "ostree/repo"),
    ("truncate -s 4M made; mkfs.vfat -F 12 made", "it is a FAT file system", "ostree/repo"),
    ("truncate -s 4M made; chmod 600 made; mkswap made", "it is swap space", "ostree/repo"),
    (
        "truncate -s 20M made; echo k | cryptsetup -q luksFormat --type=luks2 --pbkdf=pbkdf2 --pbkdf-force-iterations=1000 made -",
        "it is encrypted with LUKS",
        "before it is put in there",
    ),
    (
        "truncate -s 20M made; echo k | cryptsetup -q luksFormat --type=luks1 --pbkdf-force-iterations=1000 made -",
        "it is encrypted with LUKS",
        "before it is put in there",
    ),
    (": >made", "it is empty", "mke2fs -d"),
    ("truncate -s 1M made", "it is neither ext4 nor a disk", "--offset=BYTES"),
];

#[test]
fn what_is_not_ext4_is_refused_by_its_name_and_with_the_way_out() {
    for (script, named, way_out) in FORMATS {
        let work = scratch();
        blank(&work.path().join("disk"), 16 * MIB);
        shell(work.path(), &format!("mke2fs -q -t ext4 -b 4096 disk; {{ {script}; }} >/dev/null"));
        let said = refusal(&work.path().join("made"));
        assert!(said.contains(named) && said.contains(way_out), "{script}: {said}");
    }
}

/// LVM takes block devices only, so its label is made by hand; blkid says what it is.
#[test]
fn a_physical_volume_of_lvm_is_refused() {
    let work = scratch();
    let image = work.path().join("disk");
    blank(&image, 16 * MIB);
    let mut sector = [0; 512];
    sector[..8].copy_from_slice(b"LABELONE");
    sector[8..16].copy_from_slice(&1_u64.to_le_bytes());
    sector[20..24].copy_from_slice(&32_u32.to_le_bytes());
    sector[24..32].copy_from_slice(b"LVM2 001");
    sector[32..64].fill(b'a');
    let crc = lvm_crc(&sector[20..]);
    sector[16..20].copy_from_slice(&crc.to_le_bytes());
    File::options().write(true).open(&image).unwrap().write_all_at(&sector, 512).unwrap();
    let kind = run("/usr/sbin/blkid", &["-p", "-o", "value", "-s", "TYPE", image.to_str().unwrap()]);
    assert_eq!(kind, "LVM2_member");
    let said = refusal(&image);
    assert!(
        said.contains("it is a physical volume of LVM: run this on the image of the file system"),
        "{said}"
    );
}

/// CRC-32 with LVM's start and without the last inversion, `lib/misc/crc.c`.
fn lvm_crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0xf597_a6cf, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}

#[test]
fn a_disk_without_a_fitting_partition_is_refused_with_what_is_on_it() {
    let work = scratch();
    let disk = work.path().join("disk");
    self::disk(&disk, &SFDISK, ESP_AND_ROOT);
    shell(
        work.path(),
        "truncate -s 8M esp; mkfs.vfat esp >/dev/null; dd if=esp of=disk bs=1M seek=1 conv=notrunc status=none
         truncate -s 20M luks
         echo k | cryptsetup -q luksFormat --type=luks2 --pbkdf=pbkdf2 --pbkdf-force-iterations=1000 luks -
         dd if=luks of=disk bs=1M seek=9 conv=notrunc status=none",
    );
    let said = refusal(&disk);
    let named = "partition 1 'esp' is a FAT file system, partition 2 'root' is encrypted with LUKS; for partition 2 'root': run this on";
    assert!(said.contains(named), "{said}");
    let chosen = locate(&File::open(&disk).unwrap(), &Choice::Partition("root".to_owned()), |_| Ok(true));
    let said = chosen.unwrap_err().to_string();
    assert!(said.contains("partition 2 'root' is encrypted with LUKS: run this on"), "{said}");
}
