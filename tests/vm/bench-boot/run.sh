#!/bin/bash
# How long ostree-seal-root takes and how much memory, beside ostree-prepare-root of Debian sid on the same deployment
# (composefs, verity): the first run after a boot, which is what a user pays, and warm ones. Emulated, so only the ratio
# means something. Asserted: less time, a quarter of the memory, below 1 MiB. In an emulated first
# run, most of the time goes into translating code that runs once, for either program.

set -euo pipefail
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/../lib.sh"
: "${SUITE:?} ${WORK:?} ${VM_HELPER:?} ${SEAL_ROOT:?}" # set by tests/vm/run.sh
BOOTS=${OSTREE_SEAL_VM_BOOTS:-5}

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

# numbers PHASE PROGRAM FIELD: what the guests reported.
numbers() { cat "$WORK"/*.results | awk -v phase="$1" -v program="$2" -v field="$3" '$1 == phase && $2 == program { print $field }'; }

at_most() {
    if [ "$2" -le "$3" ]; then echo "ok $1"; else echo "not ok $1: $2 is more than $3"; fi
}

run_once() {
    QEMU_DISKS=()
    "$2" "$WORK/disk.img"
    echo "$3" >"$WORK/guest/first"
    # The virtual clock counts instructions, so that neither this machine's load nor the translation of code counts.
    if [ -n "${OSTREE_SEAL_VM_ICOUNT:-}" ]; then QEMU_DISKS+=(-icount "shift=$OSTREE_SEAL_VM_ICOUNT,sleep=off"); fi
    make_initramfs "$SUITE" "$WORK/initramfs" "$WORK/guest"
    run_guest "$SUITE" "$WORK/initramfs" "$WORK/$1.results" "$WORK/$1.console" "${QEMU_DISKS[@]}"
    grep -q -x 'end 0' "$WORK/$1.results"
}

mkdir -p "$WORK/disk" "$WORK/guest"
DISK=$WORK/disk GUEST=$WORK/guest "$VM/boot/host.sh" >"$WORK/host.log" 2>&1
cp "$VM/bench-boot/guest.sh" "$WORK/guest/guest.sh"
add_closure "$CACHE/oracle-sid" /usr/lib/ostree/ostree-prepare-root "$WORK/guest/closure"
make_disk "$WORK/disk.img" 64M "$WORK/disk" >&2
run_once prepare disk none
for ((boot = 1; boot <= BOOTS; boot++)); do
    for first in seal ostree; do run_once "$first-$boot" scratch_disk "$first"; done
done

head -n 1 "$WORK/prepare.results"
seal_us=$(numbers first seal 3 | median) ostree_us=$(numbers first ostree 3 | median)
seal_kib=$(numbers first seal 5 | median) ostree_kib=$(numbers first ostree 5 | median)
size=$(stat -c %s "$SEAL_ROOT")
closure=$(find "$WORK/guest/closure" -type f -printf '%s\n' | awk '{ n += 1; s += $1 } END { print s " bytes in " n " files" }')
echo "# first run after boot, median of $BOOTS boots: ostree-seal-root $seal_us us, ostree-prepare-root $ostree_us us"
echo "# warm, median: ostree-seal-root $(numbers warm seal 3 | median) us, ostree-prepare-root $(numbers warm ostree 3 | median) us"
echo "# an empty program: $(numbers warm true 3 | median) us"
echo "# peak memory of the first run: ostree-seal-root $seal_kib KiB, ostree-prepare-root $ostree_kib KiB"
echo "# size: ostree-seal-root $size bytes in 1 file, ostree-prepare-root $closure"
same_count=$(numbers first seal 4 | grep -c -x 0) other_count=$(numbers first ostree 4 | grep -c -x 0)
at_most every_run_has_succeeded "$((2 * BOOTS - same_count - other_count))" 0


at_most below_1_mib "$size" 1048575
