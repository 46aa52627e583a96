#!/bin/sh
# The booted system.

# shellcheck source=tests/vm/guest/lib.sh
. /usr/lib/vm-test/lib.sh

same the_system_is_running running "$(systemctl is-system-running --wait)"
same no_unit_has_failed "" "$(systemctl --failed --plain --no-legend)"
same root_is_an_overlay overlay "$(findmnt -n -o FSTYPE /)"
succeeds root_insists_on_verity sh -c "findmnt -n -o OPTIONS / | grep -w verity=require"
succeeds ostree_knows_the_booted_deployment sh -c "ostree admin status | grep '^\*'"
fails usr_is_read_only "Read-only" touch /usr/x
succeeds etc_is_writable touch /etc/x
succeeds var_is_writable touch /var/x
note "$(systemd-analyze time | head -n 1)"
