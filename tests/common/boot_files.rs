//! What boots a system, made by hand: initramfs archives and unified kernel images.

/// Mode of a regular file.
pub const FILE: u32 = 0o100_644;

/// Mode of a directory.
const DIRECTORY: u32 = 0o040_755;

/// A cpio archive ("newc") with regular files of these names and contents, and the directories above them.
pub fn cpio(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let pad = |bytes: &mut Vec<u8>| bytes.resize(bytes.len().next_multiple_of(4), 0);
    // Linux makes no directory that isn't there.
    let mut parents: Vec<&str> =
        files.iter().flat_map(|(name, _)| name.match_indices('/').map(|(at, _)| &name[..at])).collect();
    parents.sort_unstable();
    parents.dedup();
    let directories = parents.into_iter().map(|name| (name, b"".as_slice(), DIRECTORY));
    let trailer = std::iter::once(("TRAILER!!!", b"".as_slice(), FILE));
    let files = files.iter().map(|(name, content)| (*name, *content, FILE)).chain(trailer);
    for (inode, (name, content, mode)) in (1..).zip(directories.chain(files)) {
        let fields = [inode, mode as usize, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
        let fields: String = fields.iter().map(|field| format!("{field:08x}")).collect();
        bytes.extend(format!("070701{fields}{name}\0").into_bytes());
        pad(&mut bytes);
        bytes.extend_from_slice(content);
        pad(&mut bytes);
    }
    bytes
}

/// An EFI program with these sections.
pub fn uki(sections: &[(&str, &[u8])]) -> Vec<u8> {
    const OPTIONAL_LEN: u16 = 240;
    let mut bytes = vec![0; 0x80];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3c] = 0x80;
    bytes.extend(b"PE\0\0\x64\x86");
    bytes.extend(u16::try_from(sections.len()).unwrap().to_le_bytes());
    bytes.extend([0; 12]);
    bytes.extend(OPTIONAL_LEN.to_le_bytes());
    bytes.extend([0; 2 + OPTIONAL_LEN as usize]);
    let mut start = (bytes.len() + 40 * sections.len()).next_multiple_of(512);
    let mut contents = Vec::new();
    for (name, content) in sections {
        let mut field = [0; 8];
        field[..name.len()].copy_from_slice(name.as_bytes());
        bytes.extend(field);
        let padded = content.len().next_multiple_of(512);
        for number in [content.len(), 0x1000, padded, start] {
            bytes.extend(u32::try_from(number).unwrap().to_le_bytes());
        }
        bytes.extend([0; 16]);
        contents.extend_from_slice(content);
        contents.resize(contents.len().next_multiple_of(512), 0);
        start += padded;
    }
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes.extend(contents);
    bytes
}
