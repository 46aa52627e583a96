#!/bin/bash
# A whole Debian with systemd and dracut, sealed: it boots, is used, is booted again, and is refused with one flipped bit.

set -euo pipefail
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/vm/debian.sh
. "$(dirname "$0")/../debian.sh"
# shellcheck source=tests/vm/notes.sh
. "$(dirname "$0")/../notes.sh"
: "${SUITE:?} ${WORK:?} ${VM_HELPER:?} ${SEAL_ROOT:?}" # set by tests/vm/run.sh
SOURCES=$VM/../..

# composefs = verity makes Debian's ostree write an image with digests; our program does not read that key.
customise() {
    printf '[composefs]\nenabled = verity\n[sysroot]\nreadonly = true\n' >"$1/usr/lib/ostree/prepare-root.conf"
    install -D -m 755 "$SEAL_ROOT" "$1/usr/lib/ostree-seal/ostree-seal-root"
    install -D -m 644 "$SOURCES/systemd/ostree-seal-root.service" "$1/usr/lib/systemd/system/ostree-seal-root.service"
    install -D -m 755 "$SOURCES/dracut/50ostree-seal/module-setup.sh" "$1/usr/lib/dracut/modules.d/50ostree-seal/module-setup.sh"
    install -D -m 644 "$WORK/keys/release.vkey" "$1/usr/lib/ostree-seal/trusted.d/release.vkey"
    printf '[seal]\nmode = sealed\nproduct = example.com/small\naccept = note\nthreshold = 1\nminimum-index = 7\n' \
        >"$1/usr/lib/ostree-seal/policy.conf"
}

# boot NAME SCRIPT: boots the disk with SCRIPT as the test.
boot() {
    rm -rf "$WORK/script"
    mkdir "$WORK/script"
    cp "$VM/debian-sealed/$2" "$WORK/script/guest.sh"
    boot_debian "$WORK/disk.img" "$WORK/$1.results" "$WORK/$1.console" "$WORK/script"
}

key example.com/release
debian_tree "$SUITE" "$WORK/tree" "ostree ostree-seal" customise >&2
debian_sysroot "$WORK/sysroot" >&2
debian_commit "$WORK/sysroot" "$WORK/tree" >&2
debian_deploy "$WORK/sysroot" >&2
deployment=$(cd "$WORK/sysroot" && echo ostree/deploy/*/deploy/*.0)
commit=$(basename "$deployment" .0)
digest=$(fsverity digest --compact "$WORK/sysroot/$deployment/.ostree.cfs" | cut -d: -f2)
seal_note "$digest" 7 "$commit" release >"$WORK/sysroot/$deployment/.ostree.seal"
make_disk "$WORK/disk.img" 2G "$WORK/sysroot" >&2
debian_enable_verity "$SUITE" "$WORK/disk.img"

boot first booted.sh
show_results "$WORK/first.results"
boot second again.sh
show_results "$WORK/second.results" | sed 's/^\(ok\|not ok\) /\1 second_boot_/'

flip_on_disk "$WORK/disk.img" "/$deployment/.ostree.cfs"
VM_CMDLINE="rd.emergency=poweroff rd.shell=0" VM_TIMEOUT=120 boot flipped booted.sh
if grep -q "root refused: /$deployment/.ostree.cfs can't be read" "$WORK/flipped.console"; then
    echo "ok flipped_bit_is_refused_on_the_console"
else
    echo "not ok flipped_bit_is_refused_on_the_console: no such line on the console"
fi
if grep -q . "$WORK/flipped.results"; then
    echo "not ok flipped_bit_does_not_boot: $(head -n 1 "$WORK/flipped.results")"
else
    echo "ok flipped_bit_does_not_boot"
fi
