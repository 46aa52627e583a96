#!/bin/sh
# Third boot: the release that has no policy, unsealed, with the root that ostree-prepare-root makes. Nothing of ours is left in
# it, and files with fs-verity do no harm.

# shellcheck source=tests/vm/guest/lib.sh
. /usr/lib/vm-test/lib.sh
# shellcheck source=tests/vm/guest/updates.sh
. ./updates.sh

runs_well
same the_release_without_policy_is_booted foreign "$(cat /usr/share/release)"
succeeds ostree_knows_what_is_booted sh -c "ostree admin status | grep '^\* debian $(ostree rev-parse test/foreign)'"
succeeds its_root_is_made_by_ostree_prepare_root sh -c "journalctl -b -o cat -u ostree-prepare-root.service | grep 'Finished.*OSTree Prepare OS'"
fails nothing_of_ours_ran "" test -e /run/ostree-seal
fails nothing_of_ours_is_installed "" command -v ostree-seal
fails nothing_insists_on_verity "" sh -c "findmnt -n -o OPTIONS / | grep -w verity=require"
succeeds files_with_verity_are_readable sh -c "find /usr/bin /usr/share/update -xdev -type f -exec cat {} + >/dev/null"
shut_down_in_order
