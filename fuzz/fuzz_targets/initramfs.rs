//! The whole way from an initramfs file to the policy that is found in it: any file is read as an initramfs or a unified kernel
//! image, or refused. `fuzz/run.sh initramfs -timeout=5 -rss_limit_mb=300` holds it to its time and memory.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use ostree_seal::initrd::content::unpack;
use ostree_seal::initrd::policy::of_initramfs;
use ostree_seal::initrd::uki;
use ostree_seal_root::layout::prepare_root_conf::{self, PLACES};
use ostree_seal_trust::policy::{FILES_MAX, Policy};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(image) = uki::Uki::parse(bytes) {
        for initrd in &image.initrds {
            let inside = bytes.as_ptr_range();
            assert!(initrd.is_empty() || inside.contains(&initrd.as_ptr()));
        }
        image.initrds.iter().for_each(|initrd| find_policy(initrd));
    }
    let _ = uki::target(bytes);
    find_policy(bytes);
});

fn find_policy(bytes: &[u8]) {
    // Other programs that decompress are not what is tried here.
    let foreign = [b"\xfd7zXZ\0".as_slice(), b"\x5d\0\0", b"\x02\x21\x4c\x18", b"BZh"];
    if foreign.iter().any(|magic| bytes.windows(magic.len()).any(|window| window == *magic)) {
        return;
    }
    let Ok(initramfs) = unpack(bytes) else { return };
    let path = Path::new("initramfs.img");
    let inside = initramfs.inside(path);
    let _ = (initramfs.obstacle(), initramfs.starts_program(), initramfs.starts_prepare_root());
    let _ = prepare_root_conf::read(&inside, PLACES.map(|name| inside.path(name)));
    let Ok(files) = of_initramfs(path, &initramfs) else { return };
    if let Ok(Policy::Sealed(policy)) = Policy::parse(&files) {
        assert!(policy.trusted().len() <= FILES_MAX);
    }
}
