#!/bin/bash
# The files in docs/ci/mkosi: Debian 13's mkosi makes a whole disk of them, which e2fsck and the check of the first boot find
# right; and no disk of a deployment that was changed. `make check` runs it. `mkosi.sh root` makes the root and no more.

cd "$(dirname "$0")/.."
# shellcheck source=tests/tools/common.sh
. tests/tools/common.sh

ROOT=mkosi-trixie
SEAL=$(realpath -m "${CARGO_TARGET_DIR:-target}/release/ostree-seal")

# By apt, since debootstrap does not find out what mkosi depends on. The program is put over an empty file.
add_mkosi() {
    DEBIAN_FRONTEND=noninteractive chroot "$1" sh -ec '
        apt-get -qq update
        apt-get -qq -y --no-install-recommends install mkosi systemd-repart dosfstools mtools e2fsprogs libostree-1-1
        apt-get clean
        mkdir /work
        touch /usr/bin/ostree-seal' >>"$CACHE/$ROOT.log" 2>&1 || die "apt could not install mkosi in $ROOT; its log is $CACHE/$ROOT.log"
}

# in_root COMMAND...: in the root, without a network, with the program and with $WORK as /work.
in_root() {
    # shellcheck disable=SC2016 # expanded by the inner shell
    unshare --mount --pid --net --fork sh -ec '
        root=$1 work=$2 program=$3
        shift 3
        mount --make-rprivate /
        mount --bind "$root" "$root"
        mount -t proc proc "$root/proc"
        mount --rbind /sys "$root/sys"
        mount --rbind /dev "$root/dev"
        for directory in run tmp var/tmp; do mount -t tmpfs tmpfs "$root/$directory"; done
        mount --bind "$work" "$root/work"
        mount --bind "$program" "$root/usr/bin/ostree-seal"
        exec chroot "$root" "$@"
    ' in_root "$CACHE/$ROOT" "$WORK" "$SEAL" env -i PATH=/usr/sbin:/usr/bin LC_ALL=C.UTF-8 "$@"
}

# The OS and its deployment, as docs/ci.md makes them.
make_deployment() {
    set -e
    mkdir -p root tree/usr/{bin,etc,share,lib/modules/6.12,lib/ostree-seal/trusted.d}
    "$SEAL" keygen --name=example.com/release release
    cp /bin/true tree/usr/bin/app
    head -c 700000 /dev/urandom >tree/usr/share/large
    echo ID=example >tree/usr/lib/os-release
    echo kernel >tree/usr/lib/modules/6.12/vmlinuz
    echo initramfs >tree/usr/lib/modules/6.12/initramfs.img
    cp release.vkey tree/usr/lib/ostree-seal/trusted.d/
    printf '[seal]\nmode = sealed\nproduct = example.com/os\n' >tree/usr/lib/ostree-seal/policy.conf
    chown 1234:1234 tree/usr/bin/app
    python3 -c 'import os; os.setxattr("tree/usr/bin/app", "user.kept", b"yes")'
    ostree admin init-fs --modern root
    ostree admin os-init --sysroot=root os
    ostree config --repo=root/ostree/repo set sysroot.bootloader none
    ostree commit --repo=root/ostree/repo --branch=os --tree=dir=tree
    "$SEAL" sign --repo=root/ostree/repo os --key=release.key --product=example.com/os --index=1
    ostree admin deploy --sysroot=root --os=os os
    "$SEAL" deploy --sysroot=root --defer-verity
    chattr -R -f -i root/ostree/deploy || true
}

build() { in_root sh -ec 'cd /work/mkosi && exec mkosi --force build' >build.log 2>&1; }

is_right() {
    local offset
    "$SEAL" verity --check image.raw | grep -q ': sealed by example.com/release+' || die "the disk would not boot sealed"
    [ "$(sfdisk --json image.raw | grep -c '"name": *"\(esp\|root\)"')" = 2 ] || die "the disk has other partitions: $(sfdisk --list image.raw)"
    offset=$("$SEAL" verity --check --json image.raw | sed -n 's/.*"offset": *\([0-9]*\).*/\1/p')
    in_root e2fsck -fn "/work/image.raw?offset=$offset" >e2fsck.log 2>&1 || die "e2fsck has something to say: $(cat e2fsck.log)"
    dd if=image.raw of=root.img bs=1M iflag=skip_bytes skip="$offset" status=none
    require_kept root.img
}

# Owner, mode, hard links and extended attributes of an object are part of what was signed, and fs-verity doesn't see them.
require_kept() {
    local object inode
    object=$(find root/ostree/repo/objects -samefile root/ostree/deploy/os/deploy/*.0/usr/bin/app)
    debugfs -R "stat /${object#root/}" "$1" >object.stat 2>/dev/null
    inode=$(sed -n 's/^Inode: \([0-9]*\) .*/\1/p' object.stat)
    grep -q 'User: *1234 *Group: *1234 ' object.stat || die "mkosi did not keep an object's owner: $(cat object.stat)"
    debugfs -R "ea_list <$inode>" "$1" 2>/dev/null | grep -q '^ *user.kept .*"yes"' || die "mkosi did not keep an object's extended attributes"
    grep -q '^Links: 2 ' object.stat || die "mkosi did not keep an object's hard links: $(cat object.stat)"
}

need_root "testing the recipe for mkosi (it makes a Debian root)"
FINISH=add_mkosi new_root "$ROOT" trixie ca-certificates
if [ "${1:-}" = root ]; then exit; fi
need_own_mounts "testing the recipe for mkosi"
[ -x "$SEAL" ] || die "$SEAL is not built: run make"
WORK=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
trap 'chattr -R -f -i "$WORK" || true; rm -rf --one-file-system "$WORK"' EXIT
cp -r docs/ci/mkosi "$WORK"
cd "$WORK"
make_deployment >make.log 2>&1 &
wait $! || { cat make.log >&2; die "there is no deployment"; }
build || { tail -n 20 build.log >&2; die "mkosi could not make the disk"; }
mv -T mkosi/image.raw image.raw
is_right
object=$(find root/ostree/repo/objects -name '*.file' -size +600k)
printf x | dd of="$object" bs=1 seek=5 conv=notrunc status=none
if build; then die "mkosi made a disk of a damaged object"; fi
grep -q 'has the fs-verity digest .* expects ' build.log || { tail -n 20 build.log >&2; die "mkosi failed, and not for the damaged object"; }
[ ! -e mkosi/image.raw ] || die "mkosi left a disk of a damaged object"
