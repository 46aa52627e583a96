#!/bin/bash
# A disk that can't read one sector, which an object has: `deploy` names the object and loses nothing, and completes on the
# same disk when it can be read again. The system is that of deploy-verity.

set -euo pipefail
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/../lib.sh"
: "${SUITE:?} ${WORK:?} ${VM_HELPER:?} ${SEAL:?} ${SEAL_ROOT:?}" # set by tests/vm/run.sh

# guest NAME QEMU-ARGS...: boots the disk, and prints the cases of guest's part NAME.
guest() {
    local name=$1
    shift
    echo "$name" >"$WORK/guest/part"
    make_initramfs "$SUITE" "$WORK/initramfs" "$WORK/guest"
    run_guest "$SUITE" "$WORK/initramfs" "$WORK/$name.results" "$WORK/$name.console" "$@" \
        -device virtio-blk-pci,drive=disk,serial=sysroot || echo "not ok $name/end: QEMU ended with status $?"
    grep -v '^end ' "$WORK/$name.results" || true
    grep -q -x 'end 0' "$WORK/$name.results" || echo "not ok $name/end: the guest did not reach its end"
}

mkdir "$WORK/guest" "$WORK/sysroot"
DISK=$WORK/sysroot GUEST=$WORK/guest "$VM/deploy-verity/host.sh" >&2
cp "$VM/bad-sector/script.sh" "$WORK/guest/guest.sh"
object=$(ostree ls --repo="$WORK/sysroot/ostree/repo" -C os /usr/bin/large-20 | awk '{ print $5 }')
object=${object:0:2}/${object:2}.file
echo "$object" >"$WORK/guest/object"
make_disk "$WORK/disk.img" 300M "$WORK/sysroot"
block=$(debugfs -R "bmap /ostree/repo/objects/$object 10" "$WORK/disk.img" 2>/dev/null)

file=driver=file,filename=$WORK/disk.img
error=inject-error.0.event=none,inject-error.0.iotype=read,inject-error.0.errno=5,inject-error.0.once=off
guest bad -blockdev "$file,node-name=file" \
    -blockdev "driver=blkdebug,node-name=disk,image=file,$error,inject-error.0.sector=$((block * 8))"
guest good -blockdev "$file,node-name=disk"
