//! GUID partition tables, as the UEFI Specification has them in chapter 5: a header in the second sector, entries where it
//! says, and both once more at the end of the disk. Only read.
//!
//! Why no package is used: the one that is there (`gpt` 4.1) panics at entries of another size than 128 bytes, and reads and
//! allocates as much as a header asks for.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::extent::{Extent, PartitionName};

/// The partitions of a disk.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// By their numbers.
    pub(super) partitions: Vec<Partition>,
    /// Whether it is the copy at the end of the disk.
    pub(super) from_backup: bool,
}

/// A partition.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Partition {
    pub(super) number: usize,
    pub(super) label: String,
    pub(super) extent: Extent,
}

impl Partition {
    pub(super) fn name(&self) -> PartitionName {
        PartitionName { number: self.number, label: self.label.clone() }
    }
}

/// What is wrong with a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GptDamage {
    /// A checksum is wrong, of the header or of the entries.
    Checksum(&'static str),
    /// A number in the header that can't be: its field and its value.
    Field(&'static str, u64),
    /// The entries lie out of the file.
    Entries,
    /// A partition lies out of the file: the image is cut off.
    BeyondTheEnd(PartitionName),
    /// A partition lies where the disk keeps its table, or ends before it begins.
    Range(PartitionName),
    /// Two partitions share bytes.
    Overlap(PartitionName, PartitionName),
}

/// What one place says: nothing if no table begins there.
type FoundTable = Option<Result<Table, GptDamage>>;

/// The table at the beginning of a disk, of 512 or 4096 bytes a sector.
pub(super) fn primary(image: &File, disk: u64) -> io::Result<FoundTable> {
    first_good(SECTORS.map(|sector| (sector, 1)), image, disk)
}

/// The copy at its end.
pub(super) fn backup(image: &File, disk: u64) -> io::Result<FoundTable> {
    let last = |sector: u64| (sector, (disk / sector).saturating_sub(1));
    let found = first_good(SECTORS.map(last), image, disk)?;
    Ok(found.map(|table| table.map(|table| Table { from_backup: true, ..table })))
}

const SECTORS: [u64; 2] = [512, 4096];

/// Of several places (bytes a sector, number of the sector), the first good table; else the first bad one.
fn first_good(places: [(u64, u64); 2], image: &File, disk: u64) -> io::Result<FoundTable> {
    let mut bad = None;
    for (sector, lba) in places {
        match at(image, disk, sector, lba)? {
            Some(Err(damage)) => bad = bad.or(Some(Err(damage))),
            Some(good) => return Ok(Some(good)),
            None => {}
        }
    }
    Ok(bad)
}

fn at(image: &File, disk: u64, sector: u64, lba: u64) -> io::Result<FoundTable> {
    let (mut bytes, offset) = ([0; HEADER_LEN], lba * sector);
    if lba == 0 || disk < offset + sector {
        return Ok(None);
    }
    image.read_exact_at(&mut bytes, offset)?;
    if !bytes.starts_with(SIGNATURE) {
        return Ok(None);
    }
    let header = match checked_header(bytes, sector, lba) {
        Ok(header) => header,
        Err(damage) => return Ok(Some(Err(damage))),
    };
    let Some(entries) = read_entries(image, disk, sector, &header)? else {
        return Ok(Some(Err(GptDamage::Entries)));
    };
    Ok(Some(table(&entries, disk, sector, &header)))
}

/// `EFI_PARTITION_TABLE_HEADER`.
#[derive(Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct GptHeader {
    signature: [u8; 8],
    revision: U32,
    header_size: U32,

    header_crc32: U32,
    reserved: U32,
    my_lba: U64,

    alternate_lba: U64,
    first_usable_lba: U64,

    last_usable_lba: U64,
    disk_guid: [u8; 16],
    partition_entry_lba: U64,

    number_of_partition_entries: U32,
    size_of_partition_entry: U32,
    partition_entry_array_crc32: U32,
}
const _: () = assert!(size_of::<GptHeader>() == HEADER_LEN);

/// `EFI_PARTITION_ENTRY`.
#[derive(Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct GptEntry {
    partition_type_guid: [u8; 16],
    unique_partition_guid: [u8; 16],

    starting_lba: U64,
    ending_lba: U64,

    attributes: U64,
    partition_name: [[u8; 2]; 36],
}
const _: () = assert!(size_of::<GptEntry>() == 128);

const SIGNATURE: &[u8] = b"EFI PART";
/// A larger header is possible, and nobody has one.
const HEADER_LEN: usize = 92;
/// Where `header_crc32` stands, which counts as zeros.
const HEADER_CRC: std::ops::Range<usize> = 16..20;
/// The most bytes of entries: 1024 of the usual size. Linux uses 256, and sgdisk makes 128.
const ENTRIES_MAX: u64 = 128 << 10;

