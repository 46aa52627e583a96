//! Disks made by hand: what no program makes, and bytes at random. `tests/disk_image.rs` has those that real programs make.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use anyhow::anyhow;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_oneof, proptest};

use super::{Choice, Extent, GptDamage, Located, PartitionName, Unsuitable, locate};

const SECTORS: u64 = 400;

/// A disk with a table at both ends.
#[derive(Clone)]
struct Disk {
    sector: u64,
    bytes: Vec<u8>,
}

/// First and last sector, and label.
type Part = (u64, u64, &'static str);

impl Disk {
    fn new(sector: u64, parts: &[Part]) -> Self {
        let mut disk = Self { sector, bytes: vec![0; usize::try_from(sector * SECTORS).unwrap()] };
        let entries: Vec<u8> = (0..128).flat_map(|n| entry(parts.get(n))).collect();
        disk.write(2, &entries);
        disk.write(SECTORS - 33, &entries);
        disk.header(1, 2, |_| ());
        disk.header(SECTORS - 1, SECTORS - 33, |_| ());
        disk
    }

    fn write(&mut self, lba: u64, bytes: &[u8]) {
        let at = usize::try_from(lba * self.sector).unwrap();
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// A header at `lba`, changed before its checksum is made; that of the entries is the one of what lies there.
    fn header(&mut self, lba: u64, entries: u64, change: impl FnOnce(&mut [u8; 92])) {
        let at = usize::try_from(entries * self.sector).unwrap();
        let mut header = [0; 92];
        header[..8].copy_from_slice(b"EFI PART");
        header[12..16].copy_from_slice(&92_u32.to_le_bytes());
        for (at, value) in [(24, lba), (40, 34), (48, SECTORS - 34), (72, entries)] {
            header[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let crc = crc32fast::hash(&self.bytes[at..at + 128 * 128]);
        for (at, value) in [(80, 128_u32), (84, 128), (88, crc)] {
            header[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        change(&mut header);
        let crc = crc32fast::hash(&header).to_le_bytes();
        header[16..20].copy_from_slice(&crc);
        self.write(lba, &header);
    }

    /// Puts ext4's mark at the beginning of a sector.
    fn ext4(mut self, lba: u64) -> Self {
        let at = usize::try_from(lba * self.sector).unwrap() + 1080;
        self.bytes[at..at + 2].copy_from_slice(b"\x53\xef");
        self
    }

    fn file(&self) -> File {
        file(&self.bytes)
    }

    fn find(&self) -> anyhow::Result<Located> {
        locate(&self.file(), &Choice::Find, |_| Ok(true))
    }

    fn refusal(&self) -> Unsuitable {
        refusal(self.find())
    }
}

fn entry(part: Option<&Part>) -> [u8; 128] {
    let mut entry = [0; 128];
    if let Some((first, last, label)) = part {
        entry[..16].fill(1);
        entry[32..40].copy_from_slice(&first.to_le_bytes());
        entry[40..48].copy_from_slice(&last.to_le_bytes());
        for (at, unit) in entry[56..].chunks_exact_mut(2).zip(label.encode_utf16()) {
            at.copy_from_slice(&unit.to_le_bytes());
        }
    }
    entry
}

fn file(bytes: &[u8]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

fn refusal(result: anyhow::Result<Located>) -> Unsuitable {
    result.expect_err("it was taken").downcast().unwrap()
}

fn name(number: usize, label: &str) -> PartitionName {
    PartitionName { number, label: label.to_owned() }
}

const PARTS: [Part; 2] = [(40, 79, "esp"), (80, 299, "root")];

#[test]
fn sectors_have_512_or_4096_bytes() {
    for sector in [512, 4096] {
        let found = Disk::new(sector, &PARTS).ext4(80).find().unwrap();
        let extent = Extent { offset: 80 * sector, len: 220 * sector };
        assert_eq!(found, Located { extent, partition: Some(name(2, "root")), from_backup: false });
    }
}

#[test]
fn a_partition_is_named_by_its_number_or_by_its_label() {
    let disk = Disk::new(512, &[(40, 79, "2"), (80, 99, "root"), (100, 119, "data"), (120, 139, "data")]);
    let disk = disk.ext4(40).ext4(80).ext4(100).ext4(120);
    let named = |name: &str| {
        locate(&disk.file(), &Choice::Partition(name.to_owned()), |_| Err(anyhow!("nobody asks")))
    };
    assert_eq!(named("root").unwrap().partition, Some(name(2, "root")));
    assert_eq!(named("2").unwrap().partition, Some(name(2, "root")));
    assert_eq!(named("4").unwrap().partition, Some(name(4, "data")));
    let several = vec![name(3, "data"), name(4, "data")];
    assert_eq!(refusal(named("data")), Unsuitable::Ambiguous("data".to_owned(), several));
    for missing in ["5", "0", "Root", ""] {
        let Unsuitable::NoSuchPartition(asked, there) = refusal(named(missing)) else { panic!("{missing}") };
        assert_eq!((asked.as_str(), there.len()), (missing, 4));
    }
}

#[test]
fn the_partition_that_holds_it_is_found_and_several_are_refused_by_their_names() {
    let disk = Disk::new(512, &[(40, 79, "boot"), (80, 99, "a"), (100, 119, "b")]);
    let disk = disk.ext4(40).ext4(80).ext4(100);
    let holding = |offsets: &[u64]| {
        locate(&disk.file(), &Choice::Find, |extent| Ok(offsets.contains(&(extent.offset / 512))))
    };
    assert_eq!(holding(&[80]).unwrap().partition, Some(name(2, "a")));
    assert_eq!(refusal(holding(&[80, 100])), Unsuitable::SeveralFit(vec![name(2, "a"), name(3, "b")]));
    let said = refusal(holding(&[])).to_string();
    assert!(said.contains("partition 1 'boot' is ext4 without ostree/repo, partition 2 'a' is"), "{said}");
}

#[test]
fn one_that_can_not_be_read_is_named_unless_another_one_fits() {
    let disk = Disk::new(512, &[(40, 79, "boot"), (80, 99, "root")]).ext4(40).ext4(80);
    let found = locate(&disk.file(), &Choice::Find, |extent| match extent.offset / 512 {
        40 => Err(anyhow!("its journal is to be replayed")),
        _ => Ok(true),
    });
    assert_eq!(found.unwrap().partition, Some(name(2, "root")));
    let none = locate(&disk.file(), &Choice::Find, |_| Err(anyhow!("its journal is to be replayed")));
    assert_eq!(format!("{:#}", none.unwrap_err()), "partition 1 'boot': its journal is to be replayed");
}

#[test]
fn a_table_that_lies_at_the_end_only_is_read_and_said_to_be_a_copy() {
    for sector in [512, 4096] {
        let mut disk = Disk::new(sector, &PARTS).ext4(80);
        disk.write(1, &[0; 92]);
        assert!(disk.find().unwrap().from_backup);
        let mut disk = Disk::new(sector, &PARTS).ext4(80);
        disk.write(2, &[9; 16]);
        assert!(disk.find().unwrap().from_backup);
        disk.write(SECTORS - 33, &[9; 16]);
        assert_eq!(disk.refusal(), Unsuitable::Table(GptDamage::Checksum("entries")));
    }
}

/// `mkfs` on a disk leaves the table at its end.
#[test]
fn a_file_system_in_front_of_an_old_table_is_what_counts() {
    let mut disk = Disk::new(512, &PARTS).ext4(80);
    disk.write(0, &[0; 34 * 512]);
    let found = disk.ext4(0).find().unwrap();
    assert_eq!(found, Extent { offset: 0, len: 512 * SECTORS }.into());
}

/// Each with a good checksum, at both ends.
#[test]
fn headers_that_ask_for_what_can_not_be_are_refused() {
    let damaged = |at: usize, bytes: &[u8]| {
        let mut disk = Disk::new(512, &PARTS).ext4(80);
        for (lba, entries) in [(1, 2), (SECTORS - 1, SECTORS - 33)] {
            disk.header(lba, entries, |header| header[at..at + bytes.len()].copy_from_slice(bytes));
        }
        let Unsuitable::Table(damage) = disk.refusal() else { panic!("at {at}") };
        damage
    };
    assert_eq!(damaged(12, &[255; 4]), GptDamage::Field("HeaderSize", 0xffff_ffff));
    assert_eq!(damaged(24, &[7; 8]), GptDamage::Field("MyLBA", 0x0707_0707_0707_0707));
    assert_eq!(damaged(72, &[255; 8]), GptDamage::Entries);
    assert_eq!(damaged(72, &SECTORS.to_le_bytes()), GptDamage::Entries);
    assert_eq!(damaged(80, &[255; 4]), GptDamage::Field("NumberOfPartitionEntries", 0xffff_ffff));
    for size in [0, 64, 127, 129, 192, 1024, u32::MAX] {
        assert_eq!(
            damaged(84, &size.to_le_bytes()),
            GptDamage::Field("SizeOfPartitionEntry", u64::from(size))
        );
    }
    assert_eq!(damaged(88, &[0; 4]), GptDamage::Checksum("entries"));
    assert_eq!(damaged(40, &[255; 8]), GptDamage::Range(name(1, "esp")));
    assert_eq!(damaged(48, &[0; 8]), GptDamage::Range(name(1, "esp")));
}

#[test]
fn partitions_that_can_not_be_are_refused() {
    let damage = |parts: &[Part]| {
        let Unsuitable::Table(damage) = Disk::new(512, parts).ext4(80).refusal() else { panic!("{parts:?}") };
        damage
    };
    let (a, b) = (name(1, "a"), name(2, "b"));
    assert_eq!(damage(&[(80, 99, "a"), (99, 120, "b")]), GptDamage::Overlap(a.clone(), b.clone()));
    assert_eq!(damage(&[(80, 120, "a"), (90, 95, "b")]), GptDamage::Overlap(a.clone(), b.clone()));
    assert_eq!(damage(&[(80, 99, "a"), (80, 99, "b")]), GptDamage::Overlap(a.clone(), b));
    for (first, last) in [(99, 80), (0, 99), (2, 99), (80, SECTORS), (80, u64::MAX), (u64::MAX, u64::MAX)] {
        assert_eq!(damage(&[(first, last, "a")]), GptDamage::Range(a.clone()), "{first} to {last}");
    }
    // A table that is at one with itself, and a file that was cut off.
    let mut disk = Disk::new(512, &PARTS).ext4(80);
    disk.bytes.truncate(299 * 512);
    assert_eq!(disk.refusal(), Unsuitable::Table(GptDamage::BeyondTheEnd(name(2, "root"))));
}

#[test]
fn an_offset_leads_to_a_file_system_or_is_refused() {
    let disk = Disk::new(512, &PARTS).ext4(80);
    let at = |offset| locate(&disk.file(), &Choice::Offset(offset), |_| Err(anyhow!("nobody asks")));
    let len = 512 * SECTORS;
    assert_eq!(at(80 * 512).unwrap().extent, Extent { offset: 80 * 512, len: len - 80 * 512 });
    assert_eq!(refusal(at(0)), Unsuitable::Unknown("what begins at byte 0".to_owned()));
    for offset in [len, len + 1, u64::MAX] {
        assert_eq!(refusal(at(offset)), Unsuitable::PastTheEnd(offset, len));
    }
    assert!(matches!(refusal(at(len - 1)), Unsuitable::Unknown(_)));
}

#[test]
fn what_is_no_disk_is_said_to_be_none() {
    let find = |bytes: &[u8]| refusal(locate(&file(bytes), &Choice::Find, |_| Ok(true)));
    assert_eq!(find(b""), Unsuitable::Empty);
    for bytes in [vec![0], vec![0; 511], vec![0; 512], vec![0; 100_000], b"EFI PART".to_vec()] {
        assert_eq!(find(&bytes), Unsuitable::Unknown("it".to_owned()));
    }
    let ext4 = Disk { sector: 512, bytes: vec![0; 4096] }.ext4(0).file();
    let named = locate(&ext4, &Choice::Partition("1".to_owned()), |_| Ok(true));
    assert_eq!(refusal(named), Unsuitable::NoTable);
    let nothing = Disk::new(512, &[]).refusal();
    assert_eq!(nothing, Unsuitable::NoneFits(Vec::new()));
}

fn bytes_at_places() -> impl Strategy<Value = Vec<(usize, u8)>> {
    let header = prop_oneof![Just(0_usize), Just(512 * (399 - 33))];
    let place = prop_oneof![
        4 => (header, 512..1024 + 256_usize).prop_map(|(from, at)| from + at - if from > 0 { 512 } else { 0 }),
        1 => 0..512 * 400_usize,
    ];
    proptest::collection::vec((place, any::<u8>()), 1..8)
}

proptest! {
    /// An answer or a refusal, within the file; where a table was changed, never another place than before.
    #[test]
    fn whatever_is_in_a_file_nothing_lies_beyond_its_end(changes in bytes_at_places(), len in 0..512 * 401_usize) {
        let mut disk = Disk::new(512, &PARTS).ext4(80);
        for (at, byte) in changes {
            disk.bytes[at] = byte;
        }
        disk.bytes.truncate(len);
        let len = disk.bytes.len() as u64;
        for choice in [Choice::Find, Choice::Partition("root".to_owned()), Choice::Offset(40960)] {
            if let Ok(found) = locate(&disk.file(), &choice, |_| Ok(true)) {
                prop_assert!(found.extent.offset + found.extent.len <= len);
                if found.partition.is_some() {
                    prop_assert!(found.extent.offset == 80 * 512 || found.extent.offset == 40 * 512);
                }
            }
        }
    }

    /// Fields at random behind a good checksum.
    #[test]
    fn whatever_a_header_says_nothing_lies_beyond_its_end(
        at in 8..92_usize, value in any::<u64>(), small in 0..500_u64, first in any::<u64>(), last in 0..500_u64,
    ) {
        for value in [value, small, u64::MAX - small] {
            let mut disk = Disk::new(512, &[(first, last, "a"), (small, last, "b"), (80, 299, "root")]).ext4(80);
            let bytes = value.to_le_bytes();
            let bytes = &bytes[..8.min(92 - at)];
            disk.header(1, 2, |header| header[at..at + bytes.len()].copy_from_slice(bytes));
            if let Ok(found) = disk.find() {
                prop_assert!(found.extent.offset + found.extent.len <= disk.bytes.len() as u64);
            }
        }
    }
}
