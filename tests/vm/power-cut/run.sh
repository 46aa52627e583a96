#!/bin/bash
# The power fails at random moments of an update, with a disk that has a write-back cache: one update is recorded, write by
# write and flush by flush, and OSTREE_SEAL_VM_CUTS (16) disks are made from it as a power cut may leave them. Each is then
# booted: either version must come up sealed, and the update must go through. OSTREE_SEAL_VM_SEED chooses other cuts; without it
# each kernel has its own.

set -euo pipefail
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/vm/debian.sh
. "$(dirname "$0")/../debian.sh"
# shellcheck source=tests/vm/seal.sh
. "$(dirname "$0")/../seal.sh"
: "${SUITE:?} ${WORK:?} ${VM_HELPER:?} ${SEAL:?} ${SEAL_ROOT:?}" # set by tests/vm/run.sh
CUTS=${OSTREE_SEAL_VM_CUTS:-16}
SEED=${OSTREE_SEAL_VM_SEED:-$([ "$SUITE" = trixie ] && echo 1 || echo 2)}
AT_ONCE=8 # disks in one guest

# A system as small as one that updates itself can be: busybox, sid's ostree and ours.
make_tree() {
    local tree=$1 program
    mkdir -p "$tree"/{var,sysroot,boot,proc,dev,sys,run,tmp,mnt} "$tree"/usr/{bin,sbin,etc,lib,lib64,lib/modules/6.12}
    ln -s usr/bin usr/sbin usr/lib usr/lib64 "$tree"
    ln -s sysroot/ostree "$tree/ostree"
    printf 'NAME=Small\nID=small\n' >"$tree/usr/lib/os-release"
    echo kernel >"$tree/usr/lib/modules/6.12/vmlinuz"
    sealed_policy "$tree/usr/lib/ostree-seal"
    for program in /usr/bin/ostree /usr/lib/x86_64-linux-gnu/libgcc_s.so.1; do add_closure "$CACHE/$ROOT" "$program" "$tree"; done
    install -m 755 "$(command -v busybox)" "$SEAL" "$tree/usr/bin"
    for program in sh cat find sync wc; do ln -s busybox "$tree/usr/bin/$program"; done
    # Staging wants to start a unit; here the script does what the unit would.
    printf '#!/bin/sh\n' >"$tree/usr/bin/systemctl"
    chmod 755 "$tree/usr/bin/systemctl"
    install -m 755 "$VM/power-cut/update.sh" "$tree/usr/bin/update"
}

# guest NAME [QEMU ARGS...]: boots with $WORK/guest as the test, and the disks.
guest() {
    local name=$1
    shift
    make_initramfs "$SUITE" "$WORK/initramfs" "$WORK/guest"
    VM_TIMEOUT=900 run_guest "$SUITE" "$WORK/initramfs" "$WORK/$name.results" "$WORK/$name.console" "$@" || say "QEMU: exit code $?"
    show_results "$WORK/$name.results" | tee -a "$WORK/all"
}

# The update, on a disk that QEMU logs.
record() {
    local logged=driver=blklogwrites,node-name=logged,log-sector-size=512,log-super-update-interval=1
    : >"$WORK/log.img"
    cp --sparse=always "$WORK/disk.img" "$WORK/updated.img"
    echo record >"$WORK/guest/mode"
    QEMU_DISKS=()
    scratch_disk "$WORK/updates.img" updates
    guest record "${QEMU_DISKS[@]}" -blockdev driver=file,node-name=disk,filename="$WORK/updated.img" \
        -blockdev driver=file,node-name=log,filename="$WORK/log.img" \
        -blockdev "$logged,file=disk,log=log" -device virtio-blk-pci,drive=logged,serial=disk,write-cache=on
}

# check_cuts FIRST COUNT: cuts the power and lets a guest look at what is left.
check_cuts() {
    local first=$1 count=$2 seed where
    echo check >"$WORK/guest/mode"
    : >"$WORK/guest/cuts"
    QEMU_DISKS=()
    scratch_disk "$WORK/updates.img" updates
    for ((seed = first; seed < first + count; seed++)); do
        cp --sparse=always "$WORK/disk.img" "$WORK/cut-$seed.img"
        where=$("$VM_HELPER" replay "$WORK/log.img" "$WORK/cut-$seed.img" "$seed" $((seed - SEED * 1000)) "$CUTS")
        echo "$seed $where" >>"$WORK/guest/cuts"
        disk "$WORK/cut-$seed.img" "cut$seed"
    done
    guest "check-$first" "${QEMU_DISKS[@]}"
    rm -f "$WORK"/cut-*.img
}

debian_root >&2
make_tree "$WORK/tree"
debian_sysroot "$WORK/sysroot" >&2
repo=$WORK/sysroot/ostree/repo
debian_commit "$WORK/sysroot" "$WORK/tree" --add-metadata-string=version=1 >&2
sign "$repo" "$BRANCH" 1 >&2
debian_deploy "$WORK/sysroot" >&2
"$SEAL" deploy --sysroot="$WORK/sysroot" --defer-verity >&2
chattr -R -f -i "$WORK/sysroot/ostree/deploy" || true
updates_repo "$WORK/sysroot" >&2
update "$WORK/sysroot/updates" test/new 2 >&2
sign "$WORK/sysroot/updates" test/new 2 >&2
mkdir "$WORK/updates"
mv "$WORK/sysroot/updates" "$WORK/updates/repo"
make_disk "$WORK/updates.img" 400M "$WORK/updates" >&2
make_disk "$WORK/disk.img" 400M "$WORK/sysroot" >&2
debian_enable_verity "$SUITE" "$WORK/disk.img"

mkdir "$WORK/guest"
cp "$SEAL_ROOT" "$VM_HELPER" "$WORK/guest/"
cp "$VM/power-cut/look.sh" "$WORK/guest/guest.sh"
cp -r "$WORK/tree/usr/lib/ostree-seal" "$WORK/guest/policy"
for version in 1 2; do
    ref=$([ $version = 1 ] && echo "$BRANCH" || echo test/new)
    "$SEAL" digest --repo="$WORK/updates/repo" "$ref" >"$WORK/guest/image-$version"
    cp "$WORK/note-$version" "$WORK/guest/"
    ostree rev-parse --repo="$WORK/updates/repo" "$ref" >"$WORK/guest/commit-$version"
done

record
for ((first = 0; first < CUTS; first += AT_ONCE)); do
    check_cuts $((SEED * 1000 + first)) $((CUTS - first < AT_ONCE ? CUTS - first : AT_ONCE))
done

# cuts_with VERSION: after how many of them this version booted.
cuts_with() { grep -c "^# cut .*: version $1 boots$" "$WORK/all" || true; }

# The first cut is before the moment at which the new version becomes the default, the last one after it: what is recorded
# ends with a boot of the new version. Few cuts may all be on one side.
all_cuts() {
    local old new claim=every_cut_boots_a_version
    old=$(cuts_with 1) new=$(cuts_with 2)
    echo "# $CUTS power cuts: $old boot the old version, $new the new one, $((CUTS - old - new)) neither"
    [ "$CUTS" -lt 16 ] || claim=every_cut_boots_a_version_and_both_were_seen
    if [ $((old + new)) != "$CUTS" ]; then
        echo "not ok $claim: $((CUTS - old - new)) of $CUTS cuts boot neither"
    elif [ "$CUTS" -ge 16 ] && { [ "$old" = 0 ] || [ "$new" = 0 ]; }; then
        echo "not ok $claim: $old cuts boot the old version and $new the new one"
    else
        echo "ok $claim"
    fi
}
all_cuts
