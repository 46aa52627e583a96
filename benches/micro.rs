//! Micro-benchmarks: `cargo bench --bench micro [FILTER]`.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use ostree_seal::merkle;

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
