//! Images pinned by digest: our own vectors in `tests/data`, and those of the composefs project where they are.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: a panic is its answer, and nobody links it"
)]

use std::io::Read;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use ostree_seal::dump;
use ostree_seal::erofs::{self, Versions};
use ostree_seal::merkle;
use sha2::{Digest, Sha256};

#[path = "common/cache.rs"]
mod cache;

fn image(text: &[u8], versions: Versions) -> Vec<u8> {
    let tree = dump::parse(text).unwrap();
    let plan = erofs::plan(&tree, versions).unwrap();
    let mut image = Vec::new();
    erofs::emit(&tree, &plan, NonZeroUsize::MIN, &mut image).unwrap();
    assert_eq!(image.len() as u64, plan.image_size());
    image
}

fn printed(image: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    dump::print(&erofs::read(image).unwrap(), &mut text).unwrap();
    text
}

fn own_version(image: &[u8]) -> Versions {
    let version = erofs::version(image).unwrap();
    Versions { min: version, max: version }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    if path.extension().is_none_or(|extension| extension != "gz") {
        return bytes;
    }
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(bytes.as_slice()).read_to_end(&mut text).unwrap();
    text
}

/// One line of golden-extra.tsv.
struct Golden<'a> {
    name: &'a str,
    versions: Versions,
    sha256: &'a str,
    verity: &'a str,
    size: u64,
}

impl<'a> Golden<'a> {
    fn parse(line: &'a str) -> Self {
        let fields: Vec<&str> = line.split('\t').collect();
        let versions = match fields[1] {
            "default" => Versions::default(),
            "v0" => Versions { min: 0, max: 0 },
            "v1" => Versions { min: 1, max: 1 },
            other => panic!("version argument {other:?}"),
        };
        Self {
            name: fields[0],
            versions,
            sha256: fields[2],
            verity: fields[3],
            size: fields[4].parse().unwrap(),
        }
    }
}

/// Vectors with a device or FIFO of 4 GiB or more: that makes an extended inode, but the size is not stored.
const OVERSIZED_DEVICES: [&str; 4] = ["devices", "rand-03", "rand-06", "rand-19"];

#[test]
fn own_vectors_give_the_pinned_images() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let table = std::fs::read_to_string(data.join("golden-extra.tsv")).unwrap();
    let mut checked = 0;
    for golden in table.lines().filter(|line| !line.starts_with('#')).map(Golden::parse) {
        let image = image(&read(&data.join(format!("{}.dump", golden.name))), golden.versions);
        assert_eq!(image.len() as u64, golden.size, "size of {} {:?}", golden.name, golden.versions);
        assert_eq!(sha256(&image), golden.sha256, "sha256 of {} {:?}", golden.name, golden.versions);
        let verity = merkle::digest(&image).to_string();
        assert_eq!(verity, golden.verity, "fs-verity digest of {} {:?}", golden.name, golden.versions);
        let again = self::image(&printed(&image), own_version(&image));
        assert!(again == image || OVERSIZED_DEVICES.contains(&golden.name), "dump of {}", golden.name);
        checked += 1;
    }
    assert_eq!(checked, 108, "every vector with each of the three version arguments");
}

/// The composefs project's vectors, which are not in this repository: `tests/tools/vectors.sh` takes them from Debian.
fn upstream(test: &str) -> Option<Vec<PathBuf>> {
    let dir = cache::cache().join("composefs-vectors");
    let Ok(entries) = std::fs::read_dir(&dir) else {
        let reason = format!("no vectors in {} (make oracle)", dir.display());
        assert!(cache::may_be_missing(), "{test}: {reason}");
        println!("SKIP {test}: {reason}");
        return None;
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    Some(paths)
}

#[test]
fn upstream_vectors_give_the_pinned_images() {
    let Some(paths) = upstream("upstream_vectors_give_the_pinned_images") else { return };
    let is_dump =
        |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "dump" || extension == "gz");
    let mut checked = 0;
    for path in paths.iter().filter(is_dump) {
        let beside = |suffix: &str| std::fs::read_to_string(format!("{}{suffix}", path.display()));
        let Ok(expected) = beside(".sha256") else { continue };
        let versions = match beside(".version") {
            Ok(version) => {
                let version = version.trim().parse().unwrap();
                Versions { min: version, max: version }
            }
            Err(_) => Versions::default(),
        };
        let image = image(&read(path), versions);
        assert_eq!(sha256(&image), expected.trim(), "{}", path.display());
        // The image of bigfile.dump says less than its dump: that file's chunk table overflows.
        if !path.ends_with("bigfile.dump") {
            assert!(self::image(&printed(&image), own_version(&image)) == image, "{}", path.display());
        }
        checked += 1;
    }
    assert!(checked > 0);
    println!("{checked} upstream image vectors checked");
}

#[test]
fn refuses_each_upstream_vector_that_should_fail() {
    let Some(paths) = upstream("refuses_each_upstream_vector_that_should_fail") else { return };
    let should_fail =
        |path: &&PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("should-fail");
    let mut checked = 0;
    for path in paths.iter().filter(should_fail) {
        let error = dump::parse(read(path).as_slice()).unwrap_err();
        println!("{}: {error}", path.file_name().unwrap().to_string_lossy());
        assert!(error.line > 0 && error.field.is_some(), "{}: {error}", path.display());
        checked += 1;
    }
    assert!(checked > 0);
}
