//! `ostree-seal verity`: a system in an image, from the deploy step on a build host to what the first boot will find.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: a panic is its answer, and nobody links it"
)]

mod common;

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use common::disks::{self, contents, debugfs, make, require_clean};
use common::system::System;
use common::{Run, is_root, seal};
use serde_json::Value;

/// A system that was deployed without fs-verity, and an image of it.
struct Imaged {
    system: System,
    image: PathBuf,
}

impl Imaged {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(args: &[&str]) -> Self {
        let system = System::sealable();
        system.deploy(&["--defer-verity"]).ok();
        let image = system.directory.path().join("image");
        make(&image, "64M", &system.root, args);
        Self { system, image }
    }

    fn verity(&self, args: &[&str]) -> Run {
        seal(&[&["verity", self.image.to_str().unwrap()], args].concat())
    }

    fn json(&self, args: &[&str]) -> (Option<i32>, Value) {
        let run = self.verity(&[args, &["--json"]].concat());
        (run.code, serde_json::from_str(&run.stdout).unwrap())
    }

    /// Requires this exit code, these words, and not a byte written.
    fn refuses(&self, args: &[&str], code: i32, words: &str) {
        let before = fs::read(&self.image).unwrap();
        let run = self.verity(args);
        assert_eq!(run.code, Some(code), "{}{}", run.stdout, run.stderr);
        assert!(run.stderr.contains(words), "expected {words:?}: {}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        assert!(fs::read(&self.image).unwrap() == before, "something was written");
    }

    /// A large object's path in the image.
    fn object(&self) -> String {
        let objects = self.system.repo().join("objects");
        let mut files = Vec::new();
        for directory in fs::read_dir(objects).unwrap() {
            for entry in fs::read_dir(directory.unwrap().path()).unwrap() {
                files.push(entry.unwrap().path());
            }
        }
        let large = files.into_iter().find(|path| path.metadata().unwrap().len() == 100_000).unwrap();
        format!("/{}", large.strip_prefix(&self.system.root).unwrap().display())
    }

    fn block(&self, path: &str, block: u64) -> u64 {
        let command = format!("bmap {path} {block}");
        let run = Run::of(disks::tool("debugfs").arg("-R").arg(command).arg(&self.image)).ok();
        run.trim().parse().unwrap()
    }

    fn flip(&self, at: u64) {
        let mut byte = [0];
        let file = disks::open(&self.image);
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }
}

#[test]
fn a_system_in_an_image_is_done_in_one_run_and_found_done_by_the_next() {
    let imaged = Imaged::new();
    imaged.refuses(&["--check"], 3, "files have no fs-verity yet; run `ostree-seal verity` without --check");
    let before = contents(&imaged.image);
    let (code, first) = imaged.json(&[]);
    assert_eq!(code, Some(0));
    assert!(first["enabled"].as_u64() > Some(5) && first["with_verity"] == 0, "{first}");
    require_clean(&imaged.image, "done");
    assert!(contents(&imaged.image) == before);
    let done = fs::read(&imaged.image).unwrap();
    let (code, again) = imaged.json(&[]);
    assert_eq!((code, &again["enabled"], &again["with_verity"]), (Some(0), &0.into(), &first["enabled"]));
    let (code, checked) = imaged.json(&["--check"]);
    assert_eq!(code, Some(0), "{checked}");
    let boot = &checked["deployments"][0]["first_boot"];
    assert_eq!((&boot["verdict"], &boot["seal_index"]), (&"sealed".into(), &7.into()), "{checked}");
    assert_eq!(boot["objects"], boot["objects_with_verity"], "{checked}");
    assert!(fs::read(&imaged.image).unwrap() == done, "nothing was left to do");
}

#[test]
fn nobody_in_particular_may_do_it_and_check_needs_to_read_only() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    if !is_root("nobody_in_particular_may_do_it_and_check_needs_to_read_only") {
        return;
    }
    let imaged = Imaged::new();
    let theirs = tempfile::tempdir().unwrap();
    let (image, program) = (theirs.path().join("image"), theirs.path().join("ostree-seal"));
    fs::copy(&imaged.image, &image).unwrap();
    fs::copy(common::program().get_program(), &program).unwrap();
    chown(&image, Some(65534), Some(65534)).unwrap();
    fs::set_permissions(theirs.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let nobody = |args: &[&str]| {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]);
        Run::of(command.arg(&program).arg("verity").args(args).arg(&image))
    };
    nobody(&[]).ok();
    imaged.verity(&[]).ok();
    assert!(fs::read(&image).unwrap() == fs::read(&imaged.image).unwrap(), "the same bytes");
    fs::set_permissions(&image, fs::Permissions::from_mode(0o444)).unwrap();
    chown(&image, Some(0), Some(0)).unwrap();
    nobody(&["--check"]).ok();
    let refused = nobody(&[]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("Permission denied"), "{}", refused.stderr);
}

