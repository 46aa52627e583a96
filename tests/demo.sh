#!/bin/bash
# The whole way once, on real data: a Debian system is committed, converted, mounted. `make demo` builds and runs this.

# shellcheck source=tests/tools/common.sh
. "$(dirname "$0")/tools/common.sh"
# shellcheck source=tests/tools/os.sh
. "$(dirname "$0")/tools/os.sh"
cd "$(dirname "$0")/.."

SEAL=${SEAL:-$(realpath "${CARGO_TARGET_DIR:-target}/release/ostree-seal")}
BRANCH=demo/os

heading() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
remark() { printf '   %s\n' "$*"; }

# Shows a command as one would type it, then runs it.
run() {
    local text="${*//$WORK\//}"
    printf '   $ %s\n' "${text//$SEAL/ostree-seal}"
    "$@" | sed "s|$WORK/||g; s/^/     /"
}

make_commit() {
    heading "An OSTree commit: Debian trixie, $(uname -m)"
    os_root demo-trixie trixie ,python3,procps,iproute2
    os_copy demo-trixie "$WORK/tree"
    os_layout "$WORK/tree"
    remark "$(find "$WORK/tree" -type f | wc -l) files, $(du -sh --apparent-size "$WORK/tree" | cut -f1), in a bare repository"
    run ostree init --repo="$WORK/repo" --mode=bare
    run ostree commit --repo="$WORK/repo" --branch="$BRANCH" --tree=dir="$WORK/tree"
}

convert() {
    local began=$EPOCHREALTIME ended entries
    heading "convert: the commit becomes an image of its metadata"
    run "$SEAL" convert --repo="$WORK/repo" "$BRANCH" "$WORK/os.cfs"
    ended=$EPOCHREALTIME
    entries=$("$SEAL" dump "$WORK/os.cfs" | wc -l)
    remark "$entries entries, image $(stat -c %s "$WORK/os.cfs") bytes, in $(((${ended/./} - ${began/./}) / 1000)) ms;" \
        "the contents stay in the repository"
    heading "the digest, computed again by another program"
    run fsverity digest --compact "$WORK/os.cfs"
}

# Runs in a mount namespace of its own, which takes the mounts with it when it ends.
mount_and_read() {
    local file=usr/bin/dpkg object
    if ! can_mount; then
        remark "not mounted: that takes EROFS and overlayfs with data-only layers (Linux 6.5), and this is $(uname -r)"
        return
    fi
    mkdir "$WORK/meta" "$WORK/root"
    heading "the image as a root file system: EROFS for the names, overlayfs for the contents"
    run mount -t erofs -o ro "$WORK/os.cfs" "$WORK/meta"
    run mount -t overlay overlay -o "ro,metacopy=on,redirect_dir=on,lowerdir=$WORK/meta::$WORK/repo/objects" "$WORK/root"
    remark "without verity=require: that takes fs-verity on the objects, which an initramfs insists on, and this demo's host may lack"
    heading "one file, read through the mount, and the object that it comes from"
    run ls -l "$WORK/root/$file"
    object=$("$SEAL" dump "$WORK/os.cfs" | awk -v path="/$file" '$1 == path { print $9 }')
    run sha256sum "$WORK/root/$file" "$WORK/repo/objects/$object"
    cmp "$WORK/root/$file" "$WORK/repo/objects/$object" || die "$file differs from its object $object"
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

if [ "${1:-}" = mount ]; then
    WORK=$2
    mount_and_read
    exit
fi

need_root "the demo (it makes a Debian root, and mounts)"
need_programs ostree fsverity unshare
mkdir -p "$CACHE"
WORK=$(mktemp -d -p "$CACHE" demo.XXXXXX)
trap 'rm -rf --one-file-system "$WORK"' EXIT
make_commit
convert
unshare --mount --propagation private "$0" mount "$WORK"
