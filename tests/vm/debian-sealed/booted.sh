#!/bin/sh
# The booted system, seen from inside.

# shellcheck source=tests/vm/guest/lib.sh
. /usr/lib/vm-test/lib.sh

same the_system_is_running running "$(systemctl is-system-running --wait)"
same no_unit_has_failed "" "$(systemctl --failed --plain --no-legend)"
same root_is_an_overlay overlay "$(findmnt -n -o FSTYPE /)"
succeeds root_insists_on_verity sh -c "findmnt -n -o OPTIONS / | grep -w verity=require"
succeeds ostree_knows_the_booted_deployment sh -c "ostree admin status | grep '^\*'"
fails usr_is_read_only "Read-only" touch /usr/x
fails root_is_read_only "Read-only" touch /x
fails sysroot_is_read_only "Read-only" touch /sysroot/x
succeeds etc_is_writable sh -c "echo kept >/etc/kept"
succeeds var_is_writable sh -c "echo kept >/var/kept"
same no_loop_device "" "$(losetup -a)"
same prepare_root_did_not_run "" "$(journalctl -b -o cat -u ostree-prepare-root.service)"
same the_journal_says_sealed 1 "$(journalctl -b -o cat MESSAGE_ID=cbfbe85074ec466e9b4925ae46c76971 | grep -c 'root is sealed')"
same the_journal_says_which_deployment 1 "$(journalctl -b -o json MESSAGE_ID=7170336a73ba4601bad31af888aa0df7 | grep -c '"DEPLOYMENT_INODE"')"
succeeds state_is_sealed grep '"mode":"sealed".*"product":"example.com/small","index":7,"evidence":"note"' /run/ostree-seal/state.json
for unit in ostree-remount.service ostree-boot-complete.service; do
    note "$unit: $(systemctl is-active $unit)"
done
same var_is_the_stateroots "$(stat -c %d:%i /sysroot/ostree/deploy/debian/var)" "$(stat -c %d:%i /var)"
same private_directory_is_closed "0 755" "$(stat -c %a /run/ostree/.private) $(stat -c %a /run/ostree)"
succeeds volatile_root_names_the_device test -b "$(readlink /run/systemd/volatile-root)"
succeeds ostree_can_write sh -c "ostree refs --create=test/other test/os"
succeeds ostree_can_change_the_kernel_arguments sh -c "ostree admin kargs edit-in-place --append-if-missing=test.added"
note "$(cat /run/ostree-seal/state.json)"
note "$(systemd-analyze time | head -n 1)"
note "$(journalctl -b -o short-monotonic -u ostree-seal-root.service | tail -n 3 | tr '\n' ' ')"
