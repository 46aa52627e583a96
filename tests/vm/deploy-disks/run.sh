#!/bin/bash
# Disks that are in the way of `deploy`: one with a sector that can't be read, file systems without fs-verity, a full and a
# read-only one. Each time one sentence says what to do, nothing is lost, and the same disk serves when that was done. And a
# btrfs, which is not in the way. The system is that of deploy-verity.

set -euo pipefail
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/../lib.sh"
: "${SUITE:?} ${WORK:?} ${VM_HELPER:?} ${SEAL:?} ${SEAL_ROOT:?}" # set by tests/vm/run.sh
need_programs mkfs.xfs mkfs.btrfs

# guest NAME QEMU-ARGS...: boots with the part NAME of script.sh, and prints its cases.
guest() {
    local name=$1
    shift
    echo "$name" >"$WORK/guest/part"
    make_initramfs "$SUITE" "$WORK/guest.cpio" "$WORK/guest"
    run_guest "$SUITE" "$WORK/guest.cpio" "$WORK/$name.results" "$WORK/$name.console" "$@" ||
        echo "not ok $name/end: QEMU ended with status $?"
    grep -v '^end ' "$WORK/$name.results" || true
    grep -q -x 'end 0' "$WORK/$name.results" || echo "not ok $name/end: the guest did not reach its end"
}

mkdir -p "$WORK/guest/modules" "$WORK/sysroot"
DISK=$WORK/sysroot GUEST=$WORK/guest "$VM/deploy-verity/host.sh" >&2
cp "$VM/deploy-disks/script.sh" "$WORK/guest/guest.sh"
copy_modules "$SUITE" "$WORK/guest" xfs btrfs
object=$(ostree ls --repo="$WORK/sysroot/ostree/repo" -C os /usr/bin/large-20 | awk '{ print $5 }')
object=${object:0:2}/${object:2}.file
echo "$object" >"$WORK/guest/object"
make_disk "$WORK/disk.img" 64M "$WORK/sysroot"
block=$(debugfs -R "bmap /ostree/repo/objects/$object 10" "$WORK/disk.img" 2>/dev/null)
# As they were made before anybody thought of fs-verity; the guest copies the system to them.
truncate -s 320M "$WORK/xfs.img"
mkfs.xfs -q "$WORK/xfs.img"
truncate -s 64M "$WORK/ext4.img"
mke2fs -q -t ext4 -b 4096 "$WORK/ext4.img"

QEMU_DISKS=()
scratch_disk "$WORK/disk.img"
scratch_disk "$WORK/xfs.img" xfs
scratch_disk "$WORK/ext4.img" ext4
guest unusable "${QEMU_DISKS[@]}"

# The disk that the next two boots share; in the first, the sector can't be read.
file=driver=file,filename=$WORK/disk.img
error=inject-error.0.event=none,inject-error.0.iotype=read,inject-error.0.errno=5,inject-error.0.once=off
guest bad -blockdev "$file,node-name=file" \
    -blockdev "driver=blkdebug,node-name=disk,image=file,$error,inject-error.0.sector=$((block * 8))" \
    -device virtio-blk-pci,drive=disk,serial=sysroot
guest good -blockdev "$file,node-name=disk" -device virtio-blk-pci,drive=disk,serial=sysroot

for disk in made kept; do
    truncate -s 512M "$WORK/$disk.img"
    mkfs.btrfs -q "$WORK/$disk.img"
done
btrfs_guest() {
    disk "$WORK/made.img" made
    disk "$WORK/kept.img" kept
    guest "$1" "${QEMU_DISKS[@]}"
}
QEMU_DISKS=()
scratch_disk "$WORK/disk.img"
btrfs_guest btrfs
QEMU_DISKS=()
btrfs_guest btrfs-booted
