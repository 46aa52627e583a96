#!/bin/bash
# Runs a fuzz target where cargo-fuzz isn't installed: run.sh TARGET [LIBFUZZER-ARGUMENTS...]. Needs a nightly compiler.
set -euo pipefail
cd "$(dirname "$0")"
target=$1
shift
coverage='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters'
coverage+=' -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Cdebug-assertions'
mkdir -p "corpus/$target" "seeds/$target"
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
RUSTFLAGS=$coverage cargo +nightly build --release --target "$host" --bin "$target"
# The whole way from an initramfs file to its policy has a budget. Its seconds are those of the clock, on a machine with other work.
case $target in
initramfs | members) set -- -timeout=10 -rss_limit_mb=300 -max_len=100000 "$@" ;;
esac
exec "target/$host/release/$target" "corpus/$target" "seeds/$target" "$@"
