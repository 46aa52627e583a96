#!/bin/bash
# The whole way once, on real data: a Debian system is committed, converted, mounted, sealed, deployed, and booted in a
# virtual machine, twice: as it was signed, and with one flipped bit. `make demo` builds and runs this.

cd "$(dirname "$0")/.."
# shellcheck source=tests/vm/lib.sh
. tests/vm/lib.sh
# shellcheck source=tests/vm/debian.sh
. tests/vm/debian.sh

TARGET=${CARGO_TARGET_DIR:-target}
SEAL=${SEAL:-$(realpath -m "$TARGET/release/ostree-seal")}
SEAL_ROOT=${SEAL_ROOT:-$(realpath -m "$TARGET"/*/initrd/ostree-seal-root)}
SUITE=trixie
BRANCH=demo/os
OSNAME=demo

export BEGAN=${BEGAN:-$EPOCHSECONDS}

bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\033[1m' plain=$'\033[0m'; fi
heading() { printf '\n%s== %s%s   [%d s]\n' "$bold" "$*" "$plain" "$((EPOCHSECONDS - BEGAN))"; }
remark() { printf '   %s\n' "$*"; }

# Shows a command as one would type it, then runs it.
run() {
    local text="${*//$WORK\//}"
    printf '   $ %s\n' "${text//$SEAL/ostree-seal}"
    "$@" | shown
}

shown() { sed "s|$WORK/||g; s/^/     /"; }

make_commit() {
    heading "an OSTree commit: Debian $SUITE with a kernel, $(uname -m)"
    remark "from $CACHE, or debootstrap makes it now"
    os_root demo-trixie trixie ,python3,procps,iproute2
    os_copy demo-trixie "$WORK/tree"
    os_add_kernel "$SUITE" "$WORK/tree"
    add_test_unit "$WORK/tree"
    prepare_boot "$WORK/tree"
    os_layout "$WORK/tree"
    remark "$(find "$WORK/tree" -type f | wc -l) files, $(du -sh --apparent-size "$WORK/tree" | cut -f1), in a bare repository"
    mkdir "$WORK/disk"
    run ostree admin init-fs --modern "$WORK/disk"
    run ostree commit --repo="$WORK/disk/ostree/repo" --branch="$BRANCH" --tree=dir="$WORK/tree"
}

# The owner's part: a key, a policy, our files, an initramfs that holds them.
prepare_boot() {
    local tree=$1
    run "$SEAL" keygen --name=example.com/demo-2026 "$WORK/release"
    tests/tools/install.sh "$SEAL" "$SEAL_ROOT" "$tree" /usr
    install -D -m 644 "$WORK/release.vkey" "$tree/usr/lib/ostree-seal/trusted.d/release.vkey"
    printf '[seal]\nmode = sealed\nproduct = example.com/demo\nminimum-index = 1\non-refusal = reboot\n' >"$tree/usr/lib/ostree-seal/policy.conf"
    remark "its initramfs (dracut) gets ostree-seal-root, this key and this policy:"
    shown <"$tree/usr/lib/ostree-seal/policy.conf"
    os_initramfs "$tree" ostree-seal
}

convert() {
    local began=$EPOCHREALTIME ended entries
    heading "convert: the commit becomes an image of its metadata"
    run "$SEAL" convert --repo="$WORK/disk/ostree/repo" "$BRANCH" "$WORK/os.cfs"
    ended=$EPOCHREALTIME
    entries=$("$SEAL" dump "$WORK/os.cfs" | wc -l)
    remark "$entries entries, image $(stat -c %s "$WORK/os.cfs") bytes, in $(((${ended/./} - ${began/./}) / 1000)) ms;" \
        "the contents stay in the repository"
    heading "the digest, computed again by another program"
    run fsverity digest --compact "$WORK/os.cfs"
}

# Runs in a mount namespace of its own, which takes the mounts with it when it ends.
mount_and_read() {
    local file=usr/bin/dpkg objects=$WORK/disk/ostree/repo/objects object
    if ! can_mount; then
        remark "not mounted: that takes EROFS and overlayfs with data-only layers (Linux 6.5), and this is $(uname -r)"
        return
    fi
    mkdir "$WORK/meta" "$WORK/root"
    heading "the image as a root file system: EROFS for the names, overlayfs for the contents"
    run mount -t erofs -o ro "$WORK/os.cfs" "$WORK/meta"
    run mount -t overlay overlay -o "ro,metacopy=on,redirect_dir=on,lowerdir=$WORK/meta::$objects" "$WORK/root"
    remark "here without verity=require: that takes fs-verity on the objects, which this machine may lack"
    heading "one file, read through the mount, and the object that it comes from"
    run ls -l "$WORK/root/$file"
    object=$("$SEAL" dump "$WORK/os.cfs" | awk -v path="/$file" '$1 == path { print $9 }')
    run sha256sum "$WORK/root/$file" "$objects/$object"
    cmp "$WORK/root/$file" "$objects/$object" || die "$file differs from its object $object"
    remark "the same bytes, and the whole tree: $(find "$WORK/root" -xdev | wc -l) names"
    compare_trees
}

can_mount() {
    modprobe -q -a erofs overlay 2>/dev/null || true # either may be built in
    grep -q erofs /proc/filesystems && grep -q overlay /proc/filesystems &&
        printf '6.5\n%s\n' "$(uname -r)" | sort --check=quiet --version-sort
}

# Each name, type, mode, owner, size, link target and content, through the mount and as committed.
compare_trees() {
    local differences
    differences=$(diff <(describe "$WORK/tree") <(describe "$WORK/root") | head -n 5)
    [ -z "$differences" ] || die "the mounted tree differs from the committed one: $differences"
    remark "names, types, modes, owners, sizes, links and contents equal the committed tree"
}

describe() {
    (
        cd "$1"
        find . -mindepth 1 \( -type d -printf '%p d %m %U:%G\n' -o -type l -printf '%p l %U:%G %l\n' -o -printf '%p f %m %U:%G %s\n' \) | LC_ALL=C sort
        find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
    ) | grep -v '^\./etc d ' # an image always has /etc, where a deployment mounts its own
}

seal() {
    heading "seal: the digest is signed, for a product and with an index"
    run "$SEAL" sign --repo="$WORK/disk/ostree/repo" "$BRANCH" --key="$WORK/release.key" --product=example.com/demo --index=1 --note="$WORK/os.note"
    shown <"$WORK/os.note"
}

deploy() {
    heading "deploy: into the layout of a disk; fs-verity comes later"
    run ostree admin os-init --sysroot="$WORK/disk" "$OSNAME"
    run ostree config --repo="$WORK/disk/ostree/repo" set sysroot.bootloader none
    run ostree admin deploy --sysroot="$WORK/disk" --os="$OSNAME" --karg=root=LABEL=sysroot --karg=rw --karg=console=ttyS0 "$BRANCH"
    run "$SEAL" deploy --sysroot="$WORK/disk" --defer-verity
}

# Nothing of it takes more rights than an ordinary container has, or a kernel with fs-verity: docs/ci.md.
make_image() {
    heading "a disk image, and fs-verity switched on inside it: no mount, no loop device, no virtual machine"
    run mke2fs -q -t ext4 -b 4096 -E root_owner=0:0 -L sysroot -d "$WORK/disk" "$WORK/disk.img" 2G
    run "$SEAL" verity "$WORK/disk.img"
    run e2fsck -fn "$WORK/disk.img"
}

# boot NAME: boots the disk; what the booted system shows is in NAME.results, its console in NAME.console.
boot() {
    mkdir -p "$WORK/script"
    cp tests/demo/booted.sh "$WORK/script/guest.sh"
    boot_debian "$WORK/disk.img" "$WORK/$1.results" "$WORK/$1.console" "$WORK/script"
}

console_and_die() {
    tail -n 30 "$WORK/$1.console" | tr -d '\r' >&2
    die "$2"
}

boot_sealed() {
    heading "boot: the initramfs checks, then mounts; the system, seen from inside (emulated: about a minute)"
    boot sealed
    grep -v '^\(kernel\|end\) ' "$WORK/sealed.results" | shown
    grep -q -x 'end 0' "$WORK/sealed.results" || console_and_die sealed "the system did not boot sealed"
    remark "the root is sealed, signed by the key that the initramfs trusts"
}

boot_flipped() {
    local image sentence
    image=$(cd "$WORK/disk" && ls ostree/deploy/*/deploy/*.0/.ostree.cfs)
    heading "boot again, after one bit of the image was flipped on the disk"
    flip_on_disk "$WORK/disk.img" "/$image"
    VM_TIMEOUT=900 boot flipped
    if [ -s "$WORK/flipped.results" ]; then
        shown <"$WORK/flipped.results"
        die "the system booted although its image was changed"
    fi
    sentence=$(tr -d '\r' <"$WORK/flipped.console" | grep -o "ostree-seal-root: root refused: .*" | head -n 1) ||
        console_and_die flipped "the system did not boot, and no sentence on its console says why"
    printf '     %s\n' "$sentence"
    remark "refused, and nothing of it was mounted; the machine would start again now, and gave nobody a shell"
}

if [ "${1:-}" = mount ]; then
    WORK=$2
    mount_and_read
    exit
fi

need_root "the demo (it makes a Debian root, and mounts)"
need_own_mounts "the demo"
if [ "${1:-}" = ready ]; then exit; fi
need_programs ostree fsverity unshare qemu-system-x86_64 busybox cpio debugfs modprobe xz
mkdir -p "$CACHE"
WORK=$(mktemp -d -p "$CACHE" demo.XXXXXX)
trap 'chattr -R -f -i "$WORK/disk/ostree/deploy" || true; rm -rf --one-file-system "$WORK"' EXIT
tests/vm/kernels.sh "$SUITE"
make_commit
convert
unshare --mount --propagation private "$0" mount "$WORK"
seal
deploy
make_image
boot_sealed
boot_flipped
heading "that was all of it"
