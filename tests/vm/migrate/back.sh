#!/bin/sh
# Fifth boot: unsealed again, for everybody to see. What is staged there is left as it is.

# shellcheck source=tests/vm/guest/lib.sh
. /usr/lib/vm-test/lib.sh
# shellcheck source=tests/vm/guest/updates.sh
. ./updates.sh

runs_well
same the_unsealed_release_is_booted unsealed "$(cat /usr/share/release)"
succeeds state_says_unsealed grep '"mode":"unsealed"' /run/ostree-seal/state.json
succeeds who_logs_in_reads_unsealed grep 'This system is UNSEALED' /run/motd.d/ostree-seal
same the_journal_warns 1 "$(journalctl -b -o cat -p warning MESSAGE_ID=0d57efea66fb490f8cf99bfdd36c4edf | grep -c 'root is UNSEALED: .*policy.conf says so')"
succeeds status_says_unsealed sh -c "ostree-seal status | grep 'running: unsealed'"
succeeds another/is_pulled pull test/unsealed-2
succeeds another/is_staged_and_seen stage_and_wait test/unsealed-2
same another/is_left_as_it_is 0 "$(status_of_service)"
same another/stays_staged $STAGED "$(ls $STAGED $LOCK 2>/dev/null)"
same another/has_nothing_of_ours "" "$(find "/ostree/deploy/debian/deploy/$(ostree rev-parse test/unsealed-2).0" -maxdepth 1 -name '.ostree*seal*')"
# What happens at shutdown.
succeeds another/is_finalized systemctl stop ostree-finalize-staged.service
succeeds another/is_the_default sh -c "ostree admin status | head -n 1 | grep '$(ostree rev-parse test/unsealed-2).*pending'"
