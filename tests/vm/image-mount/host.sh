#!/bin/bash
# A repository, the image that `convert` makes of a commit, and what user space says of both.

set -euo pipefail
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/../lib.sh"
: "${WORK:?} ${DISK:?} ${GUEST:?} ${SEAL:?} ${VM_HELPER:?}" # set by tests/vm/run.sh

tree=$WORK/tree
mkdir -p "$tree/usr/bin" "$tree/usr/lib/a b"
for size in 0 1 4095 4096 4097 524288 524289 3000000; do
    openssl enc -aes-128-ctr -nosalt -pass "pass:$size" -in /dev/zero 2>/dev/null | head -c "$size" >"$tree/usr/lib/$size" || true
done
cp "$tree/usr/lib/4097" "$tree/usr/lib/a b/copy"
ln -s ../lib/4096 "$tree/usr/bin/link"
install -m 4755 /dev/null "$tree/usr/bin/setuid"
for name in flipped replaced forged removed stripped; do echo "the content of $name" >"$tree/usr/bin/$name"; done

ostree init --repo="$DISK/repo" --mode=bare
ostree commit --repo="$DISK/repo" --branch=main --tree=dir="$tree" >/dev/null
"$SEAL" convert --repo="$DISK/repo" main "$DISK/image" >"$GUEST/image-digest"
(cd "$tree" && find . -type f -print0 | xargs -0 sha256sum) >"$GUEST/contents"

# The digest of each object, as the image has it; the names of those that the guest will damage.
"$SEAL" dump "$DISK/image" | awk '$9 ~ /\.file$/ && $10 != "-" { print $10 "  repo/objects/" $9 }' | sort -u >"$GUEST/digests"
object_of() { "$SEAL" dump "$DISK/image" | awk -v path="/usr/bin/$1" '$1 == path { print "repo/objects/" $9 }'; }
for name in flipped replaced forged removed stripped; do object_of "$name" >"$GUEST/object-$name"; done

make_disk "$WORK/disk.img" 128M "$DISK"
debugfs -R "bmap /$(cat "$GUEST/object-flipped") 0" "$WORK/disk.img" 2>/dev/null >"$GUEST/block-flipped"
cp "$VM_HELPER" "$GUEST/vm-helper"
