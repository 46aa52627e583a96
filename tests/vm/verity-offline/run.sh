#!/bin/bash
# fs-verity that `ostree-seal verity` switched on in an image, on a kernel that has it: measured, read, refused where a bit was
# flipped or somebody writes. The same files are enabled by the kernel beside it, and both are compared byte by byte afterwards.

set -euo pipefail
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/../lib.sh"
: "${SUITE:?} ${WORK:?} ${VM_HELPER:?} ${SEAL:?}" # set by tests/vm/run.sh
export PATH=$PATH:/usr/sbin:/sbin

disk=$WORK/disk.img
mkdir -p "$WORK/guest" "$WORK/sysroot/kernel" "$WORK/sysroot/ostree/repo/objects"

# file NAME SIZE: bytes that are no pattern.
file() { openssl enc -aes-128-ctr -nosalt -pass "pass:$1" -in /dev/zero 2>/dev/null | head -c "$2" >"$1" || true; }

# Sizes at every edge of the tree, holes, more extents than an inode has room for, and than a block of the extent tree has.
(
    cd "$WORK/sysroot/kernel"
    for size in 0 1 59 60 61 150 4095 4096 4097 8192 65535 65536 65537 524288 524289 1000000 67108864 67108869; do
        file "size-$size" "$size"
    done
    truncate -s 300001 hole
    file hole-at-the-end 5000
    truncate -s 1000001 hole-at-the-end
    for extents in 3 4 5 8 341 1500; do
        file one 4096
        truncate -s $((extents * 8192 - 4096)) "extents-$extents"
        for ((at = 0; at < extents; at++)); do
            dd if=one of="extents-$extents" bs=4096 seek=$((at * 2)) conv=notrunc status=none
        done
    done
    rm one
    sha256sum -- * >"$WORK/guest/sums"
)
cp -a "$WORK/sysroot/kernel" "$WORK/sysroot/offline"
mkdir "$WORK/sysroot/flipped"
for what in data tree descriptor; do cp -a "$WORK/sysroot/kernel/size-524289" "$WORK/sysroot/flipped/$what"; done

make_disk "$disk" 600M "$WORK/sysroot"
"$SEAL" verity "$disk" --also='/offline/*' --also='/flipped/*' >&2
e2fsck -fn "$disk" >&2

(cd "$WORK/sysroot/kernel" && for name in *; do
    printf '%s  %s\n' "$(fsverity digest --compact "$name")" "$name"
done) >"$WORK/guest/digests"

# flip NAME BLOCK BYTE: of a file in /flipped.
flip() {
    local block at byte
    block=$(debugfs -R "bmap /flipped/$1 $2" "$disk" 2>/dev/null)
    at=$((block * 4096 + $3))
    byte=$(od -An -tu1 -j "$at" -N 1 "$disk" | tr -d ' ')
    printf '%b' "\\x$(printf '%02x' $((byte ^ 1)))" | dd of="$disk" bs=1 seek="$at" conv=notrunc status=none
}
# Of 524,289 bytes: data in blocks 0 to 128, three blocks of the tree from 144 on, the descriptor in 147.
flip data 1 17
flip tree 145 33
flip descriptor 147 20

cp "$VM_HELPER" "$WORK/guest/vm-helper"
cp "$(dirname "$0")/script.sh" "$WORK/guest/guest.sh"
QEMU_DISKS=()
disk "$disk"
make_initramfs "$SUITE" "$WORK/guest.cpio" "$WORK/guest"
VM_TIMEOUT=900 run_guest "$SUITE" "$WORK/guest.cpio" "$WORK/results" "$WORK/console" "${QEMU_DISKS[@]}" ||
    echo "not ok end: QEMU ended with status $?"
grep -v '^end ' "$WORK/results" || true
grep -q -x 'end 0' "$WORK/results" || echo "not ok end: the guest did not reach its end"

# What the kernel wrote behind the end of its files, and what was written here: made visible with a size that covers it.
e2fsck -fy "$disk" >&2 || [ $? -le 1 ]
e2fsck -fn "$disk" >&2 && echo "ok e2fsck_finds_nothing_after_the_guest" || echo "not ok e2fsck_finds_nothing_after_the_guest"
covered() { # SIZE: bytes up to the end of the metadata
    local blocks=$((($1 + 4095) / 4096)) count=1
    while [ "$blocks" -gt 1 ]; do
        blocks=$(((blocks + 127) / 128))
        count=$((count + blocks))
    done
    echo $((($1 + 65535) / 65536 * 65536 + count * 4096))
}
about() { debugfs -R "stat $1" "$disk" 2>/dev/null | sed -n 's/.*\(Flags: 0x[0-9a-f]*\).*/\1/p; s/.*\(Size: [0-9]*\)$/\1/p; s/.*\(Blockcount: [0-9]*\).*/\1/p'; }
cp "$disk" "$WORK/covered.img"
for path in "$WORK"/sysroot/kernel/*; do
    name=$(basename "$path")
    kernel=$(about "/kernel/$name") ours=$(about "/offline/$name")
    if [ -n "$kernel" ] && [ "$kernel" = "$ours" ]; then
        echo "ok size_and_flags_are_the_kernels_$name"
    else
        echo "not ok size_and_flags_are_the_kernels_$name: $(tr '\n' ' ' <<<"$kernel"), here $(tr '\n' ' ' <<<"$ours")"
    fi
    size=$(covered "$(stat -c %s "$path")")
    for where in kernel offline; do
        printf 'sif /%s/%s size %s\ndump /%s/%s %s\n' "$where" "$name" "$size" "$where" "$name" "$WORK/$where"
    done | debugfs -w -f - "$WORK/covered.img" >/dev/null 2>&1
    if [ "$(stat -c %s "$WORK/offline")" = "$size" ] && cmp -s "$WORK/kernel" "$WORK/offline"; then
        echo "ok bytes_behind_the_end_are_the_kernels_$name"
    else
        echo "not ok bytes_behind_the_end_are_the_kernels_$name: $(cmp "$WORK/kernel" "$WORK/offline" 2>&1)"
    fi
done