#[test]
fn a_terminal_shows_progress_with_rate_and_estimate() {
    let imaged = Imaged::new();
    let mut command = common::program();
    command.args(["verity", imaged.image.to_str().unwrap()]);
    let shown = common::on_a_terminal(&command);
    assert!(shown.contains("/s, ") && shown.contains(" left"), "{shown:?}");
    assert!(!imaged.verity(&[]).stderr.contains("left"), "and nothing else does");
}

#[test]
fn the_same_image_becomes_the_same_bytes() {
    let imaged = Imaged::new();
    let again = imaged.image.with_extension("again");
    fs::copy(&imaged.image, &again).unwrap();
    imaged.verity(&["--threads=1"]).ok();
    seal(&["verity", again.to_str().unwrap(), "--threads=7"]).ok();
    assert!(fs::read(&imaged.image).unwrap() == fs::read(&again).unwrap());
}

#[test]
fn a_damaged_object_is_refused_before_anything_is_written() {
    let imaged = Imaged::new();
    let object = imaged.object();
    imaged.flip(imaged.block(&object, 3) * 4096 + 9);
    let words = format!("{object} has the fs-verity digest ");
    imaged.refuses(&[], 3, &words);
    imaged.refuses(&["--check"], 3, &words);
}

#[test]
fn an_image_that_is_not_the_signed_one_is_refused() {
    let imaged = Imaged::new();
    let cfs = format!("/ostree/deploy/test/deploy/{}.0/.ostree.cfs", imaged.system.only_commit());
    // In the volume name: still an image that can be read.
    imaged.flip(imaged.block(&cfs, 0) * 4096 + 1024 + 64);
    imaged.refuses(&[], 3, "the note .ostree.seal beside it expects ");
}

#[test]
fn flipped_bits_behind_the_data_are_found() {
    let imaged = Imaged::new();
    imaged.verity(&[]).ok();
    let object = imaged.object();
    // Of 100,000 bytes, the tree is in block 32 and the descriptor in block 33.
    for (block, at) in [(32, 5), (33, 20), (33, 4093), (24, 4000)] {
        let at = imaged.block(&object, block) * 4096 + at;
        imaged.flip(at);
        imaged.refuses(&["--check"], 3, "has fs-verity already, with a tree that is not that of its content");
        imaged.refuses(&[], 3, "has fs-verity already, with a tree that is not that of its content");
        imaged.flip(at);
    }
    imaged.verity(&["--check"]).ok();
}

#[test]
fn a_missing_object_is_named() {
    let imaged = Imaged::new();
    let object = imaged.object();
    debugfs(&imaged.image, &format!("unlink {object}\n"));
    imaged.refuses(
        &[],
        3,
        &format!("the object {} is missing", object.strip_prefix("/ostree/repo/objects/").unwrap()),
    );
}

