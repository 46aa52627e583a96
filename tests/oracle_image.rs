//! Images and dumps compared with the programs of Debian sid's composefs, byte for byte.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: a panic is its answer, and nobody links it"
)]

mod common;

use std::num::NonZeroUsize;
use std::path::Path;

use common::dumps::{self, Loss};
use common::oracle::Oracle;
use common::scratch;
use ostree_seal::dump;
use ostree_seal::erofs::{self, Versions};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const DUMPS: usize = 1000;
/// The version arguments of mkcomposefs, as the names of its images, and what they ask of us.
const VERSIONS: [(&str, Versions); 3] = [
    ("default", Versions { min: 0, max: 1 }),
    ("v0", Versions { min: 0, max: 0 }),
    ("v1", Versions { min: 1, max: 1 }),
];

/// Makes an image of each dump with each version; what fails leaves no image, but a text that says why.
const MAKE_IMAGES: &str = r#"
    make() {
        name=$1.$2
        shift 2
        mkcomposefs "$@" --from-file "${name%.*}.dump" "$name.image" 2>"$name.error" || rm -f "$name.image"
    }
    for dump in *.dump; do
        make "${dump%.dump}" default
        make "${dump%.dump}" v0 --min-version=0 --max-version=0
        make "${dump%.dump}" v1 --min-version=1 --max-version=1
    done
"#;

fn ours(text: &[u8], versions: Versions) -> Vec<u8> {
    let tree = dump::parse(text).unwrap();
    let plan = erofs::plan(&tree, versions).unwrap();
    let mut image = Vec::new();
    erofs::emit(&tree, &plan, NonZeroUsize::MIN, &mut image).unwrap();
    image
}

/// The same dumps in each run; `OSTREE_SEAL_SEED=N` chooses others.
fn random_dumps() -> impl Iterator<Item = Vec<u8>> {
    let seed: u64 = std::env::var("OSTREE_SEAL_SEED").map_or(0, |seed| seed.parse().unwrap());
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = dumps::dump(Loss::DeviceSizes);
    std::iter::repeat_with(move || strategy.new_tree(&mut runner).unwrap().current().0)
}

#[test]
fn makes_the_images_that_sids_mkcomposefs_makes() {
    let Some(oracle) = Oracle::find("makes_the_images_that_sids_mkcomposefs_makes") else { return };
    let scratch = scratch();
    let texts: Vec<Vec<u8>> = random_dumps().take(DUMPS).collect();
    for (number, text) in texts.iter().enumerate() {
        std::fs::write(scratch.path().join(format!("{number}.dump")), text).unwrap();
    }
    oracle.run(scratch.path(), &["sh", "-c", MAKE_IMAGES]).ok();
    let (mut same, mut refused) = (0, 0);
    for (number, text) in texts.iter().enumerate() {
        for (name, versions) in VERSIONS {
            let file = |suffix: &str| scratch.path().join(format!("{number}.{name}.{suffix}"));
            let Ok(theirs) = std::fs::read(file("image")) else {
                refused += 1;
                let error = std::fs::read_to_string(file("error")).unwrap();
                assert!(is_known_refusal(&error), "dump {number} {name}: {error}");
                continue;
            };
            assert!(
                theirs == ours(text, versions),
                "dump {number} {name} differs: {}",
                String::from_utf8_lossy(text)
            );
            same += 1;
        }
    }
    println!("{same} images are the same, {refused} dumps mkcomposefs refuses and we don't");
    assert!(same >= 2 * DUMPS && refused < DUMPS / 4, "{same} compared, {refused} refused");
}

/// mkcomposefs miscounts the xattrs of some whiteouts, and takes no more than 64 KiB of xattr text in a line.
fn is_known_refusal(error: &str) -> bool {
    error.contains("Numerical result out of range") || error.contains("Too many xattrs")
}

#[test]
fn sids_fsck_erofs_finds_nothing_to_complain_about() {
    let Some(oracle) = Oracle::find("sids_fsck_erofs_finds_nothing_to_complain_about") else { return };
    let scratch = scratch();
    let small = |text: &Vec<u8>| !text.windows(16).any(|part| part.starts_with(b" 9007199254740"));
    for (number, text) in random_dumps().filter(small).take(100).enumerate() {
        std::fs::write(scratch.path().join(format!("{number}.image")), ours(&text, Versions::default()))
            .unwrap();
    }
    let check = "for image in *.image; do fsck.erofs $image || exit 1; done";
    let run = oracle.run(scratch.path(), &["sh", "-c", check]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
}

/// Vectors that composefs-info 1.0.8 doesn't print as they are: it reads two bytes more than a payload has, and drops
/// `user.overlay.whiteout` and `user.overlay.whiteouts` wherever they are. In rand-11 it takes a hard link for the place
/// of its node, so that its dump makes another image.
const MISPRINTED: [&str; 9] = [
    "hardlinks",
    "payload-absolute",
    "rand-01",
    "rand-06",
    "rand-07",
    "rand-10",
    "rand-11",
    "rand-13",
    "rand-18",
];

#[test]
fn prints_the_dumps_that_sids_composefs_info_prints() {
    let Some(oracle) = Oracle::find("prints_the_dumps_that_sids_composefs_info_prints") else { return };
    let scratch = scratch();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut names: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(&data).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "dump") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            std::fs::copy(&path, scratch.path().join(format!("{name}.dump"))).unwrap();
            names.push(name);
        }
    }
    oracle.run(scratch.path(), &["sh", "-c", MAKE_IMAGES]).ok();
    let print = "for image in *.image; do composefs-info dump $image >${image%.image}.text || exit 1; done";
    oracle.run(scratch.path(), &["sh", "-c", print]).ok();
    let mut compared = 0;
    for name in names.iter().filter(|name| !MISPRINTED.contains(&name.as_str())) {
        for (version, _) in VERSIONS {
            let read = |suffix: &str| {
                std::fs::read(scratch.path().join(format!("{name}.{version}.{suffix}"))).unwrap()
            };
            let mut ours = Vec::new();
            dump::print(&erofs::read(&read("image")).unwrap(), &mut ours).unwrap();
            assert_eq!(String::from_utf8(ours), String::from_utf8(read("text")), "{name} {version}");
            compared += 1;
        }
    }
    assert_eq!(compared, 3 * (names.len() - MISPRINTED.len()));
}
