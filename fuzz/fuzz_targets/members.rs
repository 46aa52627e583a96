//! The same way as that of `initramfs`, with archives whose members are drawn: names, links, types and contents that matter.
//! The answer is the same for the plain archive and for one in a unified kernel image, and for a packed one the same or a no.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/common/boot_files.rs"]
#[allow(dead_code)]
mod boot_files;
#[path = "../../tests/common/whole_way.rs"]
mod whole_way;

thread_local! {
    static PLACE: whole_way::Place = whole_way::Place::new();
}

fuzz_target!(|recipe: &[u8]| {
    PLACE.with(|place| place.judge(&whole_way::archives(recipe)));
});
