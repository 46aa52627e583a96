#!/bin/sh
# One method of enabling fs-verity, timed.

# shellcheck source=tests/vm/guest/lib.sh
. /lib.sh

cp -r "$TEST/root/." /
PATH=$PATH:/usr/bin:/usr/sbin:/sbin
seal=$TEST/ostree-seal
read -r method depth <"$TEST/method"

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

# memory_disk NANOSECONDS: a copy of the disk in memory, on which each request takes so long, reading and writing, up to 64
# at the same time. The guest's own clock measures it, so the host's disk and load don't matter. (dm-delay would not do: for
# short delays its worker waits in a busy loop, and takes from one CPU the half that it should leave to others.)
memory_disk() {
    umount /sysroot
    while read -r module; do
        case $module in
        null_blk*) insmod "$TEST/modules/$module" gb=4 bs=4096 memory_backed=1 irqmode=2 completion_nsec="$1" hw_queue_depth=64 ;;
        *) insmod "$TEST/modules/$module" ;;
        esac
    done <"$TEST/modules/order"
    dd if=/dev/disk/sysroot of=/dev/nullb0 bs=1M conv=fsync 2>&1 >&2
    echo 3 >/proc/sys/vm/drop_caches
    mount -t ext4 /dev/nullb0 /sysroot || exit 1
}

# deploy WHAT INDEX
deploy() { timed "$1" "$seal" deploy --sysroot=/sysroot ${depth:+--queue-depth="$depth"} "$2"; }

objects() { (cd /sysroot/ostree/repo/objects && find . -name '*.file' -type f); }

case $method in *-slow-disk) memory_disk 4000000 ;; *) memory_disk 100000 ;; esac
case $method in
ours)
    # Deployment 1 is the older one.
    deploy first 1
    echo 3 >/proc/sys/vm/drop_caches
    deploy idle-cold 1
    for _ in 1 2 3; do deploy idle 1; done # the shortest, so it varies most
    deploy one-percent-new 0
    ;;
ours-slow-disk)
    deploy first 1
    deploy idle 1
    ;;
profile-slow-disk)
    # What the threads wait for: their kernel stacks, ten times a second, the most frequent first.
    "$seal" deploy --sysroot=/sysroot ${depth:+--queue-depth="$depth"} 1 >&2 &
    pid=$!
    while kill -0 $pid 2>/dev/null; do
        for stack in /proc/"$pid"/task/*/stack; do
            sed 's/^.*\] //; s/+0x.*//' "$stack" 2>/dev/null | head -n 14 | tr '\n' ' '
            echo
        done >>/tmp/stacks
        usleep 100000
    done
    sort /tmp/stacks | uniq -c | sort -rn | head -n 20 | while read -r line; do note "$line"; done
    wait $pid
    ;;
serial | serial-slow-disk)
    objects >/tmp/objects
    cd /sysroot/ostree/repo/objects || exit 1
    timed all sh -c "$TEST/vm-helper enable </tmp/objects && sync"
    ;;
offline)
    # On the disk itself, with nothing mounted.
    "$seal" deploy --sysroot=/sysroot --defer-verity 1 >&2
    umount /sysroot
    echo 3 >/proc/sys/vm/drop_caches
    timed all "$seal" verity /dev/nullb0
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
    timed 200-files sh -c 'while read -r file; do fsverity enable "$file" || exit 1; done </tmp/objects && sync'
    ;;
esac
