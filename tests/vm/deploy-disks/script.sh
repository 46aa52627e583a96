#!/bin/sh
# In the guest: `unusable` for file systems that won't do, `bad` with the sector that can't be read, then `good` without.

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

case $(cat "$TEST/part") in
unusable)
    while read -r module; do insmod "$TEST/modules/$module"; done <"$TEST/modules/order"
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
esac
