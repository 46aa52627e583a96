#!/bin/sh
# In the guest: `unusable` for file systems that won't do, `bad` with the sector that can't be read, then `good` without; `btrfs`,
# where the power fails right after the run, then `btrfs-booted`.

# shellcheck source=tests/vm/guest/lib.sh
. /lib.sh

cp -r "$TEST/root/." /
seal=$TEST/ostree-seal
directory=ostree/deploy/test/deploy/$(cat "$TEST/commit").0
object=$(cat "$TEST/object")

# What there is of ours below a sysroot, and what a run that was refused at once must not touch.
ours() { (cd "$1/$directory" && find . -maxdepth 1 -name '.ostree*' | sort | tr '\n' ' '); }
everything() { (cd "$1" && find . -type f -exec stat -c '%n %i %s %Y %Z' {} + | sort | md5sum); }

# refused_at_once NAME SYSROOT WORDS...: exit code 1, one line with these words, and nothing has changed.
refused_at_once() {
    what=$1 sysroot=$2
    shift 2
    before=$(everything "$sysroot")
    "$seal" deploy --sysroot="$sysroot" >/tmp/output 2>&1
    same "$what/it_is_no_refusal" 1 $?
    note "$(cat /tmp/output)"
    same "$what/one_line_says_so" 1 "$(wc -l </tmp/output)"
    for words in "$@"; do succeeds "$what/$(echo "$words" | tr -c 'a-zA-Z0-9\n' _)" grep -F -e "$words" /tmp/output; done
    same "$what/nothing_was_changed" "$before" "$(everything "$sysroot")"
}

# copy_to DIRECTORY
copy_to() { (cd /sysroot && cp -a . "$1"); }

load_modules() { while read -r module; do insmod "$TEST/modules/$module"; done <"$TEST/modules/order"; }

signed() { sed -n 's/^image fsverity-sha256-4096 //p' "$1/.ostree.seal"; }
measured() { "$TEST/vm-helper" measure "$1/.ostree.cfs" | cut -d' ' -f1; }

case $(cat "$TEST/part") in
unusable)
    load_modules
    for kind in xfs ext4 tmpfs; do
        mkdir -p /mnt/$kind
        if [ $kind = tmpfs ]; then mount -t tmpfs tmpfs /mnt/tmpfs; else mount -t $kind /dev/disk/$kind /mnt/$kind; fi
        copy_to /mnt/$kind
    done
    device=$(awk '$2 == "/mnt/ext4" { print $1 }' /proc/mounts)
    refused_at_once xfs /mnt/xfs "/mnt/xfs (xfs on" "has no fs-verity" "mkfs.ext4 -b 4096 -O verity"
    refused_at_once tmpfs /mnt/tmpfs "/mnt/tmpfs (tmpfs on" "has no fs-verity"
    refused_at_once ext4 /mnt/ext4 "lacks the feature \`verity\`" "tune2fs -O verity $device"

    mount -o remount,ro /sysroot
    refused_at_once read_only /sysroot "Read-only file system" "mount -o remount,rw"
    mount -o remount,rw /sysroot

    dd if=/dev/zero of=/sysroot/filler bs=1M >/dev/null 2>&1
    sync
    "$seal" deploy --sysroot=/sysroot >/tmp/output 2>&1
    same full/it_is_no_refusal 1 $?
    note "$(cat /tmp/output)"
    succeeds full/one_line_says_so grep -F -e "free some space and run the command again" /tmp/output
    same full/nothing_is_in_the_deployment "" "$(ours /sysroot)"
    rm /sysroot/filler
    succeeds full/the_next_run_completes "$seal" deploy --sysroot=/sysroot
    same full/image_and_note_are_in_the_deployment "./.ostree.cfs ./.ostree.seal " "$(ours /sysroot)"
    mount -o remount,ro /sysroot
    succeeds read_only/status_needs_no_writable_disk sh -c "$seal status --sysroot=/sysroot | grep 'boots sealed'"
    ;;
bad)
    fails the_object_cannot_be_read "Input/output error" sh -c "cat /sysroot/ostree/repo/objects/$object >/dev/null"
    fails the_object_is_named "$object" "$seal" deploy --sysroot=/sysroot
    note "$("$seal" deploy --sysroot=/sysroot 2>&1)"
    "$seal" deploy --sysroot=/sysroot >/dev/null 2>&1
    same it_is_no_refusal 1 $?
    same nothing_is_in_the_deployment "" "$(ours /sysroot)"
    ;;
good)
    succeeds the_next_run_completes "$seal" deploy --sysroot=/sysroot
    same image_and_note_are_in_the_deployment "./.ostree.cfs ./.ostree.seal " "$(ours /sysroot)"
    succeeds verify_agrees "$seal" verify --trust="/sysroot/$directory/usr/lib/ostree-seal" --deployment="/sysroot/$directory"
    ;;
btrfs)
    load_modules
    for disk in made kept; do
        mkdir -p /mnt/$disk
        mount -t btrfs -o commit=300 /dev/disk/$disk /mnt/$disk
        copy_to /mnt/$disk
    done
    rm "/mnt/made/$directory/.ostree.cfs" "/mnt/made/$directory/.ostree.seal"
    sync
    succeeds made/deploy_seals_it sh -c "$seal deploy --sysroot=/mnt/made | grep 'image written'"
    succeeds kept/deploy_seals_it sh -c "$seal deploy --sysroot=/mnt/kept | grep 'image kept'"
    # What is not on the disk by now is lost.
    echo "end 0"
    sleep 1
    reboot -n -f
    ;;
btrfs-booted)
    load_modules
    for disk in made kept; do
        mkdir -p /mnt/$disk
        mount -t btrfs /dev/disk/$disk /mnt/$disk
        same $disk/image_and_note_have_outlived_the_power_cut "./.ostree.cfs ./.ostree.seal " "$(ours /mnt/$disk)"
        same $disk/the_image_has_verity_and_the_signed_digest "$(signed /mnt/$disk/"$directory")" "$(measured /mnt/$disk/"$directory")"
        succeeds $disk/status_says_sealed sh -c "$seal status --sysroot=/mnt/$disk | grep 'next boot: deployment 0 boots sealed'"
        succeeds $disk/a_second_run_finds_nothing_to_do \
            sh -c "$seal deploy --sysroot=/mnt/$disk | grep 'image kept, fs-verity enabled on 0 objects'"
    done
    mkdir -p /usr/lib
    cp -r "/mnt/made/$directory/usr/lib/ostree-seal" /usr/lib/
    cp "/mnt/made/ostree/repo/objects/$object" /tmp/content
    sed -n 's/^options //p' /mnt/made/boot/loader/entries/*.conf >/tmp/cmdline
    mount --bind /tmp/cmdline /proc/cmdline
    umount /mnt/made
    mount -t btrfs /dev/disk/made /sysroot
    succeeds the_initramfs_boots_it /usr/lib/ostree-seal/ostree-seal-root
    succeeds state_says_sealed grep '"mode":"sealed"' /run/ostree-seal/state.json
    succeeds the_root_insists_on_verity grep ' /sysroot overlay .*verity=require' /proc/mounts
    succeeds contents_can_be_read cmp /sysroot/usr/bin/large-20 /tmp/content
    ;;
esac
