//! Any text is refused or becomes a tree; that is refused or becomes an image; that is read, and gives the same image.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ostree_seal::dump;
use ostree_seal::erofs::{self, Versions};

fuzz_target!(|text: &[u8]| {
    let Ok(tree) = dump::parse(text) else { return };
    let Ok(plan) = erofs::plan(&tree, Versions::default()) else { return };
    let mut image = Vec::new();
    erofs::emit(&tree, &plan, std::num::NonZeroUsize::MIN, &mut image).expect("a vector takes everything");
    assert_eq!(image.len() as u64, plan.image_size());
    let again = erofs::read(&image).expect("our own image is readable");
    dump::print(&again, &mut std::io::sink()).expect("a sink takes everything");
});
