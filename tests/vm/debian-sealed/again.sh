#!/bin/sh
# The second boot of the same disk.

# shellcheck source=tests/vm/guest/lib.sh
. /usr/lib/vm-test/lib.sh

same is_running running "$(systemctl is-system-running --wait)"
same keeps_etc kept "$(cat /etc/kept)"
same keeps_var kept "$(cat /var/kept)"
succeeds is_sealed grep '"mode":"sealed"' /run/ostree-seal/state.json
