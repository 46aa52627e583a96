//! What is looked up in any image is refused or is what the whole tree has.

#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use ostree_seal::erofs::{self, FoundContent, Lookup, LookupError};

/// The number of names.
fn walk(image: &[u8]) -> Result<usize, LookupError> {
    let mut lookup = Lookup::new(image)?;
    let mut open = vec![lookup.root()?.slot];
    let (mut seen, mut names) = (HashSet::new(), 0);
    while let Some(directory) = open.pop() {
        if !seen.insert(directory) {
            continue;
        }
        for (_, found) in lookup.entries(directory)? {
            names += 1;
            if *found.content == FoundContent::Directory {
                open.push(found.slot);
            }
        }
    }
    Ok(names)
}

fuzz_target!(|image: &[u8]| {
    let names = walk(image);
    let Ok(tree) = erofs::read(image) else { return };
    let expected: usize = tree.nodes().filter_map(|(id, _)| tree.children(id)).map(<[_]>::len).sum();
    assert_eq!(names.expect("what is readable as a whole is found"), expected);
});
