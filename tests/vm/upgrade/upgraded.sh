#!/bin/sh
# Third boot: the update, sealed by the gate. Then the first version is made the default again.

# shellcheck source=tests/vm/guest/lib.sh
. /usr/lib/vm-test/lib.sh
# shellcheck source=tests/vm/guest/updates.sh
. ./updates.sh

runs_well
same the_update_is_booted 3 "$(version)"
is_sealed 9
succeeds the_gate_has_sealed_it sh -c "journalctl -b -1 -o cat -u ostree-finalize-staged.service | grep ': sealed, index 9'"
succeeds status_says_how_the_root_came_to_be sh -c "ostree-seal status | grep -A6 '^running: sealed' | grep 'product .*example.com/os, index 9'"
succeeds the_first_version_is_the_rollback sh -c "ostree admin status | grep rollback"
same both_are_sealed 2 "$(ostree-seal status --json | grep -c '"verdict": "sealed"')"
succeeds the_deployment_is_immutable sh -c "lsattr -d /sysroot/ostree/deploy/debian/deploy/$(ostree rev-parse test/os).0 | grep -e '^[^ ]*i'"
# No update goes back, unless an administrator says so; the rollback below needs no leave.
succeeds older/is_staged_and_seen stage_and_wait test/good
same older/is_refused 3 "$(status_of_service)"
succeeds older/status_says_why sh -c "ostree-seal status | grep -A1 '^withdrawn' | grep 'has index 9, this deployment has 8'"
succeeds older/is_allowed ostree-seal deploy --pending --allow-downgrade "$(ostree rev-parse test/good)"
succeeds older/is_staged_again stage_and_wait test/good
same older/is_let_through 0 "$(status_of_service)"
succeeds older/status_says_that_it_was_allowed sh -c "ostree-seal status | grep '^allowed: .*$(ostree rev-parse test/good)'"
succeeds older/journal_says_so sh -c "journalctl -b -o cat -t ostree-seal | grep 'an administrator lets commit'"
# What a soft reboot by others leaves: /run is as it was, another root is mounted.
other=/run/other-root
soft_reboot() {
    mkdir -p $other
    mount --bind "/sysroot/ostree/deploy/debian/deploy/$(ostree rev-parse test/os).0" $other || return 1
    for directory in proc sys dev run var boot sysroot; do
        mount --rbind /$directory $other/$directory && mount --make-rslave $other/$directory || return 1
    done
}
succeeds soft_reboot/another_root_is_mounted soft_reboot
succeeds soft_reboot/status_says_so sh -c "chroot $other ostree-seal status | grep -A1 '^running: not sealed by us' | grep 'without verity=require'"
fails soft_reboot/doctor_says_so 'the running system is not sealed by us' chroot $other ostree-seal doctor
succeeds soft_reboot/the_gate_says_so sh -c "chroot $other ostree-seal deploy --pending 2>&1 | grep 'the running system is not sealed by us'"
umount -R $other
before=$(ended)
ostree admin undeploy 0 >&2
wait_for has_ended_since "$before"
before=$(ended)
succeeds the_first_version_becomes_the_default ostree admin set-default 1
succeeds the_rollback_is_seen wait_for has_ended_since "$before"
same the_rollback_is_left_alone 0 "$(status_of_service)"
succeeds the_rollback_boots_next sh -c "ostree admin status | head -n 1 | grep -v '^\*'"
shut_down_in_order
