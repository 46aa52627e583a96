#!/bin/bash
# Updates of a whole, sealed Debian, as they happen on a device: staged, sealed or withdrawn, finalized at shutdown, booted,
# rolled back. Four boots of one disk; what each shows is in the script of its name.

set -euo pipefail
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/vm/debian.sh
. "$(dirname "$0")/../debian.sh"
# shellcheck source=tests/vm/seal.sh
. "$(dirname "$0")/../seal.sh"
: "${SUITE:?} ${WORK:?} ${VM_HELPER:?} ${SEAL:?} ${SEAL_ROOT:?}" # set by tests/vm/run.sh

customise() {
    printf '[sysroot]\nreadonly = true\n' >"$1/usr/lib/ostree/prepare-root.conf"
    install_seal "$1"
    sealed_policy "$1/usr/lib/ostree-seal" 'minimum-index = 7'
}

# own_keys VERSION: an initramfs for this version in which another key is trusted instead of ours.
own_keys() {
    local image key=usr/lib/ostree-seal/trusted.d/release.vkey
    image=$(cd "$WORK/tree" && echo usr/lib/modules/*/initramfs.img)
    mkdir -p "$WORK/own-key/${key%/*}" "$WORK/update-$1/${image%/*}"
    cp "$WORK/own.vkey" "$WORK/own-key/$key"
    # What comes later replaces what came before.
    (cat "$WORK/tree/$image" && cd "$WORK/own-key" && find . ! -type d | cpio --quiet -o -H newc) >"$WORK/update-$1/$image"
}

updates() {
    local repo=$WORK/sysroot/updates
    "$SEAL" keygen --name=example.com/stranger "$WORK/stranger"
    updates_repo "$WORK/sysroot"
    update "$repo" test/unsigned 2-unsigned
    update "$repo" test/stranger 2-stranger
    sign "$repo" test/stranger 8 stranger
    update "$repo" test/older 2-older
    sign "$repo" test/older 6
    update "$repo" test/corrupted 2-corrupted
    sign "$repo" test/corrupted 8
    damage "$repo" test/corrupted /usr/share/update/20
    "$SEAL" keygen --name=example.com/own "$WORK/own"
    own_keys 2-own
    update "$repo" test/own 2-own
    sign "$repo" test/own 8 own
    update "$repo" test/good 2
    sign "$repo" test/good 8
    update "$repo" test/better 3
    sign "$repo" test/better 9
}

debian_tree "$SUITE" "$WORK/tree" "ostree ostree-seal" customise >&2
debian_sysroot "$WORK/sysroot" >&2
debian_commit "$WORK/sysroot" "$WORK/tree" --add-metadata-string=version=1 >&2
sign "$WORK/sysroot/ostree/repo" "$BRANCH" 7 >&2
debian_deploy "$WORK/sysroot" >&2
"$SEAL" deploy --sysroot="$WORK/sysroot" --defer-verity >&2
chattr -R -f -i "$WORK/sysroot/ostree/deploy" || true
updates >&2
make_disk "$WORK/disk.img" 3G "$WORK/sysroot" >&2
rm -rf --one-file-system "$WORK/sysroot" "$WORK/tree" "$WORK"/update-*
debian_enable_verity "$SUITE" "$WORK/disk.img"

for name in refused staged upgraded rolled-back; do boot_script upgrade "$name"; done
