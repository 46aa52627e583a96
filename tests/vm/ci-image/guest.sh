#!/bin/sh
# The first boot of a disk that was finished in a container: it is sealed, and there is nothing left to do.

# shellcheck source=tests/vm/guest/lib.sh
. /lib.sh

cp -r "$TEST/root/." /
seal=$TEST/ostree-seal
mkdir -p /usr/lib/ostree-seal/trusted.d /usr/lib/ostree
cp policy.conf /usr/lib/ostree-seal/
cp release.vkey /usr/lib/ostree-seal/trusted.d/
echo "root=x $(cat target)" >/tmp/cmdline

# booted COMMAND: boots with ostree-seal-root, and prints what it and COMMAND say in the new root.
booted() {
    # shellcheck disable=SC2016 # expanded by the inner shell
    COMMAND=$1 unshare -m sh -c '
        mount -t tmpfs run /run
        mount --bind /tmp/cmdline /proc/cmdline
        mount --bind /dev/null /dev/console
        unshare -p -f ./ostree-seal-root 2>/tmp/said
        echo "$?"
        eval "$COMMAND" 2>&1
    '
}

same the_first_boot_is_sealed "0
1" "$(booted "grep -c 'composefs /sysroot overlay ro,.*verity=require' /proc/mounts")"
same the_program_said_nothing "" "$(cat /tmp/said)"
cp sums /tmp/sums
same all_files_are_read_and_as_they_were_committed "0" "$(booted "cd /sysroot && sha256sum -c /tmp/sums 2>&1 | grep -v ': OK$'")"
note "$(wc -l <sums) files"

"$seal" status --sysroot=/sysroot >/tmp/status 2>&1
succeeds status_says_sealed grep 'next boot: deployment 0 boots sealed (sealed)' /tmp/status
if report=$("$seal" deploy --sysroot=/sysroot --json 2>/tmp/stderr); then ok deploy_agrees; else not_ok deploy_agrees "$(cat /tmp/stderr)"; fi
count() { echo "$report" | sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p"; }
same deploy_has_nothing_left_to_enable 0 "$(count objects_enabled)"
succeeds deploy_found_all_objects_with_fs_verity test "$(count objects_before)" -gt 70
same deploy_kept_the_image '"image": "kept",' "$(echo "$report" | grep '"image"' | sed 's/^ *//')"

object=$(find /sysroot/ostree/repo/objects -name '*.file' -type f -size +100k | head -n 1)
fails an_object_can_not_be_changed "" sh -c "echo x >>'$object'"

# Removing files that have fs-verity is the kernel's business; that their blocks are free again, e2fsck's.
PATH=$PATH:/usr/bin:/usr/sbin:/sbin
objects() { find /sysroot/ostree/repo/objects -name '*.file' | wc -l; }
succeeds undeployed ostree admin undeploy --sysroot=/sysroot 0
succeeds the_ref_is_removed ostree refs --repo=/sysroot/ostree/repo --delete os
succeeds cleaned_up ostree admin cleanup --sysroot=/sysroot
succeeds pruned ostree prune --repo=/sysroot/ostree/repo --refs-only
same no_object_is_left 0 "$(objects)"
umount /sysroot
succeeds e2fsck_finds_nothing_after_the_prune e2fsck -fn /dev/disk/sysroot
