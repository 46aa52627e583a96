#!/bin/sh
# fs-verity enabled by our code, measured by the kernel through our code: the digest that user space computed.

# shellcheck source=tests/vm/guest/lib.sh
. /lib.sh

cd /sysroot || exit 1
fails "a_file_without_verity_has_no_digest" "fs-verity is not enabled" "$TEST/vm-helper" measure 4096
while read -r digest file; do
    echo "$file" | "$TEST/vm-helper" enable >/dev/null
    same "kernel_measures_the_computed_digest_of_$file" "$digest  $file" "$("$TEST/vm-helper" measure "$file" 2>&1)"
done <"$TEST/digests"

same "enabling_twice_is_told_apart" "enabled 0, had it 1" "$("$TEST/vm-helper" enable 4096 2>&1)"
: >/tmp/file
fails "a_tmpfs_has_no_verity" "has no fs-verity" "$TEST/vm-helper" measure /tmp/file
