#!/bin/sh
# shellcheck shell=dash disable=SC2154 # the names are in the file names
# A sealed boot, and everything that must not boot.

# shellcheck source=tests/vm/guest/lib.sh
. /lib.sh
# shellcheck source=/dev/null
. ./names

policy=/usr/lib/ostree-seal
objects=/sysroot/ostree/repo/objects
deployment=/sysroot/ostree/deploy/small/deploy/$commit_42.0
mkdir -p $policy/trusted.d $policy/revoked.d
cp release.vkey second.vkey $policy/trusted.d
cp revoked.vkey $policy/revoked.d
printf '[seal]\nmode = sealed\nproduct = example.com/small\naccept = note, commit\nthreshold = 1\nminimum-index = 42\n' >$policy/policy.conf
find $objects /sysroot/ostree/deploy/small/deploy/*/.ostree.cfs -type f | ./vm-helper enable >&2
cp notes/42 "$deployment/.ostree.seal"
echo "root=x ostree=$target" >/tmp/cmdline

unshare -m sh -c '
mount -t tmpfs run /run
mount --bind /tmp/cmdline /proc/cmdline
./ostree-seal-root; echo "exit $?"
cat /proc/mounts; cat /run/ostree-seal/state.json; cat /sysroot/usr/bin/victim; cat /sysroot/etc/settings
' >&2
