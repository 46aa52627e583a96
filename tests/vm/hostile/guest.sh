#!/bin/sh
# What a stranger can leave where `deploy`, `status` and `doctor` look, as root and with real fs-verity: each ends, with little
# memory, and the next one gets the lock. tests/hostile.rs tries all of it on the build host; here it is every 19th, or with
# OSTREE_SEAL_HOSTILE=1 all, or with OSTREE_SEAL_HOSTILE='2 1' every second from the first on.

# shellcheck source=tests/vm/guest/lib.sh
. /lib.sh

cp -r "$TEST/root/." /
seal=$TEST/ostree-seal
deployment=/sysroot/ostree/deploy/test/deploy/$(cat "$TEST/commit").0
read -r step first <"$TEST/step"
MEMORY_MAX=307200 # KiB

succeeds the_deployment_is_sealed "$seal" deploy --sysroot=/sysroot
/usr/bin/chattr -i "$deployment"

# make PATH THING
make() {
    case $2 in
    fifo) mkfifo "$1" ;;
    device) mknod "$1" c 1 5 ;;
    link_to_zero) ln -s /dev/zero "$1" ;;
    link_to_kmsg) ln -s /dev/kmsg "$1" ;;
    link_to_descriptor) ln -s /proc/self/fd/0 "$1" ;;
    link_to_itself) ln -s "$(basename "$1")" "$1" ;;
    link_to_nothing) ln -s /nothing "$1" ;;
    link_up_and_up) ln -s ../../../../../../../../../../../../../../../etc/passwd "$1" ;;
    link_to_root) ln -s / "$1" ;;
    directory) mkdir "$1" ;;
    many_names) mkdir "$1" && (cd "$1" && seq 10500 | sed 's/$/.efi/' | xargs touch) ;;
    nothing) : >"$1" ;;
    terabyte) truncate -s 1T "$1" ;;
    noise) head -c 1048576 /dev/urandom >"$1" ;;
    program) cp "$TEST/empty.efi" "$1" ;;
    bomb) cp "$TEST/bomb" "$1" ;;
    esac
}

THINGS='fifo device link_to_zero link_to_kmsg link_to_descriptor link_to_itself link_to_nothing link_up_and_up link_to_root directory many_names
nothing terabyte noise program bomb'
BELOW_DEPLOYMENT='.ostree.cfs .ostree.seal .ostree.seal-deferred usr/etc/ostree-seal/policy.conf usr/lib/modules usr/lib/modules/6.12/config
usr/lib/modules/6.12/initramfs.img usr/lib/modules/6.12/modules.dep usr/lib/modules/6.12/vmlinuz usr/lib/modules/6.12/x.efi usr/lib/ostree-boot
usr/lib/ostree-seal/ostree-seal-root usr/lib/ostree-seal/policy.conf usr/lib/ostree-seal/revoked.d usr/lib/ostree-seal/trusted.d/x.vkey
usr/lib/ostree/prepare-root.conf'
BELOW_SYSROOT='boot/EFI/Linux boot/EFI/Linux/a.efi'

slowest=0 largest=0 tried=0
# ends NAME COMMAND...: with a yes or a no.
ends() {
    name=$1
    shift
    command time -v -o /tmp/usage timeout 120 "$@" </dev/null >/tmp/output 2>&1
    status=$?
    memory=$(sed -n 's/.*Maximum resident set size (kbytes): //p' /tmp/usage)
    # Hundredths of a second of the processor.
    spent=$(sed -n 's/.*\(User\|System\) time (seconds): //p' /tmp/usage | tr -d . | sed 's/^0*\(.\)/\1/' | { read -r user && read -r system && echo $((user + system)); })
    [ "$spent" -le "$slowest" ] || slowest=$spent
    [ "$memory" -le "$largest" ] || largest=$memory
    case $status in
    0 | 1 | 3) ;;
    *) not_ok "$name" "exit code $status: $(tail -n 2 /tmp/output)" && return ;;
    esac
    if [ "$memory" -gt "$MEMORY_MAX" ]; then not_ok "$name" "$memory KiB"; fi
}

# hostile PATH THING: it lies there, what was there comes back afterwards.
hostile() {
    kept=
    if [ -e "$1" ] || [ -L "$1" ]; then kept=/sysroot/kept && mv "$1" $kept; fi
    mkdir -p "$(dirname "$1")"
    make "$1" "$2"
    for command in status doctor deploy; do ends "$2/$(echo "${1#/sysroot/}" | sed 's/.*\.0\///' | tr / _)/$command" "$seal" $command --sysroot=/sysroot; done
    /usr/bin/chattr -i "$deployment"
    rm -rf "$1"
    if [ -n "$kept" ]; then mv $kept "$1"; fi
    tried=$((tried + 1))
}

number=0
for place in $BELOW_DEPLOYMENT $BELOW_SYSROOT; do
    for thing in $THINGS; do
        number=$((number + 1))
        [ $((number % step)) = "${first:-0}" ] || continue
        case $place in boot/*) hostile "/sysroot/$place" "$thing" ;; *) hostile "$deployment/$place" "$thing" ;; esac
    done
done
note "$tried hostile deployments, three commands each: at most $slowest hundredths of a second of an emulated processor, $largest KiB"
succeeds all_of_them_were_tried test "$tried" = $(((number - ${first:-0}) / step + (${first:-0} > 0)))
succeeds at_the_end_it_is_sealed_as_before sh -c "$seal deploy --sysroot=/sysroot && $seal status --sysroot=/sysroot | grep ': sealed'"
