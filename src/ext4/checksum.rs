//! ext4's checksums: CRC32C without the inversion before and behind it (`ext4_chksum`).

/// Goes on from `seed` over these bytes.
pub(super) fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    // The crate inverts on the way in and out, as everybody else does.
    !crc32c::crc32c_append(!seed, bytes)
}

/// The seed of a checksum that isn't seeded.
pub(super) const START: u32 = !0;

/// The lower half of a checksum, which older records have room for.
pub(super) fn low(checksum: u32) -> u16 {
    let [first, second, ..] = checksum.to_le_bytes();
    u16::from_le_bytes([first, second])
}

/// The upper half.
pub(super) fn high(checksum: u32) -> u16 {
    low(checksum >> 16)
}

#[cfg(test)]
mod tests {
    use super::{START, crc32c, high, low};

    #[test]
    fn is_the_kernels() {
        assert_eq!(crc32c(START, b"123456789"), 0x1cf9_6d7c);
        assert_eq!(crc32c(crc32c(START, b"12345"), b"6789"), 0x1cf9_6d7c);
        assert_eq!((low(0x1cf9_6d7c), high(0x1cf9_6d7c)), (0x6d7c, 0x1cf9));
    }
}
