//! Any file is read as an initramfs or a unified kernel image, or refused, within bounds.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ostree_seal::initrd::content::{Initramfs, unpack};
use ostree_seal::initrd::uki;

fuzz_target!(|bytes: &[u8]| {
    // Other programs that decompress are not what is tried here.
    let foreign = [b"\xfd7zXZ\0".as_slice(), b"\x5d\0\0", b"\x02\x21\x4c\x18", b"BZh"];
    let asks_a_program =
        |bytes: &[u8]| foreign.iter().any(|magic| bytes.windows(magic.len()).any(|window| window == *magic));
    if let Ok(image) = uki::Uki::parse(bytes) {
        for initrd in &image.initrds {
            let inside = bytes.as_ptr_range();
            assert!(initrd.is_empty() || inside.contains(&initrd.as_ptr()));
        }
    }
    let _ = uki::target(bytes);
    if !asks_a_program(bytes) {
        let _ = unpack(bytes, &mut Initramfs::default());
    }
});
