#!/bin/sh
# First boot: a system that knows nothing of sealing gets the sealed release.

# shellcheck source=tests/vm/guest/lib.sh
. /usr/lib/vm-test/lib.sh
# shellcheck source=tests/vm/guest/updates.sh
. ./updates.sh

runs_well
fails nothing_of_ours_is_installed "" command -v ostree-seal
succeeds release/is_pulled pull test/sealed
succeeds release/is_deployed ostree admin deploy --os=debian test/sealed
seal=/ostree/deploy/debian/deploy/$(ostree rev-parse test/sealed).0/usr/bin/ostree-seal
device=$(findmnt -no SOURCE /sysroot)
device=${device%%\[*} # the same file system is mounted in several places
fails deploy_asks_for_a_file_system_with_verity "tune2fs -O verity $device" "$seal" deploy 0
succeeds file_system_gets_verity tune2fs -O verity "$device"
succeeds deploy_seals_it "$seal" deploy 0
succeeds status_says_that_the_next_boot_is_sealed sh -c "$seal status | grep 'next boot: deployment 0 boots sealed'"
shut_down_in_order
