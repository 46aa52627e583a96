//! Any image of ext4 is refused or read, and what can be planned can be written, to its own place only.

#![no_main]

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt as _;

use libfuzzer_sys::fuzz_target;
use ostree_seal::ext4::FileSystem;
use ostree_seal::ext4::enable::EnablePlan;
use ostree_seal::ext4::examine::{ExamineOptions, examine};
use ostree_seal::ext4::file_system::ROOT;
use ostree_seal::ext4::inode::FileType;

fuzz_target!(|image: &[u8]| {
    // Behind the file system lies something that must never change.
    let guard = [0x5a; 4096];
    let file: File = tempfile::tempfile().expect("a temporary file");
    file.write_all_at(image, 4096).expect("a temporary file takes everything");
    file.write_all_at(&guard, 0).expect("a temporary file takes everything");
    file.write_all_at(&guard, 4096 + image.len() as u64).expect("a temporary file takes everything");
    let Ok(mut system) = FileSystem::open(&file, 4096, image.len() as u64) else { return };
    let inodes = regular_files(&system);
    let pass = ExamineOptions { threads: NonZeroUsize::MIN, progress: &|_| () };
    if let Ok(findings) = examine(&system, &inodes, pass) {
        if let Ok(plan) = EnablePlan::new(&mut system, findings) {
            drop(plan.write());
        }
    }
    let mut found = [0; 4096];
    for place in [0, 4096 + image.len() as u64] {
        file.read_exact_at(&mut found, place).expect("it is still there");
        assert_eq!(found, guard, "something was written outside of the file system");
    }
});

/// All of them that can be found within a few hundred directories.
fn regular_files(system: &FileSystem<'_>) -> Vec<u32> {
    let (mut files, mut directories, mut seen) = (Vec::new(), vec![ROOT], 0);
    while let Some(number) = directories.pop() {
        seen += 1;
        let Ok(inode) = system.inode(number) else { continue };
        for entry in system.entries(&inode).unwrap_or_default() {
            match system.inode(entry.inode).map(|inode| inode.kind()) {
                Ok(FileType::File) => files.push(entry.inode),
                Ok(FileType::Directory) if seen + directories.len() < 300 => directories.push(entry.inode),
                _ => {}
            }
        }
    }
    files.sort_unstable();
    files.dedup();
    files
}
