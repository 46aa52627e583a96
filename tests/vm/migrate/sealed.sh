#!/bin/sh
# Second boot: sealed. The way back is closed to what is merely staged, and open to who says so. What is let through here has
# no policy at all.

# shellcheck source=tests/vm/guest/lib.sh
. /usr/lib/vm-test/lib.sh
# shellcheck source=tests/vm/guest/updates.sh
. ./updates.sh

runs_well
same the_sealed_release_is_booted sealed "$(cat /usr/share/release)"
is_sealed 1

# refused NAME: a release that would boot without any check is withdrawn, and the reason says how it is let through.
refused() {
    succeeds "$1/is_pulled" pull "test/$1"
    succeeds "$1/is_staged_and_seen" stage_and_wait "test/$1"
    same "$1/is_refused" 3 "$(status_of_service)"
    same "$1/leaves_nothing_staged" "" "$(ls $STAGED $LOCK 2>/dev/null)"
    ostree-seal status >/tmp/status
    succeeds "$1/the_reason_says_how" sh -c "grep 'withdrawn: $1 ' -A1 /tmp/status | grep 'without any check.*--allow-unsealed'"
}
refused unsealed
refused foreign

systemctl stop ostree-seal-deploy.path
succeeds foreign/is_staged_again stage test/foreign
succeeds foreign/is_let_through sh -c "ostree-seal deploy --pending --allow-unsealed | grep 'left as it is, it has no policy'"
shut_down_in_order