fn checked_header(mut bytes: [u8; HEADER_LEN], sector: u64, lba: u64) -> Result<GptHeader, GptDamage> {
    let header: GptHeader = zerocopy::transmute!(bytes);
    let size = u64::from(header.header_size.get());
    if size != HEADER_LEN as u64 {
        return Err(GptDamage::Field("HeaderSize", size));
    }
    bytes[HEADER_CRC].fill(0);
    if crc32fast::hash(&bytes) != header.header_crc32.get() {
        return Err(GptDamage::Checksum("header"));
    }
    if header.my_lba.get() != lba {
        return Err(GptDamage::Field("MyLBA", header.my_lba.get()));
    }
    let entry = u64::from(header.size_of_partition_entry.get());
    if !entry.is_power_of_two() || entry < 128 || entry > sector {
        return Err(GptDamage::Field("SizeOfPartitionEntry", entry));
    }
    let count = u64::from(header.number_of_partition_entries.get());
    if count * entry > ENTRIES_MAX {
        return Err(GptDamage::Field("NumberOfPartitionEntries", count));
    }
    Ok(header)
}

/// The bytes of the entries; nothing if the file doesn't have them.
fn read_entries(image: &File, disk: u64, sector: u64, header: &GptHeader) -> io::Result<Option<Vec<u8>>> {
    let len =
        u64::from(header.number_of_partition_entries.get()) * u64::from(header.size_of_partition_entry.get());
    let Some(offset) = header.partition_entry_lba.get().checked_mul(sector) else { return Ok(None) };
    if offset.checked_add(len).is_none_or(|end| end > disk) {
        return Ok(None);
    }
    let mut entries = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    image.read_exact_at(&mut entries, offset)?;
    Ok(Some(entries))
}

fn table(bytes: &[u8], disk: u64, sector: u64, header: &GptHeader) -> Result<Table, GptDamage> {
    if crc32fast::hash(bytes) != header.partition_entry_array_crc32.get() {
        return Err(GptDamage::Checksum("entries"));
    }
    let size = usize::try_from(header.size_of_partition_entry.get()).unwrap_or(usize::MAX);
    let mut partitions = Vec::new();
    for (bytes, number) in bytes.chunks_exact(size).zip(1..) {
        let Ok((entry, _)) = GptEntry::read_from_prefix(bytes) else { continue };
        if entry.partition_type_guid != [0; 16] {
            partitions.push(partition(&entry, number, disk, (sector, header))?);
        }
    }
    refuse_overlaps(&partitions)?;
    Ok(Table { partitions, from_backup: false })
}

fn partition(
    entry: &GptEntry,
    number: usize,
    disk: u64,
    (sector, header): (u64, &GptHeader),
) -> Result<Partition, GptDamage> {
    let name = PartitionName { number, label: label(&entry.partition_name) };
    let (first, last) = (entry.starting_lba.get(), entry.ending_lba.get());
    let usable = header.first_usable_lba.get().max(2)..=header.last_usable_lba.get();
    if first > last || !usable.contains(&first) || !usable.contains(&last) {
        return Err(GptDamage::Range(name));
    }
    match last.checked_add(1).and_then(|end| end.checked_mul(sector)) {
        Some(end) if end <= disk => {
            let offset = first * sector;
            Ok(Partition { number, label: name.label, extent: Extent { offset, len: end - offset } })
        }
        _ => Err(GptDamage::BeyondTheEnd(name)),
    }
}

/// UTF-16, up to the first zero.
fn label(units: &[[u8; 2]; 36]) -> String {
    let units = units.iter().map(|unit| u16::from_le_bytes(*unit)).take_while(|unit| *unit != 0);
    char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

fn refuse_overlaps(partitions: &[Partition]) -> Result<(), GptDamage> {
    let by_place: BTreeMap<u64, &Partition> =
        partitions.iter().map(|partition| (partition.extent.offset, partition)).collect();
    let overlap = |a: &Partition, b: &Partition| Err(GptDamage::Overlap(a.name(), b.name()));
    // Those that begin at the same byte are one in the map.
    if let Some(hidden) = partitions.iter().find(|one| *by_place[&one.extent.offset] != **one) {
        return overlap(hidden, by_place[&hidden.extent.offset]);
    }
    for (before, after) in by_place.values().zip(by_place.values().skip(1)) {
        if before.extent.offset + before.extent.len > after.extent.offset {
            return overlap(before, after);
        }
    }
    Ok(())
}

impl fmt::Display for GptDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checksum(part) => write!(f, "the checksum of its {part} is wrong"),
            Self::Field(name, value) => write!(f, "its header has {name} {value}"),
            Self::Entries => f.write_str("its entries lie beyond the end of the file"),
            Self::BeyondTheEnd(name) => write!(f, "{name} ends beyond the end of the file"),
            Self::Range(name) => write!(f, "{name} has a range that can't be"),
            Self::Overlap(a, b) => write!(f, "{a} and {b} overlap"),
        }
    }
}
