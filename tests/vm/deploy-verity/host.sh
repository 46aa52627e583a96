#!/bin/bash
# A sysroot with one deployment of some objects, signed, nothing of it verified yet.

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
for number in $(seq 120); do
    mkdir -p "$tree/usr/share/$((number % 17))"
    printf '%s\n' "$number" >"$tree/usr/share/$((number % 17))/small-$number"
    [ "$number" -gt 20 ] || head -c $((number * 9973)) /dev/urandom >"$tree/usr/bin/large-$number"
done
ln -s large-1 "$tree/usr/bin/link"
# What `doctor` looks for: the kernel's configuration, the units, and an initramfs with our program, policy and key.
printf 'CONFIG_FS_VERITY=y\nCONFIG_EROFS_FS=y\nCONFIG_EROFS_FS_BACKED_BY_FILE=y\nCONFIG_OVERLAY_FS=y\n' >"$tree/usr/lib/modules/6.12/config"
mkdir -p "$tree/usr/etc/systemd/system/multi-user.target.wants" "$tree/usr/lib/systemd/system"
cp -r "$(dirname "$0")/../../../systemd/." "$tree/usr/lib/systemd/system/"
ln -s /usr/lib/systemd/system/ostree-seal-deploy.path "$tree/usr/etc/systemd/system/multi-user.target.wants/"
cp "$SEAL_ROOT" "$tree/usr/lib/ostree-seal/"
initramfs=$WORK/initramfs
mkdir -p "$initramfs"/usr/lib/ostree-seal "$initramfs/etc/systemd/system/initrd-root-fs.target.requires"
cp -r "$tree"/usr/lib/ostree-seal/. "$initramfs/usr/lib/ostree-seal/"
ln -s /usr/lib/systemd/system/ostree-seal-root.service "$initramfs/etc/systemd/system/initrd-root-fs.target.requires/"
(cd "$initramfs" && find . -print0 | cpio --null --create --format=newc --quiet) | zstd -q >"$tree/usr/lib/modules/6.12/initramfs.img"
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
add_closure / /usr/bin/lsattr "$GUEST/root"
add_closure / "$(command -v strace)" "$GUEST/root"
add_closure / "$(command -v script)" "$GUEST/root"
printf 'DISK_SIZE=300M\nVM_TIMEOUT=600\n' >"$WORK/settings"
chattr -R -f -i "$DISK/ostree/deploy" || true # mke2fs doesn't copy the flag, and nobody could remove the directory
