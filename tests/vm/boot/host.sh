#!/bin/bash
# A small OS in two releases, deployed by Debian sid's ostree, and notes for them: good ones and each kind of bad one. The
# notes are made with openssl from C2SP's specification, not with our own code.

set -euo pipefail
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/vm/notes.sh
. "$(dirname "$0")/../notes.sh"
ORACLE=$CACHE/oracle-sid
[ -d "$ORACLE/usr/bin" ] || die "there is no $ORACLE: run 'make oracle'"

# A release: 300 files, so that the image has several blocks of inodes and of directory entries, and one extended attribute.
make_tree() {
    local tree=$1 release=$2 number
    mkdir -p "$tree"/{var,sysroot,boot,proc,dev,sys,run} "$tree"/usr/{bin,etc,lib/ostree,lib/modules/6.12,share/many}
    ln -s usr/bin usr/lib "$tree"
    ln -s sysroot/ostree "$tree/ostree"
    printf 'NAME=Small\nID=small\nVERSION=%s\n' "$release" >"$tree/usr/lib/os-release"
    echo kernel >"$tree/usr/lib/modules/6.12/vmlinuz"
    printf '[composefs]\nenabled=verity\n' >"$tree/usr/lib/ostree/prepare-root.conf"
    echo "GENUINE $release" >"$tree/usr/bin/victim"
    echo "another GENUINE $release" >"$tree/usr/bin/other"
    echo "local settings" >"$tree/usr/etc/settings"
    : >"$tree/usr/share/empty"
    "$VM_HELPER" setxattr user.genuine "release $release" "$tree/usr/bin/victim"
    for ((number = 0; number < 300; number++)); do echo "$release $number" >"$tree/usr/share/many/file-$number"; done
}

# detached COMMIT KEY: prints a commit's detached metadata, the GVariant {'ostree.sign.ed25519': <[signature]>}.
detached() {
    openssl pkeyutl -sign -rawin -inkey "$WORK/keys/$2.pem" -in "$DISK/ostree/repo/objects/${1:0:2}/${1:2}.commit" -out "$WORK/signature"
    # The key with padding to 8; the signature and where it ends; the type; where the key ends; where the entry ends.
    printf 'ostree.sign.ed25519\0\0\0\0\0'
    cat "$WORK/signature"
    printf '\x40\0aay\x14\x5e'
}

in_oracle() { chroot "$ORACLE" "$@"; }

# Runs in a mount namespace of its own, so that nothing stays mounted in the oracle.
deploy() {
    mkdir -p "$ORACLE/mnt"
    mount --bind "$WORK" "$ORACLE/mnt"
    mount -t proc proc "$ORACLE/proc"
    in_oracle ostree admin init-fs --modern /mnt/disk
    in_oracle ostree admin os-init --sysroot=/mnt/disk small
    in_oracle ostree --repo=/mnt/disk/ostree/repo config set sysroot.bootloader none
    for release in 41 42; do
        make_tree "$WORK/tree-$release" "$release"
        in_oracle ostree --repo=/mnt/disk/ostree/repo commit --branch=small --owner-uid=0 --owner-gid=0 \
            --generate-composefs-metadata --add-metadata-string=ostree-seal.product=example.com/small \
            --add-metadata="ostree-seal.index=uint64 $release" "/mnt/tree-$release" >"$WORK/commit-$release"
        in_oracle ostree admin deploy --sysroot=/mnt/disk --os=small small
    done
}
export -f deploy in_oracle make_tree
export ORACLE WORK VM_HELPER
unshare --mount bash -euo pipefail -c deploy
chattr -i "$DISK"/ostree/deploy/small/deploy/*.0

key example.com/release
key example.com/second
key example.com/revoked
key example.com/stranger
cp "$WORK/keys"/*.vkey "$GUEST"
mkdir "$GUEST/notes"
for release in 41 42; do
    commit=$(cat "$WORK/commit-$release")
    digest=$(fsverity digest --compact "$DISK/ostree/deploy/small/deploy/$commit.0/.ostree.cfs" | cut -d: -f2)
    seal_note "$digest" "$release" "$commit" release >"$GUEST/notes/$release"
    printf 'commit_%s=%s\ndigest_%s=%s\n' "$release" "$commit" "$release" "$digest" >>"$GUEST/names"
done
# shellcheck source=/dev/null
. "$GUEST/names"
: "${commit_41:?} ${commit_42:?} ${digest_42:?}"
good=("$digest_42" 42 "$commit_42")
seal_note "${good[@]}" revoked >"$GUEST/notes/revoked"
seal_note "${good[@]}" stranger >"$GUEST/notes/stranger"
seal_note "${good[@]}" stranger revoked release second >"$GUEST/notes/many-keys"
sed 's/^index 42$/index 43/' "$GUEST/notes/42" >"$GUEST/notes/edited"
seal_note "${digest_42}" 42 "$commit_41" release >"$GUEST/notes/other-commit"
seal_note "${digest_42:0:63}" 42 "$commit_42" release >"$GUEST/notes/short-digest"
mkdir "$GUEST/detached"
for key in release stranger revoked; do detached "$commit_42" "$key" >"$GUEST/detached/$key"; done
detached "$commit_41" release >"$GUEST/detached/old"

# Where in the image the parts are that get a flipped bit.
image=$DISK/ostree/deploy/small/deploy/$commit_42.0/.ostree.cfs
offset() { grep -abo "$1" "$image" | head -n 1 | cut -d: -f1; }
{
    printf 'flips="header:4 header_flags:8 padding:512 superblock:1038 inode:1156 directory:%s xattr:%s last_byte:%s"\n' \
        "$(offset file-250)" "$(offset genuine)" "$(($(stat -c %s "$image") - 1))"
    sed -n 's|.* ostree=/\(.*\)|target=/\1|p' "$DISK/boot/loader/entries/ostree-2.conf"
} >>"$GUEST/names"
cp "$SEAL_ROOT" "$VM_HELPER" "$GUEST"
add_closure / "$(command -v strace)" "$GUEST/strace"
add_closure / "$(command -v fsverity)" "$GUEST/strace"
printf 'DISK_SIZE=64M\nVM_TIMEOUT=900\nVM_TPM=yes\n' >"$WORK/settings"
