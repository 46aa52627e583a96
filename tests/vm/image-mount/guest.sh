#!/bin/sh
# The image of `convert` over the repository's objects, on a kernel that enforces fs-verity: right as it is, and EIO for
# each object that isn't what the image says.

# shellcheck source=tests/vm/guest/lib.sh
. /lib.sh

disk=/dev/disk/sysroot
cd /sysroot || exit 1

mount_image() {
    mkdir -p /tmp/meta /tmp/root
    mount -t erofs -o ro,loop /sysroot/image /tmp/meta &&
        mount -t overlay overlay -o "ro,metacopy=on,redirect_dir=on,verity=require,lowerdir=/tmp/meta::/sysroot/repo/objects" /tmp/root
}

umount_all() {
    cd / && umount /tmp/root && umount /tmp/meta && umount /sysroot
}

find repo/objects -name '*.file' -type f >/tmp/objects
"$TEST/vm-helper" enable </tmp/objects >/dev/null
"$TEST/vm-helper" enable image >/dev/null
same kernel_measures_the_digest_that_convert_printed "$(cat "$TEST/image-digest")  image" "$("$TEST/vm-helper" measure image)"
cut -d' ' -f3 "$TEST/digests" | "$TEST/vm-helper" measure >/tmp/measured
succeeds kernel_measures_the_digest_of_each_object_in_the_image cmp "$TEST/digests" /tmp/measured

succeeds the_image_mounts_with_verity_required mount_image
succeeds the_kernel_took_the_requirement sh -c 'grep " /tmp/root overlay " /proc/mounts | grep verity=require'
succeeds every_file_reads_as_committed sh -c "cd /tmp/root && sha256sum -c $TEST/contents"
same the_link_leads_to_its_file "$(sha256sum </tmp/root/usr/lib/4096)" "$(sha256sum </tmp/root/usr/bin/link)"
same the_setuid_bit_is_in_the_image 4755 "$(stat -c %a /tmp/root/usr/bin/setuid)"
fails the_mount_is_read_only "Read-only" touch /tmp/root/x

# Damage, each to an object of its own: a bit on the disk beneath fs-verity, other content with and without fs-verity,
# no object, and the right content without fs-verity.
umount_all
byte=$(($(cat "$TEST/block-flipped") * 4096))
printf X | dd of=$disk bs=1 seek="$byte" conv=notrunc 2>/dev/null
mount -t ext4 $disk /sysroot
cd /sysroot || exit 1
put() { rm -f "$1" && cat >"$1"; }
echo "other content here" | put "$(cat "$TEST/object-replaced")"
echo "other content here" | put "$(cat "$TEST/object-forged")"
"$TEST/vm-helper" enable "$(cat "$TEST/object-forged")" >/dev/null
rm "$(cat "$TEST/object-removed")"
echo "the content of stripped" | put "$(cat "$TEST/object-stripped")"
succeeds the_damaged_disk_still_mounts mount_image
same "the_plain_copy_of_stripped_is_right" "the content of stripped" "$(cat "$(cat "$TEST/object-stripped")")"
for name in flipped replaced forged stripped; do
    fails "reading_what_was_${name}_gives_EIO" "Input/output error" cat "/tmp/root/usr/bin/$name"
done
fails reading_what_was_removed_gives_ENOENT "No such file" cat /tmp/root/usr/bin/removed
same "the_others_still_read_as_committed" "5" "$(cd /tmp/root && sha256sum -c "$TEST/contents" 2>/dev/null | grep -c FAILED)"
