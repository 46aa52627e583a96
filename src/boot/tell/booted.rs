//! `/run/ostree-booted`: what later stages (libostree, ostree-remount, the system generator) read about this boot. It
//! is a serialized GVariant of type `a{sv}` in the machine's own byte order, with the keys that ostree-prepare-root
//! writes.

use std::fmt;

/// One entry of the dictionary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootedEntry {
    /// The key, without NUL.
    pub key: &'static str,
    /// The value.
    pub value: EntryValue,
}

/// The types that the known keys have.
#[derive(Clone, PartialEq, Eq)]
pub enum EntryValue {
    /// Type `b`.
    Boolean(bool),
    /// Type `s`, without NUL.
    Text(String),
    /// Type `(tt)`: device and inode.
    DeviceInode(u64, u64),
}

impl BootedEntry {
    /// An entry of type `b`.
    pub fn boolean(key: &'static str, value: bool) -> Self {
        Self { key, value: EntryValue::Boolean(value) }
    }

    /// An entry of type `s`.
    pub fn text(key: &'static str, value: impl Into<String>) -> Self {
        Self { key, value: EntryValue::Text(value.into()) }
    }
}

/// The bytes of the dictionary as GVariant serializes it: each element aligned to 8, then an array of the offsets at
/// which elements end.
pub fn serialize(entries: &[BootedEntry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut ends = Vec::new();
    for entry in entries {
        pad(&mut bytes, 8);
        bytes.extend(element(entry));
        ends.push(bytes.len());
    }
    let size = offset_size(bytes.len(), ends.len());
    for end in ends {
        push_offset(&mut bytes, end, size);
    }
    bytes
}

/// A `{sv}`: key with its NUL, the variant aligned to 8 (it may hold 64-bit numbers), and the end of the key as offset.
fn element(entry: &BootedEntry) -> Vec<u8> {
    let mut bytes = text(entry.key);
    let key_end = bytes.len();
    pad(&mut bytes, 8);
    bytes.extend(variant(&entry.value));
    let size = offset_size(bytes.len(), 1);
    push_offset(&mut bytes, key_end, size);
    bytes
}

/// A `v`: the value, a NUL, the type.
fn variant(value: &EntryValue) -> Vec<u8> {
    let (mut bytes, kind) = match value {
        EntryValue::Boolean(value) => (vec![u8::from(*value)], "b"),
        EntryValue::Text(value) => (text(value), "s"),
        EntryValue::DeviceInode(device, inode) => {
            (native(*device).into_iter().chain(native(*inode)).collect(), "(tt)")
        }
    };
    bytes.push(0);
    bytes.extend(kind.bytes());
    bytes
}

fn text(value: &str) -> Vec<u8> {
    value.bytes().chain([0]).collect()
}

#[allow(clippy::host_endian_bytes, reason = "the readers expect this file in the machine's own byte order")]
fn native(number: u64) -> [u8; 8] {
    number.to_ne_bytes()
}

fn pad(bytes: &mut Vec<u8>, alignment: usize) {
    bytes.resize(bytes.len().next_multiple_of(alignment), 0);
}

/// The width of the offsets of a container: the smallest with which the container, offsets included, can be addressed.
fn offset_size(content: usize, offsets: usize) -> usize {
    if content + offsets <= 0xff {
        1
    } else if content + 2 * offsets <= 0xffff {
        2
    } else {
        4
    }
}

/// GVariant's offsets are little-endian, whatever the machine is.
fn push_offset(bytes: &mut Vec<u8>, offset: usize, size: usize) {
    let offset = u64::try_from(offset).unwrap_or(u64::MAX);
    bytes.extend(&offset.to_le_bytes()[..size]);
}

impl fmt::Debug for EntryValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Text(value) => write!(f, "{value:?}"),
            Self::DeviceInode(device, inode) => write!(f, "({device}, {inode})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use ostree_seal_trust::gvariant::Dictionary;
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};

    use super::{BootedEntry, EntryValue, serialize};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The expected bytes are GLib's for the same dictionary, on a little-endian machine.
    #[cfg(target_endian = "little")]
    #[test]
    fn each_type_is_serialized_as_glib_does() {
        let entries = [
            BootedEntry::boolean("composefs", true),
            BootedEntry::text("composefs.signed", "/k"),
            BootedEntry {
                key: "backing-root-device-inode",
                value: EntryValue::DeviceInode(0xfe00, 0x1122_3344_5566),
            },
            BootedEntry::boolean("sysroot-ro", false),
        ];
        let expected = concat!(
            "636f6d706f73656673000000000000000100620a00000000636f6d706f736566732e7369676e6564",
            "00000000000000002f6b0000731100006261636b696e672d726f6f742d6465766963652d696e6f64",
            "650000000000000000fe000000000000665544332211000000287474291a0000737973726f6f742d",
            "726f0000000000000000620b14366e84",
        );
        assert_eq!(hex(&serialize(&entries)), expected);
    }

    #[test]
    fn offsets_have_two_bytes_beyond_255_as_glib_has_them() {
        let entries =
            [BootedEntry::text("transient-etc", "x".repeat(300)), BootedEntry::boolean("composefs", true)];
        let bytes = hex(&serialize(&entries));
        assert!(bytes.starts_with("7472616e7369656e742d6574630000007878"), "{bytes}");
        assert!(
            bytes.ends_with("780000730e0000000000000000636f6d706f73656673000000000000000100620a41015c01"),
            "{bytes}"
        );
    }

    #[test]
    fn an_empty_dictionary_has_no_bytes() {
        assert_eq!(serialize(&[]), []);
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(texts in vec("[ -~]{0,300}", 0..4), yes in any::<bool>()) {
            const KEYS: [&str; 4] = ["a", "composefs.signed", "transient-etc", "zz"];
            let mut entries: Vec<BootedEntry> =
                KEYS.iter().zip(&texts).map(|(key, text)| BootedEntry::text(key, text.as_str())).collect();
            entries.push(BootedEntry::boolean("sysroot-ro", yes));
            let bytes = serialize(&entries);
            let dictionary = Dictionary::parse(&bytes).unwrap();
            for (key, text) in KEYS.iter().zip(&texts) {
                assert_eq!(dictionary.get(key).unwrap().unwrap().text().unwrap(), text);
            }
            assert!(dictionary.get("sysroot-ro").unwrap().is_some());
        }
    }
}
