#!/bin/bash
# The control: the same system, disk and machine with ostree-prepare-root and composefs "verity", as OSTree ships it. When
# this fails, the harness or the kernel is at fault and not our program.

set -euo pipefail
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/vm/debian.sh
. "$(dirname "$0")/../debian.sh"
: "${SUITE:?} ${WORK:?} ${VM_HELPER:?}" # set by tests/vm/run.sh

customise() {
    printf '[composefs]\nenabled = verity\n[sysroot]\nreadonly = true\n' >"$1/usr/lib/ostree/prepare-root.conf"
}

debian_tree "$SUITE" "$WORK/tree" ostree customise >&2
debian_sysroot "$WORK/sysroot" >&2
debian_commit "$WORK/sysroot" "$WORK/tree" >&2
debian_deploy "$WORK/sysroot" >&2
make_disk "$WORK/disk.img" 2G "$WORK/sysroot" >&2

debian_enable_verity "$SUITE" "$WORK/disk.img"

mkdir "$WORK/script"
cp "$VM/debian-baseline/booted.sh" "$WORK/script/guest.sh"
boot_debian "$WORK/disk.img" "$WORK/boot.results" "$WORK/boot.console" "$WORK/script"
show_results "$WORK/boot.results"
