#!/bin/sh
# Small guest, disk at /sysroot: fs-verity on every file object and on the deployment's image.

# shellcheck source=tests/vm/guest/lib.sh
. /lib.sh

find /sysroot/ostree/repo/objects -name '*.file' -type f >/tmp/objects
find /sysroot/ostree/deploy -name .ostree.cfs -type f >>/tmp/objects
note "$("$TEST/vm-helper" enable </tmp/objects 2>&1) in $(cut -d' ' -f1 /proc/uptime) s since boot"
succeeds every_object_has_verity sh -c "$TEST/vm-helper measure </tmp/objects | wc -l"
