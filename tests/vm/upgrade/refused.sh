#!/bin/sh
# First boot: updates that must not boot are withdrawn before the reboot, and nothing else changes. The last one is staged
# while our units are out of the way: the gate at shutdown has to find it.

# shellcheck source=tests/vm/guest/lib.sh
. /usr/lib/vm-test/lib.sh
# shellcheck source=tests/vm/guest/updates.sh
. ./updates.sh

runs_well
is_sealed 7
fails sysroot_is_read_only "Read-only" touch /sysroot/x
same the_service_has_a_time_limit 30min "$(systemctl show -P TimeoutStartUSec $SERVICE)"
marker=$(echo /sysroot/ostree/deploy/debian/deploy/*.0/.ostree.seal-deferred)
succeeds the_build_host_has_left_its_marker test -e "$marker"
succeeds deploy_completes_what_the_build_host_began ostree-seal deploy 0
fails and_takes_the_marker_away "" test -e "$marker"
succeeds status_calls_it_sealed sh -c "ostree-seal status --json | grep '\"verdict\": \"sealed\"'"

# withdrawn UPDATE REF WORDS: it is withdrawn, with WORDS as the reason.
withdrawn() {
    update=$1 ref=$2 words=$3
    succeeds "$update/is_pulled" pull "$ref"
    before_it=$(boot_order)
    succeeds "$update/is_staged_and_seen" stage_and_wait "$ref"
    same "$update/is_refused" 3 "$(status_of_service)"
    same "$update/leaves_nothing_staged" "" "$(ls $STAGED $LOCK 2>/dev/null)"
    same "$update/leaves_the_boot_order_alone" "$before_it" "$(boot_order)"
    commit=$(ostree rev-parse "$ref")
    succeeds "$update/journal_says_why" sh -c "journalctl -b -o cat -u $SERVICE | grep -F '$commit' | grep 'withdrawn.*$words'"
    ostree-seal status >/tmp/status
    succeeds "$update/status_says_why" sh -c "grep -A1 withdrawn /tmp/status | grep '$words'"
    succeeds "$update/status_says_why_to_programs" sh -c "ostree-seal status --json | tr -d '\n' | grep '\"fate\": \"withdrawn\",.*$commit.*$words'"
    note "$update: $(grep -A1 withdrawn /tmp/status | tail -n 1)"
}

withdrawn unsigned test/unsigned 'no accepted signature covers'
withdrawn by_a_stranger test/stranger example.com/stranger
withdrawn older test/older 'an index of 7 or more, the signature is for 6'
withdrawn corrupted test/corrupted 'object .* is damaged'
# Its own initramfs would boot it: the update brings its own key, and is signed by that.
withdrawn own_keys test/own 'vouch for this deployment.*0 of 1 trusted keys'
commit=$(ostree rev-parse test/own)
succeeds own_keys/journal_has_the_change_of_keys sh -c "journalctl -b -o cat -u $SERVICE | grep '^trust: key example.com/own+.* is trusted from then on'"
succeeds own_keys/the_running_trust_is_what_the_initramfs_left sh -c "ostree-seal trust show running | grep /run/ostree-seal/trust/policy.conf"
succeeds own_keys/which_is_what_boots_the_running_one ostree-seal trust diff running 0
same own_keys/only_root_writes_there "755 root" "$(stat -c '%a %U' /run/ostree-seal/trust)"

fails sysroot_is_read_only_after_all_that "Read-only" touch /sysroot/x
succeeds the_units_can_be_taken_out_of_the_way sh -c "systemctl stop ostree-seal-deploy.path && systemctl mask --runtime $SERVICE"
succeeds a_last_one_is_staged stage test/own
sleep 2
succeeds nobody_has_seen_it test -e $STAGED
same status_says_that_the_running_one_stays "$STAYS; $UNLESS_SEALED" "$(next_boot)"
shut_down_in_order
