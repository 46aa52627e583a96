//! Micro-benchmarks: `cargo bench --bench micro [FILTER]`.

use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Command;
use std::thread;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use ostree_seal::cache::{Cache, Scope};
use ostree_seal::repo::{Check, Load, NoCache, ObjectCache, Source};
use ostree_seal::tree::Tree;
use ostree_seal::{dump, erofs, merkle};

#[allow(dead_code, unused_imports, reason = "a private module of the library, of which a part is measured")]
#[path = "../src/merkle/lanes.rs"]
mod lanes;

/// Files of the trees that are measured, 20 in each directory.
const FILES: usize = 20_000;

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

/// Files with a label and a digest, as a commit of an OS has them.
fn dump_text() -> String {
    let mut text = "/ 4096 40755 2 0 0 0 0.0 - - - security.selinux=root\n".to_owned();
    for file in 0..FILES {
        let directory = file / 20;
        if file % 20 == 0 {
            let _ = writeln!(text, "/{directory:06} 4096 40755 2 0 0 0 0.0 - - - security.selinux=directory");
        }
        let object = format!("{:02x}/{:062x}", file % 256, file);
        let _ = writeln!(
            text,
            "/{directory:06}/{file} 4097 100644 1 0 0 0 0.0 {object}.file - {file:064x} security.selinux=file"
        );
    }
    text
}

fn tree(text: &str) -> Tree {
    dump::parse(text.as_bytes()).unwrap_or_default()
}

#[divan::bench]
fn writer_parse(bencher: Bencher<'_, '_>) {
    let text = dump_text();
    bencher.counter(ItemsCount::new(FILES)).bench_local(|| tree(black_box(&text)));
}

#[divan::bench]
fn writer_plan(bencher: Bencher<'_, '_>) {
    let tree = tree(&dump_text());
    bencher
        .counter(ItemsCount::new(FILES))
        .bench_local(|| erofs::plan(black_box(&tree), erofs::Versions::default()));
}

#[divan::bench(args = [1, 2, 4])]
fn writer_emit(bencher: Bencher<'_, '_>, threads: usize) {
    let tree = tree(&dump_text());
    let Ok(plan) = erofs::plan(&tree, erofs::Versions::default()) else { return };
    let threads = NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN);
    bencher
        .counter(ItemsCount::new(FILES))
        .bench_local(|| erofs::emit(black_box(&tree), &plan, threads, &mut std::io::sink()));
}

/// A bare-user-only repository, made by `ostree`, whose branch `os` has that many small files.
fn repository(directory: &Path) -> anyhow::Result<Source> {
    let files = directory.join("files");
    for file in 0..FILES {
        let parent = files.join(format!("{:06}", file / 20));
        if file % 20 == 0 {
            std::fs::create_dir_all(&parent)?;
        }
        std::fs::write(parent.join(file.to_string()), file.to_string().repeat(500))?;
    }
    for line in [
        "init --repo=repo --mode=bare-user-only",
        "commit --repo=repo --branch=os --owner-uid=0 --owner-gid=0 --canonical-permissions --tree=dir=files",
    ] {
        let output = Command::new("ostree").args(line.split(' ')).current_dir(directory).output()?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    Source::open(&directory.join("repo"))
}

fn load(source: &Source, cache: &dyn ObjectCache) -> anyhow::Result<u64> {
    let threads = thread::available_parallelism()?;
    Ok(source
        .load(&source.commit("os")?, Load { threads, cache, check: Check::None, progress: &mut () })?
        .objects)
}

/// All objects read, and then none but dirtrees and dirmetas.
#[divan::bench(args = ["nothing known", "all known"], sample_count = 20)]
fn source_load(bencher: Bencher<'_, '_>, what: &str) {
    if let Err(error) = measure_load(bencher, what == "all known") {
        panic!("{error:#}");
    }
}

fn measure_load(bencher: Bencher<'_, '_>, is_known: bool) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let source = repository(directory.path())?;
    let bencher = bencher.counter(ItemsCount::new(FILES));
    if !is_known {
        bencher.bench_local(|| load(&source, &NoCache));
        return Ok(());
    }
    let path = directory.path().join("cache");
    let cache = || Cache::open(path.clone(), Scope::Repository, source.view());
    let learning = cache();
    load(&source, &learning)?;
    learning.save(|_| true)?;
    bencher.bench_local(|| load(&source, &cache()));
    Ok(())
}
