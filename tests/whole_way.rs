//! The whole way from an initramfs file to the policy in it: with any file it ends, with little memory, in a sealed policy or
//! another answer that doesn't hang on how the archive is wrapped. The fuzz targets `initramfs` and `members` go on with it.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: a panic is its answer, and nobody links it"
)]

mod common;

use std::fs;
use std::path::Path;

use common::whole_way::{Answer, Place, archives, gzip, is_for_others};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Seconds of the processor for all that this program does, many times what it takes; the kernel ends it then.
const PROCESSOR: u64 = 600;
/// The most memory that it may have had, in KiB.
const MEMORY: u64 = 300 << 10;
/// How many mutations of each seed, and how many recipes.
const MUTATIONS: usize = 150;
const RECIPES: usize = 1500;

/// Numbers without any meaning, the same ones each time.
struct Drawn(u64);

impl Drawn {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 24).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.next() % 256).unwrap()
    }

    /// Changes some bytes in one of the ways of a fuzzer.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        let at = self.next() % bytes.len();
        match self.next() % 6 {
            0 => bytes[at] ^= 1 << (self.next() % 8),
            1 => bytes[at] = self.byte(),
            2 => bytes.truncate(at.max(1)),
            3 => bytes.insert(at, self.byte()),
            4 => bytes[at] = b"0123456789abcdefABCDEF+/\0"[self.next() % 25],
            _ => {
                let piece = bytes[at..bytes.len().min(at + self.next() % 512)].to_vec();
                let to = self.next() % bytes.len();
                bytes.splice(to..to, piece);
            }
        }
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort_unstable();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn the_way_from_any_initramfs_file_to_its_policy_keeps_its_budget() {
    let limit = Rlimit { current: Some(PROCESSOR), ..getrlimit(Resource::Cpu) };
    setrlimit(Resource::Cpu, limit).unwrap();
    let (place, mut drawn) = (Place::new(), Drawn(0x2545_f491_4f6c_dd1d));
    let mut answers = Vec::new();
    for seed in seeds("initramfs") {
        answers.push(place.answer(&seed));
        for _ in 0..MUTATIONS {
            let mut mutated = seed.clone();
            (0..=drawn.next() % 4).for_each(|_| drawn.mutate(&mut mutated));
            if !is_for_others(&mutated) {
                answers.push(place.answer(&mutated));
                place.answer(&gzip(&mutated));
            }
        }
    }
    let made = (0..RECIPES).map(|_| (0..drawn.next() % 100).map(|_| drawn.byte()).collect());
    let made: Vec<Vec<u8>> = made.collect();
    answers.extend(seeds("members").iter().chain(&made).map(|recipe| place.judge(&archives(recipe))));
    // It comes to each kind of answer, so that it has gone the whole way.
    let count = |kind: fn(&Answer) -> bool| answers.iter().filter(|answer| kind(answer)).count();
    let counts = [
        count(|answer| matches!(answer, Answer::Sealed(_))),
        count(|answer| matches!(answer, Answer::Unsealed)),
        count(|answer| matches!(answer, Answer::Refused(_))),
    ];
    println!("{counts:?} sealed, unsealed and refused of {}", answers.len());
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    let peak = peak_memory();
    assert!(peak < MEMORY, "{peak} KiB");
}

/// The most memory that this program has had, in KiB.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}
