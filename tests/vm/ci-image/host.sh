#!/bin/bash
# A disk with a sealed system, made as docs/ci.md says: with the rights of an ordinary container, a GPT by systemd-repart, and
# fs-verity switched on in it. The guest gets the partition.

set -euo pipefail
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/../lib.sh"
: "${SEAL:?} ${SEAL_ROOT:?} ${WORK:?} ${GUEST:?}"
tree=$WORK/tree

"$SEAL" keygen --name=example.com/release "$WORK/release" >/dev/null
mkdir -p "$tree"/{boot,proc,dev,sys,run,sysroot,var} "$tree"/usr/{bin,etc,share,lib/modules/6.12,lib/ostree-seal/trusted.d}
ln -s sysroot/ostree "$tree/ostree"
cp "$WORK/release.vkey" "$tree/usr/lib/ostree-seal/trusted.d/"
printf '[seal]\nmode = sealed\nproduct = example.com/os\n' >"$tree/usr/lib/ostree-seal/policy.conf"
echo ID=test >"$tree/usr/lib/os-release"
echo kernel >"$tree/usr/lib/modules/6.12/vmlinuz"
# The sizes at which the Merkle tree gets another block or level, and the place of the metadata moves.
for size in 0 1 4095 4096 4097 65535 65536 65537 524288 524289 3000000; do
    head -c "$size" < <(yes ostree-seal) >"$tree/usr/share/of-$size"
done
for number in $(seq 60); do head -c $((number * 997)) /dev/urandom >"$tree/usr/share/random-$number"; done
truncate -s 400K "$tree/usr/share/hole"
cp "$SEAL_ROOT" "$tree/usr/lib/ostree-seal/"
initramfs=$WORK/initramfs
mkdir -p "$initramfs"/usr/lib "$initramfs/etc/systemd/system/initrd-root-fs.target.requires"
cp -r "$tree/usr/lib/ostree-seal" "$initramfs/usr/lib/"
ln -s /usr/lib/systemd/system/ostree-seal-root.service "$initramfs/etc/systemd/system/initrd-root-fs.target.requires/"
(cd "$initramfs" && find . -print0 | cpio --null --create --format=newc --quiet) | zstd -q >"$tree/usr/lib/modules/6.12/initramfs.img"

cat >"$WORK/job" <<'JOB'
cd "$WORK"
if unshare --mount true 2>/dev/null; then echo "this shell could mount" >&2; exit 1; fi
mkdir root repart.d
ostree admin init-fs --modern root
ostree admin os-init --sysroot=root os
ostree config --repo=root/ostree/repo set sysroot.bootloader none
ostree commit --repo=root/ostree/repo --branch=os --tree=dir=tree
"$SEAL" sign --repo=root/ostree/repo os --key=release.key --product=example.com/os --index=3
ostree admin deploy --sysroot=root --os=os --karg=root=LABEL=root --karg=rw os
"$SEAL" deploy --sysroot=root --defer-verity
truncate -s 120M root.img
mke2fs -q -t ext4 -b 4096 -L root -E root_owner=0:0 -d root root.img
truncate -s 34M esp.img
mkfs.vfat -n ESP esp.img
printf '[Partition]\nType=esp\nLabel=esp\nCopyBlocks=%s\n' "$PWD/esp.img" >repart.d/10-esp.conf
printf '[Partition]\nType=root\nLabel=root\nCopyBlocks=%s\n' "$PWD/root.img" >repart.d/20-root.conf
systemd-repart --definitions=repart.d --empty=create --size=auto --dry-run=no whole.img
"$SEAL" verity whole.img
"$SEAL" verity --check whole.img
JOB
export SEAL WORK
setpriv --bounding-set=-all,+chown,+dac_override,+fsetid,+fowner,+mknod,+net_raw,+setgid,+setuid,+setfcap,+setpcap,+net_bind_service,+sys_chroot,+kill,+audit_write \
    bash -e -u -o pipefail "$WORK/job"

offset=$("$SEAL" verity --check --json "$WORK/whole.img" | sed -n 's/.*"offset": *\([0-9]*\).*/\1/p')
dd if="$WORK/whole.img" of="$WORK/disk.img" bs=1M iflag=skip_bytes,count_bytes skip="$offset" count=$((120 << 20)) status=none
e2fsck -fn "$WORK/disk.img"

(cd "$tree" && find usr -type f ! -path 'usr/etc/*' -exec sha256sum {} + >"$GUEST/sums")
sed -n 's|^options .*\(ostree=/[^ ]*\).*|\1|p' "$WORK"/root/boot/loader/entries/*.conf >"$GUEST/target"
cp "$SEAL" "$SEAL_ROOT" "$WORK/release.vkey" "$tree/usr/lib/ostree-seal/policy.conf" "$GUEST"
for program in "$SEAL" "$(command -v ostree)" "$(PATH=$PATH:/usr/sbin:/sbin command -v e2fsck)"; do add_closure / "$program" "$GUEST/root"; done
rm -f "$WORK"/{whole,root,esp}.img
printf 'VM_TIMEOUT=600\n' >"$WORK/settings"
