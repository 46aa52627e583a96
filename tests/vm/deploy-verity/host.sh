#!/bin/bash
# A sysroot with one deployment of a few thousand objects, signed, nothing of it verified yet.

set -euo pipefail
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck disable=SC2153 # the runner sets both
repo=$DISK/ostree/repo tree=$WORK/tree

"$SEAL" keygen --name=example.com/release "$WORK/release" >/dev/null
mkdir -p "$tree"/usr/{bin,etc,lib/modules/6.12,lib/ostree-seal/trusted.d}
cp "$WORK/release.vkey" "$tree/usr/lib/ostree-seal/trusted.d/"
printf '[seal]\nmode = sealed\nproduct = example.com/os\n' >"$tree/usr/lib/ostree-seal/policy.conf"
echo ID=test >"$tree/usr/lib/os-release"
echo kernel >"$tree/usr/lib/modules/6.12/vmlinuz"
for number in $(seq 300); do
    mkdir -p "$tree/usr/share/$((number % 17))"
    printf '%s\n' "$number" >"$tree/usr/share/$((number % 17))/small-$number"
    [ "$number" -gt 20 ] || head -c $((number * 9973)) /dev/urandom >"$tree/usr/bin/large-$number"
done
ln -s large-1 "$tree/usr/bin/link"
: >"$tree/usr/share/empty"

commit() { # VERSION
    echo "$1" >"$tree/usr/share/version"
    ostree commit --repo="$repo" -b os --owner-uid=0 --owner-gid=0 --no-xattrs --add-metadata-string=version="$1" "$tree"
}

ostree admin init-fs --modern "$DISK" >/dev/null
ostree admin os-init --sysroot="$DISK" test >/dev/null
commit=$(commit 1)
"$SEAL" sign --repo="$repo" os --key="$WORK/release.key" --product=example.com/os --index=3 >/dev/null
ostree admin deploy --sysroot="$DISK" --os=test os >/dev/null
echo "$commit" >"$GUEST/commit"

cp "$SEAL" "$GUEST/ostree-seal"
cp "$VM_HELPER" "$GUEST/vm-helper"
add_closure / "$SEAL" "$GUEST/root"
add_closure / /usr/bin/chattr "$GUEST/root"
printf 'DISK_SIZE=300M\nVM_TIMEOUT=400\n' >"$WORK/settings"
chattr -R -f -i "$DISK/ostree/deploy" || true # mke2fs doesn't copy the flag, and nobody could remove the directory
