//! ext4 in files, as e2fsprogs make them, and fs-verity switched on in them through the library.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Command;

use ostree_seal::ext4::enable::EnablePlan;
use ostree_seal::ext4::examine::{ExamineOptions, Findings, Verity, examine};
use ostree_seal::ext4::file_system::ROOT;
use ostree_seal::ext4::inode::FileType;
use ostree_seal::ext4::{Error, FileSystem};
use ostree_seal_trust::digest::Digest;

use super::Run;

/// A program of e2fsprogs, which an ordinary user's PATH may not have.
pub fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).env("MKE2FS_SYNC", "0");
    command
}

/// An image of this size with what the directory holds; always the same bytes.
pub fn make(image: &Path, size: &str, directory: &Path, args: &[&str]) {
    File::create(image).unwrap();
    let uuid = "5f21dcf6-7bd0-4d1c-9b4e-2f6c0c1e8a11";
    let seed = format!("root_owner=0:0,hash_seed={uuid},lazy_itable_init=0");
    let mut command = tool("mke2fs");
    command.env("E2FSPROGS_FAKE_TIME", "1700000000").env("SOURCE_DATE_EPOCH", "1700000000");
    command.args(["-q", "-F", "-t", "ext4", "-b", "4096", "-U", uuid, "-E", &seed]).args(args);
    Run::of(command.arg("-d").arg(directory).arg(image).arg(size)).ok();
}

/// Requires that e2fsck finds nothing.
pub fn require_clean(image: &Path, what: &str) {
    let run = Run::of(tool("e2fsck").arg("-fn").arg(image));
    assert_eq!(run.code, Some(0), "{what}: {}{}", run.stdout, run.stderr);
}

/// Runs commands of debugfs that change the image.
pub fn debugfs(image: &Path, commands: &str) {
    let script = image.with_extension("debugfs");
    fs::write(&script, commands).unwrap();
    Run::of(tool("debugfs").arg("-w").arg("-f").arg(&script).arg(image)).ok();
}

pub fn open(image: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(image).unwrap()
}

pub fn system(file: &File) -> Result<FileSystem<'_>, Error> {
    FileSystem::open(file, 0, file.metadata().unwrap().len())
}

/// The regular files of an image by their paths, with their inode numbers.
pub fn files(system: &FileSystem<'_>) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    let mut directories = vec![(String::new(), ROOT)];
    while let Some((path, directory)) = directories.pop() {
        for entry in system.entries(&system.inode(directory).unwrap()).unwrap() {
            let path = format!("{path}/{}", String::from_utf8(entry.name).unwrap());
            match system.inode(entry.inode).unwrap().kind() {
                FileType::Directory => directories.push((path, entry.inode)),
                FileType::File => drop(found.insert(path, entry.inode)),
                _ => {}
            }
        }
    }
    found
}

/// What is found of these inodes.
pub fn look(system: &FileSystem<'_>, inodes: &[u32]) -> Result<Findings, Error> {
    examine(system, inodes, ExamineOptions { threads: NonZeroUsize::new(2).unwrap(), progress: &|_| () })
}

/// Switches fs-verity on for all regular files, and returns their digests.
pub fn enable_all(image: &Path) -> Result<BTreeMap<String, Digest>, Error> {
    let file = open(image);
    let mut system = system(&file)?;
    let files = files(&system);
    let mut inodes: Vec<u32> = files.values().copied().collect();
    inodes.sort_unstable();
    inodes.dedup();
    let findings = look(&system, &inodes)?;
    let digests: BTreeMap<u32, Digest> =
        findings.files.iter().map(|file| (file.inode, file.digest)).collect();
    EnablePlan::new(&mut system, findings)?.write()?;
    Ok(files.into_iter().map(|(path, inode)| (path, digests[&inode])).collect())
}

/// Requires that every regular file has the fs-verity that it should have.
pub fn require_verity(image: &Path, what: &str) {
    let file = open(image);
    let system = system(&file).unwrap();
    assert!(system.has_verity() && system.is_clean(), "{what}");
    let inodes: Vec<u32> = files(&system).into_values().collect();
    for file in look(&system, &inodes).unwrap().files {
        assert_eq!(file.verity, Verity::Right, "{what}: {file:?}");
    }
}

/// The contents of all regular files, as an independent reader sees them: ext4-view, or debugfs for the inodes of 128 bytes
/// that the former doesn't know.
pub fn contents(image: &Path) -> BTreeMap<String, Vec<u8>> {
    let file = File::open(image).unwrap();
    let paths = files(&system(&file).unwrap()).into_keys();
    let disk = ext4_view::Ext4::load_from_path(image).ok().filter(|disk| disk.metadata("/").is_ok());
    match disk {
        Some(disk) => paths.map(|path| (path.clone(), disk.read(path.as_str()).unwrap())).collect(),
        None => {
            let copy = super::scratch();
            let command = format!("rdump / {}", copy.path().display());
            Run::of(tool("debugfs").arg("-R").arg(command).arg(image)).ok();
            paths.map(|path| (path.clone(), fs::read(copy.path().join(&path[1..])).unwrap())).collect()
        }
    }
}

/// Free blocks, as dumpe2fs counts them.
pub fn free_blocks(image: &Path) -> usize {
    let text = Run::of(tool("dumpe2fs").arg("-h").arg(image)).ok();
    let count = text.lines().find_map(|line| line.strip_prefix("Free blocks:")).unwrap();
    count.trim().parse().unwrap()
}

/// Writes a file of so many blocks into the image, in its root directory.
pub fn fill(image: &Path, blocks: usize) {
    let filler = image.with_extension("filler");
    fs::write(&filler, vec![1; blocks * 4096]).unwrap();
    debugfs(image, &format!("write {} filler-of-the-rest\n", filler.display()));
}
