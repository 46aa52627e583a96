#!/bin/bash
# How long ostree-seal-root takes and how much memory, beside ostree-prepare-root of Debian sid on the same deployment
# (composefs, verity), and beside `mounts`, which makes the same mounts and nothing else, with no check and with the least
# that a check can be: the lower bounds.
# The first run after a boot is what a user pays. Emulated, so only ratios mean something: nearly all of the time goes into
# translating code that runs once, so the number of blocks that are translated tells more than a clock on a busy machine.

set -euo pipefail
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/../lib.sh"
export VM_MACHINE=pti=off # as its figures were taken
: "${SUITE:?} ${WORK:?} ${VM_HELPER:?} ${SEAL_ROOT:?}" # set by tests/vm/run.sh
BOOTS=${OSTREE_SEAL_VM_BOOTS:-5}

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

# numbers PHASE PROGRAM FIELD: what the guests reported.
numbers() { cat "$WORK"/*.results | awk -v phase="$1" -v program="$2" -v field="$3" '$1 == phase && $2 == program { print $field }'; }

at_most() {
    if [ "$2" -le "$3" ]; then echo "ok $1"; else echo "not ok $1: $2 is more than $3"; fi
}

# run_once NAME disk|scratch_disk FIRST [QEMU ARGS...]
run_once() {
    local name=$1 how=$2 first=$3
    shift 3
    QEMU_DISKS=()
    "$how" "$WORK/disk.img"
    echo "$first" >"$WORK/guest/first"
    make_initramfs "$SUITE" "$WORK/initramfs" "$WORK/guest"
    run_guest "$SUITE" "$WORK/initramfs" "$WORK/$name.results" "$WORK/$name.console" "${QEMU_DISKS[@]}" "$@"
    grep -q -x 'end 0' "$WORK/$name.results"
}

# count_blocks PROGRAM: how many blocks of code the emulator translates for its first run, in the kernel and in programs.
count_blocks() {
    local program=$1 name=$WORK/blocks-$1 running
    mkfifo "$name.monitor.in" "$name.monitor.out"
    cat "$name.monitor.out" >/dev/null &
    : >"$WORK/guest/blocks"
    run_once "blocks-$program" scratch_disk "$program" -monitor "pipe:$name.monitor" -D "$name.log" &
    running=$!
    exec 9>"$name.monitor.in"
    for mark in on off; do
        until grep -q "mark-$mark" "$name.results.raw" 2>/dev/null || ! kill -0 $running 2>/dev/null; do sleep 0.1; done
        if [ $mark = on ]; then echo 'log in_asm' >&9; else echo 'log none' >&9; fi
    done
    exec 9>&-
    wait $running
    rm "$WORK/guest/blocks"
    awk -v program="$program" '/^IN:/ { getline; if ($1 ~ /^0xf/) kernel++; else user++ }
        END { print program, kernel + user, kernel + 0, user + 0 }' "$name.log"
}

mkdir -p "$WORK/disk" "$WORK/guest"
DISK=$WORK/disk GUEST=$WORK/guest "$VM/boot/host.sh" >"$WORK/host.log" 2>&1
cp "$VM/bench-boot/guest.sh" "$(dirname "$VM_HELPER")/vm-mounts" "$WORK/guest/"
add_closure "$CACHE/oracle-sid" /usr/lib/ostree/ostree-prepare-root "$WORK/guest/closure"
make_disk "$WORK/disk.img" 64M "$WORK/disk" >&2
run_once prepare disk none
for ((boot = 1; boot <= BOOTS; boot++)); do
    for first in seal ostree mounts checked; do run_once "$first-$boot" scratch_disk "$first"; done
done
for program in true mounts checked seal ostree; do count_blocks "$program"; done >"$WORK/blocks"

head -n 1 "$WORK/prepare.results"
# row PROGRAM NAME
row() {
    printf '# %-22s %9s us first, %8s us warm, %5s KiB, %6s blocks (%s in the kernel)\n' "$2" "$(numbers first "$1" 3 | median)" \
        "$(numbers warm "$1" 3 | median)" "$(numbers first "$1" 5 | median)" "$(blocks "$1" 2)" "$(blocks "$1" 3)"
}

# blocks PROGRAM FIELD: beyond those of starting a program.
blocks() { awk -v program="$1" -v field="$2" '$1 == "true" { base = $field } $1 == program { print $field - base }' "$WORK/blocks"; }

echo "# first run after boot (median of $BOOTS boots), warm runs, peak memory of the first run, translated blocks of code"
row seal ostree-seal-root
row ostree ostree-prepare-root
row mounts "mounts, no check"
row checked "mounts, one signature"
echo "# an empty program: $(numbers warm true 3 | median) us"
size=$(stat -c %s "$SEAL_ROOT")
closure=$(find "$WORK/guest/closure" -type f -printf '%s\n' | awk '{ n += 1; s += $1 } END { print s " bytes in " n " files" }')
echo "# size: ostree-seal-root $size bytes in 1 file, ostree-prepare-root $closure"
at_most every_run_has_succeeded "$(cat "$WORK"/*.results | awk '$1 ~ /^(first|warm)$/ && $4 != 0' | wc -l)" 0
at_most translates_fewer_blocks "$(blocks seal 2)" "$(blocks ostree 2)"
at_most needs_a_quarter_of_the_memory "$(numbers first seal 5 | median)" $(($(numbers first ostree 5 | median) / 4))
at_most below_1_mib "$size" 1048575
