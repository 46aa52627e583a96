#!/bin/sh
# Fourth boot: the first version again. Without the update, nothing of ours is left of it.

# shellcheck source=tests/vm/guest/lib.sh
. /usr/lib/vm-test/lib.sh
# shellcheck source=tests/vm/guest/updates.sh
. ./updates.sh

runs_well
same the_first_version_is_booted 1 "$(version)"
is_sealed 7
succeeds the_update_is_undeployed ostree admin undeploy 1
succeeds the_rest_is_cleaned_up ostree admin cleanup
deployment=/sysroot/ostree/deploy/debian/deploy/$(ostree admin status | sed -n 's/^\* debian //p')
same only_what_belongs_to_the_running_one_is_left "$deployment/.ostree.cfs $deployment/.ostree.seal" \
    "$(find /sysroot/ostree \( -name '.ostree.cfs' -o -name '.ostree*seal*' \) | sort | tr '\n' ' ' | sed 's/ $//')"
same nothing_of_ours_is_in_the_repository "" "$(find /sysroot/ostree/repo -name '*seal*')"
