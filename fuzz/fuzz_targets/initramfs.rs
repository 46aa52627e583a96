//! The whole way from an initramfs file to the policy that is found in it: any file is read as an initramfs or a unified kernel
//! image, or refused. `fuzz/run.sh` holds it to its time and memory.
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

fuzz_target!(|bytes: &[u8]| {
    if !whole_way::is_for_others(bytes) {
        PLACE.with(|place| place.answer(bytes));
    }
});
