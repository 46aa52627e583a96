#!/bin/sh
# Files with fs-verity that no kernel has switched on.

# shellcheck source=tests/vm/guest/lib.sh
. /lib.sh

cd /sysroot || exit 1
while read -r digest file; do
    same "the_kernel_measures_$file" "$digest  offline/$file" "$("$TEST/vm-helper" measure "offline/$file" 2>&1)"
    echo "kernel/$file" | "$TEST/vm-helper" enable >/dev/null
done <"$TEST/digests"
while read -r sum file; do
    same "the_kernel_reads_$file" "$sum  offline/$file" "$(sha256sum "offline/$file" 2>&1)"
done <"$TEST/sums"

fails "nobody_appends" "Operation not permitted" sh -c 'echo more >>offline/size-4097'
fails "nobody_writes" "Operation not permitted" dd if=/dev/zero of=offline/size-4097 bs=1 count=1 conv=notrunc
fails "a_flipped_bit_in_the_data_is_an_error" "Input/output error" cat flipped/data
fails "a_flipped_bit_in_the_tree_is_an_error" "Input/output error" cat flipped/tree
fails "a_flipped_bit_in_the_root_hash_is_an_error" "Input/output error" cat flipped/descriptor
measured=$("$TEST/vm-helper" measure flipped/descriptor 2>&1)
case $measured in
"$(sed -n 's/  size-524289$//p' "$TEST/digests")"*) not_ok "a_flipped_bit_in_the_root_hash_is_another_digest" "$measured" ;;
*) ok "a_flipped_bit_in_the_root_hash_is_another_digest" ;;
esac
sync
