#!/bin/bash
# Files at every edge of the Merkle tree, and the digests that fsverity-utils computes for them in user space.

set -euo pipefail
block=4096 hashes=128 # hashes in a block: 4096 / 32
for size in 0 1 2 511 $((block - 1)) $block $((block + 1)) $((hashes * block - 1)) $((hashes * block)) \
    $((hashes * block + 1)) $((hashes * hashes * block)) $((hashes * hashes * block + 1)) 1000000; do
    # Real bytes, not a hole alone; what they are doesn't matter as long as each size gets its own.
    openssl enc -aes-128-ctr -nosalt -pass "pass:$size" -in /dev/zero 2>/dev/null | head -c "$size" >"$DISK/$size" || true
done
truncate -s 300000 "$DISK/hole"
(cd "$DISK" && fsverity digest --compact --block-size=4096 --hash-alg=sha256 ./*  >/dev/null)
(cd "$DISK" && for file in *; do printf '%s  %s\n' "$(fsverity digest --compact "$file" | cut -d: -f2)" "$file"; done) >"$GUEST/digests"
cp "$VM_HELPER" "$GUEST/vm-helper"
echo DISK_SIZE=300M >"$WORK/settings"
