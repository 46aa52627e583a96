#!/bin/sh
# Fourth boot: the sealed release again, as the entry before the default one. It is as sealed as it was; now the release whose
# policy says unsealed is let through.

# shellcheck source=tests/vm/guest/lib.sh
. /usr/lib/vm-test/lib.sh
# shellcheck source=tests/vm/guest/updates.sh
. ./updates.sh

runs_well
same the_sealed_release_is_booted sealed "$(cat /usr/share/release)"
is_sealed 1
systemctl stop ostree-seal-deploy.path
succeeds unsealed/is_staged_again stage test/unsealed
succeeds unsealed/is_let_through ostree-seal deploy --pending --allow-unsealed
shut_down_in_order
