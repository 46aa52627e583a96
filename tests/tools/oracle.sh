#!/bin/bash
# The oracle: Debian sid's ostree and composefs in a root of their own, against which ours is compared byte for byte.
# Made once and kept; delete the directory to have it made anew.

# shellcheck source=tests/tools/common.sh
. "$(dirname "$0")/common.sh"

check() {
    local root=$1
    [ -L "$root/bin" ] || die "$root has no merged /usr"
    chroot "$root" ostree --version | grep -q -w composefs || die "the oracle's ostree was built without composefs"
    printf '/ 0 40755 1 0 0 0 0.0 - - -\n' | chroot "$root" mkcomposefs --from-file --print-digest-only - |
        grep -q -x -E '[0-9a-f]{64}' || die "the oracle's mkcomposefs does not run"
}

FINISH=check
new_root oracle-sid sid ostree,ostree-boot,composefs,erofs-utils,fsverity,e2fsprogs
say "oracle: $(chroot "$CACHE/oracle-sid" ostree --version | sed -n "s/ *Version: *//p" | tr -d "'") in $CACHE/oracle-sid"
