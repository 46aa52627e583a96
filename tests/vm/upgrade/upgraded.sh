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
succeeds the_first_version_becomes_the_default ostree admin set-default 1
shut_down_in_order
