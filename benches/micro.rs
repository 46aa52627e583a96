//! Micro-benchmarks: `cargo bench --bench micro [FILTER]`.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use ostree_seal::merkle;

#[allow(dead_code, unused_imports, reason = "a private module of the library, of which a part is measured")]
#[path = "../src/merkle/lanes.rs"]
mod lanes;

fn main() {
    divan::main();
}

fn pattern(len: usize) -> Vec<u8> {
    (0..251).cycle().take(len).collect()
}

#[divan::bench(args = [100, 4096, 16384, 65536, 1 << 20])]
fn merkle_digest(bencher: Bencher<'_, '_>, len: usize) {
    let data = pattern(len);
    bencher.counter(BytesCount::new(len)).bench_local(|| merkle::digest(black_box(&data)));
}

/// 256 KiB in at most this many lanes: `sha2`, SHA instructions, AVX-512.
#[divan::bench(args = [1, 4, 16])]
fn hash_in_lanes(bencher: Bencher<'_, '_>, most: usize) {
    let data = pattern(256 * 1024);
    bencher.counter(BytesCount::new(data.len())).with_inputs(|| Vec::with_capacity(2048)).bench_refs(
        |hashes| {
            lanes::hash_in_lanes::<4096>(most, black_box(&data), hashes);
        },
    );
}
