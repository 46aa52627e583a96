#!/bin/bash
# An installed, unsealed system becomes a sealed one with the commands of docs/updates.md, and goes back: to a release that knows
# nothing of sealing, and to one whose policy says unsealed. Five boots of one disk.

set -euo pipefail
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/vm/debian.sh
. "$(dirname "$0")/../debian.sh"
# shellcheck source=tests/vm/seal.sh
. "$(dirname "$0")/../seal.sh"
: "${SUITE:?} ${WORK:?} ${VM_HELPER:?} ${SEAL:?} ${SEAL_ROOT:?}" # set by tests/vm/run.sh

sealable() {
    install_seal "$1"
    sealed_policy "$1/usr/lib/ostree-seal"
    echo sealed >"$1/usr/share/release"
}

# The first release with another name: no policy, nothing of ours, ostree-prepare-root in its initramfs.
foreign() {
    mkdir -p "$WORK/update-foreign/usr/share"
    echo foreign >"$WORK/update-foreign/usr/share/release"
    update "$WORK/sysroot/updates" test/foreign foreign
}

# The sealed release with another policy, in its tree and in its initramfs, where the last archive wins.
unsealed() {
    local version=$1 base=$WORK/sealed-tree tree=$WORK/update-$1 file
    file=$(cd "$base" && echo usr/lib/modules/*/initramfs.img)
    mkdir -p "$tree/usr/lib/ostree-seal" "$tree/${file%/*}" "$tree/usr/share"
    printf '[seal]\nmode = unsealed\n' >"$tree/usr/lib/ostree-seal/policy.conf"
    echo "$version" >"$tree/usr/share/release"
    cp "$base/$file" "$tree/$file"
    truncate -s %4 "$tree/$file"
    (cd "$tree" && find usr/lib/ostree-seal -print0 | cpio --null --create --format=newc --quiet) >>"$tree/$file"
    BRANCH=test/sealed update "$WORK/sysroot/updates" "test/$version" "$version"
}

debian_tree "$SUITE" "$WORK/tree" ostree >&2
debian_sysroot "$WORK/sysroot" >&2
debian_commit "$WORK/sysroot" "$WORK/tree" --add-metadata-string=version=plain >&2
debian_deploy "$WORK/sysroot" >&2
chattr -R -f -i "$WORK/sysroot/ostree/deploy" || true
updates_repo "$WORK/sysroot" >&2
debian_tree "$SUITE" "$WORK/sealed-tree" ostree-seal sealable >&2
ostree commit --repo="$WORK/sysroot/updates" --branch=test/sealed --tree=dir="$WORK/sealed-tree" --add-metadata-string=version=sealed >&2
sign "$WORK/sysroot/updates" test/sealed 1 >&2
foreign >&2
unsealed unsealed >&2
unsealed unsealed-2 >&2
# A file system as it was made before anybody thought of fs-verity.
mke2fs -q -t ext4 -b 4096 -E root_owner=0:0 -L sysroot -d "$WORK/sysroot" "$WORK/disk.img" 3G >&2
rm -rf --one-file-system "$WORK/sysroot" "$WORK/tree" "$WORK/sealed-tree" "$WORK"/update-*

for name in plain sealed foreign; do boot_script migrate "$name"; done
boot_script migrate again 1 # the rollback
boot_script migrate back
