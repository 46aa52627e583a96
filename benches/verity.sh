#!/bin/bash
# How long `ostree-seal verity` takes, and how much memory, for a disk image of a large system: against the limit, which is
# reading and hashing each object once and nothing else (`benches/peers/floor.rs`). As root, after `make`.
#   benches/verity.sh [DIRECTORY]          where the system and its image lie, 11 GB, removed afterwards; the page cache is warm if
#                                          it is a tmpfs [/var/tmp]. The image as it was, 5 GB, is kept in TMPDIR [/var/tmp].
#   OSTREE_SEAL_BENCH_FILES (113000)       how many files, with sizes as in `cargo bench --bench peers`: 5 GB
#   OSTREE_SEAL_BENCH_ROUNDS (5)           medians count; the programs take turns
# Prints wall time, processor time of all threads, and peak memory of each run, then the medians.

# shellcheck source=tests/tools/common.sh
. "$(dirname "$0")/../tests/tools/common.sh"
cd "$(dirname "$0")/.."

files=${OSTREE_SEAL_BENCH_FILES:-113000} rounds=${OSTREE_SEAL_BENCH_ROUNDS:-5}
SEAL=$(realpath "${CARGO_TARGET_DIR:-target}/release/ostree-seal")
work=$(mktemp -d -p "${1:-/var/tmp}")
original=$(mktemp -p "${TMPDIR:-/var/tmp}")
trap 'chattr -R -f -i "$work" || true; rm -rf --one-file-system "$work" "$original"' EXIT

# A deployment without fs-verity, in an ext4.
make_image() {
    local root=$work/root tree=$work/tree megabytes
    mkdir -p "$root" "$tree"/usr/{etc,lib/modules/6.12,lib/ostree-seal/trusted.d}
    "$SEAL" keygen --name=example.com/bench "$work/bench"
    cp "$work/bench.vkey" "$tree/usr/lib/ostree-seal/trusted.d/"
    printf '[seal]\nmode = sealed\nproduct = example.com/os\n' >"$tree/usr/lib/ostree-seal/policy.conf"
    echo ID=bench >"$tree/usr/lib/os-release"
    echo kernel >"$tree/usr/lib/modules/6.12/vmlinuz"
    python3 tests/vm/bench-deploy/files.py "$tree/usr/share" "$files" 1 4096 2.146 $((64 << 20))
    ostree admin init-fs --modern "$root"
    ostree admin os-init --sysroot="$root" os
    ostree config --repo="$root/ostree/repo" set sysroot.bootloader none
    ostree config --repo="$root/ostree/repo" set core.fsync false
    ostree commit --repo="$root/ostree/repo" --branch=os --consume --link-checkout-speedup --tree=dir="$tree"
    "$SEAL" sign --repo="$root/ostree/repo" os --key="$work/bench.key" --product=example.com/os --index=1
    ostree admin deploy --sysroot="$root" --os=os os
    "$SEAL" deploy --sysroot="$root" --defer-verity
    megabytes=$(du -sm "$root" | cut -f1)
    truncate -s $((megabytes * 5 / 4 + 200))M "$original"
    mke2fs -q -t ext4 -b 4096 -N $((files * 2 + 20000)) -E root_owner=0:0 -d "$root" "$original"
}

# measured NAME COMMAND...: one run; `NAME WALL CPU MEGABYTES` is a line of the results.
measured() {
    python3 -c '
import resource, subprocess, sys, time
began = time.monotonic()
subprocess.run(sys.argv[2:], check=True, stdout=subprocess.DEVNULL)
wall, used = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
print(f"{sys.argv[1]} {wall:.2f} {used.ru_utime + used.ru_stime:.2f} {used.ru_maxrss / 1000:.0f}")
' "$@" | tee -a "$work/results"
}

# median NAME COLUMN
median() { grep "^$1 " "$work/results" | cut -d' ' -f"$2" | sort -n | sed -n "$(((rounds + 1) / 2))p"; }

need_root "the benchmark (owners of files)"
need_programs ostree mke2fs e2fsck python3
[ -x "$SEAL" ] || die "$SEAL is not built: run make"
floor=$(cargo bench --quiet --locked --no-run --bench peers --message-format=json | sed -n '/"name":"peers"/s/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
say "making a system of $files files, and its image"
make_image >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; die "there is no image"; }
say "$(find "$work/root/ostree/repo/objects" -name '*.file' | wc -l) objects, $(du -sm "$work/root/ostree/repo/objects" | cut -f1) MB;" \
    "image $(du -sm "$original" | cut -f1) MB"
echo "work wall-seconds processor-seconds MB"
for ((round = 0; round < rounds; round++)); do
    # A copy that waits for nothing, so that both have what they read in the page cache and nothing else to write.
    cp --sparse=always "$original" "$work/image"
    sync "$work/image"
    find "$work/root/ostree/repo/objects" -name '*.file' -type f -print0 | xargs -0 cat >/dev/null
    cat "$work/image" >/dev/null
    measured limit "$floor" --floor "(reading and hashing alone)" "$work/root/ostree/repo"
    measured verity "$SEAL" verity "$work/image"
    measured check "$SEAL" verity --check "$work/image"
done
e2fsck -fn "$work/image" >"$work/log" 2>&1 || { cat "$work/log" >&2; die "e2fsck has something to say"; }
for name in limit verity check; do
    echo "median of $name: $(median $name 2) s, processor $(median $name 3) s, $(median $name 4) MB"
done
awk -v "a=$(median verity 3)" -v "b=$(median limit 3)" -v "c=$(median verity 2)" -v "d=$(median limit 2)" \
    'BEGIN { printf "verity against the limit: %.2f times the processor time, %.2f times the wall time\n", a / b, c / d }'
