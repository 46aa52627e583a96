#!/bin/sh
# shellcheck disable=SC2016 # what runs in another namespace or root is quoted
# `record` updates the disk called `disk`, which is being recorded. `check` looks at disks on which the power has failed.

# shellcheck source=tests/vm/guest/lib.sh
. /lib.sh

mkdir -p /updates /usr/lib
mount -t ext4 -o ro /dev/disk/updates /updates
cp -r policy /usr/lib/ostree-seal

# booted DISK COMMAND: boots the default entry of a disk, with our program, and runs COMMAND in its root. Output of both.
booted() {
    DEVICE=$1 COMMAND=$2 unshare -m sh -ec '
        mount -t tmpfs run /run
        mount -t ext4 "$DEVICE" /sysroot
        entry=$(ls /sysroot/boot/loader/entries/*.conf | sort -r -V | head -n 1)
        sed -n "s/^options //p" "$entry" >/tmp/cmdline
        mount --bind /tmp/cmdline /proc/cmdline
        /test/ostree-seal-root 2>&1
        grep -q "\"mode\":\"sealed\"" /run/ostree-seal/state.json
        for directory in dev proc sys run; do mount --bind /$directory /sysroot/$directory; done
        mount -t tmpfs tmp /sysroot/tmp
        mount --bind /sysroot/sysroot/boot /sysroot/boot
        mount --bind /sysroot/sysroot/ostree/deploy/debian/var /sysroot/var
        mount --bind /updates /sysroot/mnt
        chroot /sysroot /usr/bin/sh -ec "$COMMAND" 2>&1
    '
}

VERSION='cat /usr/share/update/version 2>/dev/null || echo 1'
READ_ALL='find / -xdev -type f -exec cat {} + >/dev/null'

# inspect DISK: what is there under a final name is whole. Prints what is not.
inspect() {
    DEVICE=$1 unshare -m sh -ec '
        mount -t ext4 "$DEVICE" /sysroot
        for version in 1 2; do
            directory=/sysroot/ostree/deploy/debian/deploy/$(cat commit-$version).0
            # libostree writes an image of its own, without fs-verity. Ours has fs-verity before it has the name, and the note
            # comes after it: an image with fs-verity is the signed one, and so is any image beside a note.
            note=$directory/.ostree.seal
            found=$(./vm-helper measure "$directory/.ostree.cfs" 2>/dev/null) || found=
            if [ -e "$note" ]; then cmp "$note" note-$version 2>&1 || true; fi
            if [ -e "$note" ] || [ -n "$found" ]; then
                [ "${found%% *}" = "$(cat image-$version)" ] || echo "image $version has the digest ${found:-of no fs-verity}"
            fi
        done
    '
}

# left DISK: temporary files of ours.
left() {
    DEVICE=$1 unshare -m sh -ec 'mount -t ext4 "$DEVICE" /sysroot && find /sysroot/ostree -name ".ostree-seal-*"'
}

record() {
    same the_disk_has_a_write_back_cache "write back" "$(cat "/sys/block/$(basename "$(readlink /dev/disk/disk)")/queue/write_cache")"
    succeeds the_update_is_recorded booted /dev/disk/disk update
    same the_update_boots 2 "$(booted /dev/disk/disk "$VERSION")"
}

# look SEED WHERE: one disk. One line says what was found. A boot is slow, so each does all that it can.
look() {
    device=/dev/disk/cut$1 cut=$1
    same "cut_$cut/nothing_half_has_its_final_name" "" "$(inspect "$device" 2>&1)"
    found=$(booted "$device" "$VERSION; $READ_ALL")
    case $found in
    1 | 2) ok "cut_$cut/boots_sealed_and_every_file_is_readable" ;;
    *) not_ok "cut_$cut/boots_sealed_and_every_file_is_readable" "$(echo "$found" | tr '\n' ' ')" ;;
    esac
    note "cut $cut: $2: version $found boots"
    [ "$found" = 2 ] || succeeds "cut_$cut/the_update_goes_through" booted "$device" update
    same "cut_$cut/the_update_boots_sealed_and_the_next_deploy_completes" 2 \
        "$(booted "$device" "$VERSION; ostree admin cleanup >/dev/null; ostree-seal deploy --all >/dev/null")"
    same "cut_$cut/no_temporary_file_is_left" "" "$(left "$device" 2>&1)"
}

case $(cat mode) in
record) record ;;
check)
    # What runs inside must not read the list.
    while read -r seed where; do look "$seed" "$where" </dev/null; done <cuts
    ;;
esac
