#!/bin/sh
# One method of enabling fs-verity, timed.

# shellcheck source=tests/vm/guest/lib.sh
. /lib.sh

cp -r "$TEST/root/." /
PATH=$PATH:/usr/bin:/usr/sbin:/sbin
seal=$TEST/ostree-seal
method=$(cat "$TEST/method")

uptime() { cut -d' ' -f1 /proc/uptime; }

# timed WHAT COMMAND...: its time on the result channel, its output on the console.
timed() {
    what=$1
    shift
    from=$(uptime)
    "$@" >/tmp/output 2>&1 || not_ok "$method-$what" "$(tail -n 3 /tmp/output | tr '\n' ' ')"
    echo "time $what $(echo "$from $(uptime)" | awk '{ print $2 - $1 }')"
    cat /tmp/output >&2
}

# Every request to this disk takes 4 ms longer, reading and writing.
slow_disk() {
    umount /sysroot
    while read -r module; do insmod "$TEST/modules/$module"; done <"$TEST/modules/order"
    mkdir -p /dev/mapper
    sectors=$(cat /sys/class/block/"$(basename "$(readlink -f /dev/disk/sysroot)")"/size)
    echo "0 $sectors delay /dev/disk/sysroot 0 4" | dmsetup create slow >&2
    dmsetup mknodes >&2
    mount -t ext4 /dev/mapper/slow /sysroot || exit 1
}

objects() { (cd /sysroot/ostree/repo/objects && find . -name '*.file' -type f); }

case $method in *-slow-disk) slow_disk ;; esac
case $method in
ours)
    # Deployment 1 is the older one.
    timed first "$seal" deploy --sysroot=/sysroot 1
    echo 3 >/proc/sys/vm/drop_caches
    timed idle-cold "$seal" deploy --sysroot=/sysroot 1
    timed idle "$seal" deploy --sysroot=/sysroot 1
    timed one-percent-new "$seal" deploy --sysroot=/sysroot 0
    ;;
ours-slow-disk)
    timed first "$seal" deploy --sysroot=/sysroot 1
    timed idle "$seal" deploy --sysroot=/sysroot 1
    ;;
serial | serial-slow-disk)
    objects >/tmp/objects
    cd /sysroot/ostree/repo/objects || exit 1
    timed all sh -c "$TEST/vm-helper enable </tmp/objects && sync"
    ;;
post-copy)
    mkdir -p "$TEST/sid/sysroot" "$TEST/sid/proc" "$TEST/sid/tmp"
    mount --bind /sysroot "$TEST/sid/sysroot"
    mount -t proc proc "$TEST/sid/proc"
    timed all sh -c "chroot $TEST/sid /usr/bin/ostree admin post-copy --sysroot=/sysroot && sync"
    ;;
each-file)
    cd /sysroot/ostree/repo/objects || exit 1
    objects | head -n 200 >/tmp/objects
    # shellcheck disable=SC2016 # the inner shell expands it
    timed 200-files sh -c 'while read -r file; do fsverity enable "$file" || exit 1; done </tmp/objects'
    ;;
esac
