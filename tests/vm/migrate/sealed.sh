#!/bin/sh
# Second boot: sealed. The way back is closed to what is merely staged, and open to who says so.

# shellcheck source=tests/vm/guest/lib.sh
. /usr/lib/vm-test/lib.sh
# shellcheck source=tests/vm/guest/updates.sh
. ./updates.sh

runs_well
same the_sealed_release_is_booted sealed "$(cat /usr/share/release)"
is_sealed 1
succeeds unsealed/is_pulled pull test/unsealed
succeeds unsealed/is_staged_and_seen stage_and_wait test/unsealed
same unsealed/is_refused 3 "$(status_of_service)"
succeeds unsealed/the_reason_says_how sh -c "ostree-seal status | grep 'withdrawn' -A1 | grep -e --allow-unsealed"
systemctl stop ostree-seal-deploy.path
succeeds unsealed/is_staged_again stage test/unsealed
succeeds unsealed/is_let_through ostree-seal deploy --pending --allow-unsealed
shut_down_in_order
