#!/bin/sh
# Second boot: still the first version, since the gate has withdrawn the last update. Good updates are sealed, one of them
# at shutdown, because the first attempt was killed.

# shellcheck source=tests/vm/guest/lib.sh
. /usr/lib/vm-test/lib.sh
# shellcheck source=tests/vm/guest/updates.sh
. ./updates.sh

runs_well
same the_running_system_has_stayed_the_default 1 "$(version)"
is_sealed 7
commit=$(ostree rev-parse test/own)
succeeds the_gate_has_withdrawn_the_last_update sh -c "journalctl -b -1 -o cat -u ostree-finalize-staged.service | grep -F '$commit' | grep 'withdrawn.*vouch for this deployment'"
fails it_was_not_finalized "" sh -c "journalctl -b -1 -o cat -u ostree-finalize-staged.service | grep 'Finalizing staged'"
same nothing_of_it_is_left "" "$(ls -d /ostree/deploy/debian/deploy/"$commit"* 2>/dev/null)"

succeeds status_says_why_after_the_reboot sh -c "ostree-seal status | grep -A1 withdrawn | grep 'vouch for this deployment'"
succeeds good/is_pulled pull test/good
succeeds better/is_pulled pull test/better

# One that is made the default at once passes no gate, but the path unit sees it.
order_and_wait() {
    before=$(ended)
    ostree admin "$@" >&2 && wait_for has_ended_since "$before"
}
succeeds ahead/is_seen order_and_wait deploy --os=debian test/good
same ahead/is_sealed 0 "$(status_of_service)"
same ahead/boots_next 'next boot: deployment 0 boots sealed (sealed)' "$(next_boot)"
succeeds ahead/is_undeployed order_and_wait undeploy 0
same ahead/the_running_one_is_the_default_again 'next boot: deployment 0 boots sealed (sealed)' "$(next_boot)"
succeeds own/is_seen order_and_wait deploy --os=debian test/own
same own/is_refused 3 "$(status_of_service)"
succeeds own/the_running_one_is_the_default_again sh -c "ostree admin status | head -n 1 | grep '^\* debian'"
succeeds own/stands_behind_it sh -c "ostree-seal status | grep '^1 debian.*$(echo "$commit" | cut -c1-12)'"
succeeds own/status_says_why sh -c "ostree-seal status | grep -A1 '^put behind the running one' | grep 'vouch for this deployment'"
succeeds own/is_undeployed order_and_wait undeploy 1

# The machine is in the way, here a file system that doesn't write: the update is held back, and let through later.
drop_in=/run/systemd/system/$SERVICE.d
mkdir -p $drop_in
printf '[Service]\nSystemCallFilter=~syncfs\nSystemCallErrorNumber=EIO\n' >$drop_in/syncfs.conf
systemctl daemon-reload
succeeds hindered/is_staged_and_seen stage_and_wait test/better
same hindered/could_not_be_sealed 1 "$(status_of_service)"
same hindered/is_held_back ostree-seal "$(cat $LOCK)"
succeeds hindered/stays_staged test -e $STAGED
succeeds hindered/status_says_why sh -c "ostree-seal status | grep -A1 'held back: 3' | grep 'Input/output error'"
same hindered/status_says_that_the_running_one_stays "$STAYS; $UNLESS_SEALED" "$(next_boot)"
rm -r $drop_in
systemctl daemon-reload
# The record of the first boot's update is in /var, and can't be removed now: that is in nobody's way.
records=/var/lib/ostree-seal
succeeds hindered/there_is_a_record_in_var test -s $records/staged.json
mount --bind $records $records && mount -o remount,bind,ro $records
succeeds hindered/a_later_run_lets_it_through_though_var_is_read_only ostree-seal deploy --pending
umount $records
succeeds hindered/and_the_next_one_forgets_the_record ostree-seal deploy --pending
fails hindered/nobody_holds_it_back_now "" test -e $LOCK
same hindered/it_boots_next 'next boot: deployment 0 boots sealed (sealed)' "$(next_boot)"
fails hindered/the_reason_is_forgotten "" sh -c "ostree-seal status | grep 'held back'"

# The path unit sees a good update.
succeeds good/is_staged_and_seen stage_and_wait test/good
same good/is_sealed 0 "$(status_of_service)"
same good/stays_staged $STAGED "$(ls $STAGED $LOCK 2>/dev/null)"
succeeds good/status_says_sealed sh -c "ostree-seal status | grep 'staged): sealed'"
note "$(journalctl -b -o cat -u $SERVICE | grep ': sealed,')"
same good/status_says_that_it_boots_next 'next boot: deployment 0 boots sealed (sealed)' "$(next_boot)"
ostree admin lock-finalization >&2
same good/status_says_that_an_admin_holds_it_back "$STAYS; the staged one is held back, \`ostree admin lock-finalization --unlock\` lets it go" "$(next_boot)"
succeeds good/status_says_so_to_programs sh -c "ostree-seal status --json | tr -d '\n' | grep '\"held_back\": true.*\"boots_next\": false.*\"held_back\": false.*\"boots_next\": true'"
ostree admin lock-finalization --unlock >&2
same good/status_says_that_it_was_let_go 'next boot: deployment 0 boots sealed (sealed)' "$(next_boot)"

# The next one replaces it, by `upgrade`; the run that would seal it is killed.
ostree refs --delete test/os && ostree refs --create=test/os test/better
is_held() { [ "$(cat $LOCK)" = ostree-seal ]; }
killed() {
    ostree admin upgrade --stage >&2 && wait_for is_held && systemctl kill --signal=KILL $SERVICE
}
before=$(ended)
succeeds better/is_staged_and_its_run_killed killed
wait_for has_ended_since "$before"
same better/was_killed killed "$(systemctl show -P ExecMainCode $SERVICE | sed 's/^2$/killed/')"
same better/is_held_back ostree-seal "$(cat $LOCK)"
ostree admin finalize-staged >&2
succeeds better/is_not_finalized_while_it_is_held_back test -e $STAGED
same better/status_says_that_the_running_one_stays "$STAYS; $UNLESS_SEALED" "$(next_boot)"
shut_down_in_order
