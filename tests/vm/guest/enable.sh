#!/bin/sh
# Small guest, disk at /sysroot: fs-verity on every file object and on the deployment's image.

# shellcheck source=tests/vm/guest/lib.sh
. /lib.sh

find /sysroot/ostree/repo/objects -name '*.file' -type f >/tmp/objects
find /sysroot/ostree/deploy -name .ostree.cfs -type f >>/tmp/objects
succeeds verity_is_enabled sh -c "$TEST/vm-helper enable </tmp/objects >/tmp/enabled"
note "$(cat /tmp/enabled) in $(cut -d' ' -f1 /proc/uptime) s since boot"
succeeds there_are_objects test -s /tmp/objects
succeeds every_object_has_verity sh -c "$TEST/vm-helper measure </tmp/objects >/dev/null"