#[test]
fn a_deployment_without_its_note_is_found_by_the_check() {
    let imaged = Imaged::new();
    imaged.verity(&[]).ok();
    let note = format!("/ostree/deploy/test/deploy/{}.0/.ostree.seal", imaged.system.only_commit());
    debugfs(&imaged.image, &format!("rm {note}\n"));
    let (code, checked) = imaged.json(&["--check"]);
    let boot = &checked["deployments"][0]["first_boot"];
    assert_eq!((code, &boot["verdict"]), (Some(3), &"refused".into()), "{checked}");
}

#[test]
fn further_files_are_done_if_asked_for() {
    let imaged = Imaged::new();
    imaged.refuses(&["--also=/nothing/*"], 1, "no file in the image matches --also=/nothing/*");
    imaged.refuses(&["--also=/["], 1, "--also=/[ is not a pattern");
    let (_, all) = imaged.json(&["--also=/ostree/repo/objects/*/*.commit", "--also=/ostree/repo/config"]);
    let (_, few) = Imaged::new().json(&[]);
    assert_eq!(all["enabled"].as_u64().unwrap(), few["enabled"].as_u64().unwrap() + 2);
    require_clean(&imaged.image, "further files");
}

#[test]
fn says_where_there_is_no_system() {
    let imaged = Imaged::new();
    imaged.refuses(
        &["--sysroot=/nowhere", "--offset=0"],
        1,
        "there is no directory \"/nowhere\" in the image",
    );
    imaged.refuses(&["--sysroot=/boot", "--offset=0"], 1, "there is no ostree/repo/objects");
    let system = System::sealable();
    make(&imaged.image, "64M", &system.root, &[]);
    imaged.refuses(&[], 1, "no deployment in the image has an .ostree.cfs; run `ostree-seal deploy");
}

#[test]
fn too_little_room_is_found_before_anything_is_written() {
    let imaged = Imaged::new();
    disks::fill(&imaged.image, disks::free_blocks(&imaged.image) - 8);
    imaged.refuses(&[], 1, "bytes free, fs-verity takes ");
    debugfs(&imaged.image, "rm filler-of-the-rest\n");
    imaged.verity(&[]).ok();
}

#[test]
fn each_feature_that_can_not_be_handled_is_refused_by_its_name() {
    let system = System::sealable();
    system.deploy(&["--defer-verity"]).ok();
    let image = system.directory.path().join("image");
    let imaged = Imaged { system, image };
    for (args, words) in [
        (&["-O", "bigalloc"][..], "the feature bigalloc, which can't be handled; make the image without it"),
        (&["-O", "meta_bg,^resize_inode"], "the feature meta_bg"),
        (&["-O", "uninit_bg,^metadata_csum"], "the feature uninit_bg"),
        (
            &["-O", "quota"],
            "the feature quota, which can't be handled; switch it off with `tune2fs -O ^quota`",
        ),
        (&["-O", "quota,project"], "the feature quota"),
        (&["-O", "mmp"], "the feature mmp"),
        (&["-O", "encrypt"], "the feature encrypt"),
        (&["-O", "inline_data"], "the feature inline_data"),
        (&["-O", "^extents,^64bit"], "is mapped block by block"),
        (&["-b", "2048"], "blocks of 2048 bytes, expected 4096; make the image with `mke2fs -b 4096`"),
        (&["-b", "1024"], "blocks of 1024 bytes, expected 4096"),
    ] {
        make(&imaged.image, "64M", &imaged.system.root, args);
        imaged.refuses(&[], 1, words);
    }
}

/// Sets a field of the superblock with debugfs, which mends its checksum.
fn with_field(image: &Path, field: &str) {
    debugfs(image, &format!("ssv {field}\n"));
}

