//! Any image is refused or becomes a tree, whose dump is that tree again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ostree_seal::dump;
use ostree_seal::erofs::{self, Versions};

fuzz_target!(|image: &[u8]| {
    // It skips names and all that is no file, so it may accept what is no tree.
    let backings = erofs::backings(image);
    let Ok(tree) = erofs::read(image) else { return };
    assert!(backings.is_ok(), "the backing files of an image that is readable aren't");
    let mut text = Vec::new();
    dump::print(&tree, &mut text).expect("a vector takes everything");
    let Ok(plan) = erofs::plan(&tree, Versions::default()) else { return };
    let mut first = Vec::new();
    erofs::emit(&tree, &plan, std::num::NonZeroUsize::MIN, &mut first).expect("a vector takes everything");
    let again = dump::parse(text.as_slice()).expect("our own dump is readable");
    let plan = erofs::plan(&again, Versions::default()).expect("it can be planned like the tree before");
    let mut second = Vec::new();
    erofs::emit(&again, &plan, std::num::NonZeroUsize::MIN, &mut second).expect("a vector takes everything");
    assert!(first == second, "the dump makes another image");
});
