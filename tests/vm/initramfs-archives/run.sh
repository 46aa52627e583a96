#!/bin/bash
# What the kernel makes of the archives in tests/data/initramfs-archives.txt, to which a unit test holds our reader. All that
# it unpacks to their ends are in one guest's initramfs, one behind another; each that it stops in has a guest of its own.
# shellcheck disable=SC2153 # the runner sets WORK and SUITE

set -euo pipefail
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/../lib.sh"
table=$VM/../data/initramfs-archives.txt

# unpack NAME...: boots with the archives of these cases behind the least that a guest needs. Its results are in $WORK/results.
unpack() {
    local size
    cp "$WORK/base.cpio" "$WORK/initramfs"
    "$VM_HELPER" archives "$table" "$@" >>"$WORK/initramfs"
    # A guest that is not up in time says nothing about its archive, so it is started once more, and that is told.
    for VM_TIMEOUT in 150 300; do
        run_guest "$SUITE" "$WORK/initramfs" "$WORK/results" "$WORK/console" >&2 || true
        if grep -q -x 'end 0' "$WORK/results"; then break; fi
        echo "# no end within $VM_TIMEOUT s: $*"
    done
    size=$(stat -c %s "$WORK/initramfs")
    grep -q -x 'end 0' "$WORK/results" || echo "not ok end: no end with an initramfs of $size bytes: $*"
}

# judge NAME: the guest's tree and words are those of the table.
judge() {
    local name=$1 expected found
    expected=$("$VM_HELPER" expected "$table" "$SUITE" "$name")
    found=$(grep -e "^t/${name}[ /]" -e '^says ' "$WORK/results" || true)
    if [ "$expected" = "$found" ]; then
        echo "ok $name"
    else
        echo "not ok $name: see below"
        diff <(printf '%s\n' "$expected") <(printf '%s\n' "$found") | sed 's/^/# /' || true
    fi
}

root=$WORK/root
mkdir -p "$root"/{bin,dev,proc,t}
cp "$(command -v busybox)" "$VM_HELPER" "$root/bin"
install -m 755 "$VM/initramfs-archives/init" "$root/init"
(cd "$root" && find . -print0 | cpio --null --create --format=newc --owner=0:0 --quiet) >"$WORK/base.cpio"

"$VM_HELPER" archives "$table" >"$WORK/cases"
mapfile -t together < <(sed -n 's/^\([^ ]*\)$/\1/p' "$WORK/cases")
mapfile -t alone < <(sed -n 's/ alone$//p' "$WORK/cases")
unpack "${together[@]}"
grep '^kernel ' "$WORK/results" || true
for name in "${together[@]}"; do judge "$name"; done
for name in "${alone[@]}"; do
    unpack "$name"
    judge "$name"
done