#[test]
fn a_file_system_in_the_middle_of_something_is_refused() {
    let imaged = Imaged::new();
    let original = fs::read(&imaged.image).unwrap();
    for (field, words) in [
        (
            "state 0",
            "is not clean: it was not unmounted, or a run of this program was interrupted; make the image again",
        ),
        ("state 3", "is not clean: the kernel found an error in it"),
        ("last_orphan 12", "is not clean: it has files that were deleted while they were open"),
        ("feature_incompat 0x2c6", "the feature needs_recovery"),
        ("feature_incompat 0x400002c2", "unknown features (incompat 0x40000000)"),
        ("feature_ro_compat 0x1046b", "the feature orphan_present"),
    ] {
        fs::write(&imaged.image, &original).unwrap();
        with_field(&imaged.image, field);
        imaged.refuses(&[], 1, words);
    }
}

#[test]
fn wrong_checksums_are_refused() {
    let imaged = Imaged::new();
    let object = imaged.object();
    let stat =
        Run::of(disks::tool("debugfs").arg("-R").arg(format!("imap {object}")).arg(&imaged.image)).ok();
    let (block, offset) = stat.split_once("located at block ").unwrap().1.split_once(", offset ").unwrap();
    let inode = block.parse::<u64>().unwrap() * 4096
        + u64::from_str_radix(offset.trim().trim_start_matches("0x"), 16).unwrap();
    let bitmap = Run::of(disks::tool("dumpe2fs").arg(&imaged.image)).ok();
    let bitmap = bitmap.split_once("Block bitmap at ").unwrap().1.split([' ', ',']).next().unwrap();
    for (at, words) in [
        (1024 + 0x78, "the checksum of the superblock is wrong"),
        (4096 + 0x0c, "the descriptor of group 0 has a wrong checksum"),
        (inode + 8, "has a wrong checksum"),
        (bitmap.parse::<u64>().unwrap() * 4096 + 4000, "the block bitmap of group 0 has a wrong checksum"),
    ] {
        imaged.flip(at);
        imaged.refuses(&[], 1, words);
        imaged.flip(at);
    }
    imaged.verity(&[]).ok();
}

#[test]
fn blocks_behind_the_end_of_an_object_are_refused() {
    let imaged = Imaged::new();
    let object = imaged.object();
    debugfs(&imaged.image, &format!("fallocate {object} 40 41\n"));
    imaged.refuses(&[], 1, "has blocks behind its end, where fs-verity's metadata belong");
}

