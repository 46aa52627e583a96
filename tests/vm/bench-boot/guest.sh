#!/bin/sh
# shellcheck shell=dash disable=SC2154,SC2016 # the names are in the file names; what runs in the namespace is quoted
# Prints `first|warm PROGRAM MICROSECONDS STATUS KIB`. If there is a file `blocks`, the first run alone, between two marks.
# shellcheck source=/dev/null
. ./names

first=$(cat first)
deployment=/sysroot/ostree/deploy/small/deploy/$commit_42.0
if [ "$first" = none ]; then
    find /sysroot/ostree/repo/objects "$deployment/.ostree.cfs" -type f | ./vm-helper enable >/dev/null
    cp notes/42 "$deployment/.ostree.seal"
    sync
    exit 0
fi
mkdir -p /usr/lib/ostree-seal/trusted.d /usr/lib/ostree
cp release.vkey /usr/lib/ostree-seal/trusted.d
printf '[seal]\nmode = sealed\nproduct = example.com/small\naccept = note\nminimum-index = 42\n' >/usr/lib/ostree-seal/policy.conf
printf '[composefs]\nenabled = verity\n' >/usr/lib/ostree/prepare-root.conf
cp -r closure/. /
echo "root=x ostree=$target" >/tmp/cmdline
ln -s "$deployment" /tmp/deployment
printf '#!/bin/sh\n' >/tmp/true

# run PHASE PROGRAM
run() {
    phase=$1 name=$2
    case $name in
    seal) program=./ostree-seal-root ;;
    ostree) program="/usr/lib/ostree/ostree-prepare-root /sysroot" ;;
    mounts) program=./vm-mounts ;;
    checked) program="./vm-mounts check" ;;
    true) program=/bin/true ;;
    esac
    PHASE=$phase NAME=$name PROGRAM=$program unshare -m sh -c '
        mount -t tmpfs run /run
        mount --bind /tmp/cmdline /proc/cmdline
        if [ -e blocks ]; then touch /sysroot/touched && sync && sleep 5 && echo mark-on && sleep 2; fi
        echo "$PHASE $NAME $(./vm-helper time $PROGRAM | tail -n 1)"
        if [ -e blocks ]; then echo mark-off && sleep 2; fi
        sed -n "s/.*\"microseconds\":{\(.*\)}}/steps $PHASE \1/p" /run/ostree-seal/state.json 2>/dev/null || true
    '
}

# The helper itself is warm before it measures anything.
./vm-helper time /bin/true >/dev/null
run first "$first"
[ ! -e blocks ] || exit 0
for _ in 1 2 3; do
    for name in seal ostree mounts checked true; do run warm $name; done
done