/// An archive as a kernel unpacks it ("newc"): files, and before them the directories above them.
fn cpio(members: &[(&str, &str)]) -> String {
    let member = |mode: usize, name: &str, content: &str| {
        let fields = [1, mode, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
        let header =
            fields.iter().fold("070701".to_owned(), |header, field| header + &format!("{field:08x}"));
        let padded =
            |text: String| format!("{text}{}", "\0".repeat(text.len().next_multiple_of(4) - text.len()));
        padded(format!("{header}{name}\0")) + &padded(content.to_owned())
    };
    let above = |(name, _): &(&str, &str)| -> Vec<String> {
        name.match_indices('/').map(|(slash, _)| name[..slash].to_owned()).collect()
    };
    let directories: std::collections::BTreeSet<String> = members.iter().flat_map(above).collect();
    let directories: String = directories.iter().map(|name| member(0o040_755, name, "")).collect();
    let files: String = members.iter().map(|(name, content)| member(0o100_644, name, content)).collect();
    directories + &files + &member(0, "TRAILER!!!", "")
}

fn initramfs(files: &[(&'static str, String)]) -> String {
    let program = [("usr/bin/ostree-seal-root", "program")];
    let files = files.iter().map(|(name, content)| (*name, content.as_str()));
    cpio(&files.chain(program).collect::<Vec<_>>())
}

#[test]
fn the_policy_and_keys_of_the_initramfs_in_the_image_decide() {
    let system = System::new();
    let mut files = system.policy("minimum-index = 5\n");
    files.push(("usr/lib/modules/6.12/initramfs.img", initramfs(&files)));
    let commit = system.commit("1", &files);
    system.sign(&commit, &system.statement(&commit, 7), &[&system.key]);
    system.deploy_tree();
    system.deploy(&["--defer-verity"]).ok();
    let image = system.directory.path().join("image");
    make(&image, "64M", &system.root, &[]);
    let imaged = Imaged { system, image };
    imaged.verity(&[]).ok();
    let (code, checked) = imaged.json(&["--check"]);
    let boot = &checked["deployments"][0]["first_boot"];
    assert_eq!(
        (code, &boot["verdict"], &boot["policy_from_tree"]),
        (Some(0), &"sealed".into(), &Value::Null),
        "{checked}"
    );
    let policy = boot["policy"].as_str().unwrap().to_owned();
    assert!(policy.starts_with("/boot/ostree/test-"), "{policy}");
    let other = System::new();
    let another = imaged.system.directory.path().join("another");
    for (files, reason) in [
        (other.policy("minimum-index = 5\n"), "example.com/release"),
        (imaged.system.policy("minimum-index = 8\n"), "8"),
    ] {
        fs::write(&another, initramfs(&files)).unwrap();
        debugfs(&imaged.image, &format!("rm {policy}\nwrite {} {policy}\n", another.display()));
        let (code, checked) = imaged.json(&["--check"]);
        let boot = &checked["deployments"][0]["first_boot"];
        assert_eq!((code, &boot["verdict"]), (Some(3), &"refused".into()), "{checked}");
        assert!(boot["reason"].as_str().unwrap().contains(reason), "{checked}");
    }
    // Where /boot is another partition, the initramfs in the tree is asked, and that is said.
    debugfs(&imaged.image, "unlink /boot\n");
    let (code, checked) = imaged.json(&["--check"]);
    let boot = &checked["deployments"][0]["first_boot"];
    assert_eq!((code, &boot["verdict"]), (Some(0), &"sealed".into()), "{checked}");
    assert!(boot["policy"].as_str().unwrap().ends_with("/usr/lib/modules/6.12/initramfs.img"), "{checked}");
    let said = "which is in the tree: the image has no boot entry for this deployment";
    assert!(imaged.verity(&["--check"]).ok().contains(said), "{checked}");
}

#[test]
fn the_partition_of_a_disk_is_found() {
    let imaged = Imaged::new();
    let disk = imaged.system.directory.path().join("disk");
    fs::write(&disk, "").unwrap();
    disks::open(&disk).set_len(128 << 20).unwrap();
    let table = "label: gpt\nstart=1MiB, size=16MiB, type=U\nstart=32MiB, size=80MiB, type=L, name=system\n";
    let script = imaged.system.directory.path().join("table");
    fs::write(&script, table).unwrap();
    let command = format!("sfdisk --quiet {} <{}", disk.display(), script.display());
    Run::of(disks::tool("sh").arg("-c").arg(command)).ok();
    let image = fs::read(&imaged.image).unwrap();
    disks::open(&disk).write_all_at(&image, 32 << 20).unwrap();
    let before = fs::read(&disk).unwrap();
    let path = disk.to_str().unwrap();
    let run = seal(&["verity", path, "--json"]);
    let report: Value = serde_json::from_str(&run.ok()).unwrap();
    assert_eq!(report["offset"], 32 << 20);
    let after = fs::read(&disk).unwrap();
    let system = (32 << 20)..(32 << 20) + image.len();
    assert!(after[..system.start] == before[..system.start] && after[system.end..] == before[system.end..]);
    imaged.verity(&[]).ok();
    assert!(after[system] == fs::read(&imaged.image).unwrap(), "the same bytes as in a file of its own");
    for choice in ["--partition=system", "--partition=2", "--offset=33554432"] {
        assert!(seal(&["verity", path, choice]).ok().contains("enabled on 0 files"), "{choice}");
    }
}
