# shellcheck shell=dash disable=SC2154,SC2086 # the names are guest.sh's; lists of words
# Kernels that are not to be had: strace makes this one answer as they do, by the numbers of the calls. Sourced by guest.sh.
#
# fsconfig is called with source, ro, noacl and create for EROFS (1 to 4); where the image is a loop device's, once more.
# Then with source, metacopy, redirect_dir, verity and a layer (5 each) for an overlay, in up to three ways to name layers.

# as_if INJECTION...: the next boot is on such a kernel. Its calls are in /tmp/trace.
as_if() {
    program="/usr/bin/strace -s 200 -o /tmp/trace"
    for injection in "$@"; do program="$program --inject=$injection"; done
    program="$program ./ostree-seal-root"
}

no_file_backed_erofs=fsconfig:error=ENOTBLK:when=4
# The same, told a call later, so that fsconfig is free for another injection.
no_erofs_mount_from_a_file=fsmount:error=ENOTBLK:when=1

facts="grep -c 'composefs /sysroot overlay ro,.*verity=require' /proc/mounts
cat /sysroot/usr/bin/victim
sed 's/.*\"mount\":{\([^}]*\).*/\1/' /run/ostree-seal/state.json"
loop_facts="$facts
cat /sys/block/loop0/ro /sys/block/loop0/loop/backing_file /sys/block/loop0/loop/autoclear"

# loop_is_bound_to_the_measured_descriptor NAME
loop_is_bound_to_the_measured_descriptor() {
    measured=$(sed -n 's/^ioctl(\([0-9]*\), FS_IOC_MEASURE_VERITY.*= 0$/\1/p' /tmp/trace)
    same "$1" "{fd=$measured, block_size=4096, lo_flags=LO_FLAGS_READ_ONLY|LO_FLAGS_AUTOCLEAR|LO_FLAGS_DIRECT_IO" \
        "$(sed -n 's/^ioctl([0-9]*, LOOP_CONFIGURE, \({fd=[0-9]*, block_size=[0-9]*\),.*\(lo_flags=[A-Z_|]*\).*) = 0$/\1, \2/p' /tmp/trace)"
    same "$1_and_looked_up_once" 1 "$(grep -c '"\.ostree\.cfs"' /tmp/trace)"
}

# mounted_with LAYERS: what LOOP_FACTS say.
loop_mounted_with() {
    printf '1\nGENUINE 42\n"image":"/dev/loop0","layers":"%s","verity":"require","root":"read-only"\n1\n%s\n1' "$1" "${image#/sysroot}"
}

loop_is_free() {
    for _ in 1 2 3 4 5; do
        [ -e /sys/block/loop0/loop/backing_file ] || break
        sleep 1
    done
    fails "$1" "No such file" cat /sys/block/loop0/loop/backing_file
}

case $(uname -r) in 6.12.*) natural=paths ;; *) natural=descriptors ;; esac
as_if $no_file_backed_erofs
boots before_6_12_the_image_is_mounted_from_a_loop_device "$loop_facts" "$(loop_mounted_with $natural)"
loop_is_bound_to_the_measured_descriptor the_measured_descriptor_is_the_loop_devices
loop_is_free the_loop_device_is_free_when_the_root_is_gone

as_if fsconfig:error=EINVAL:when=9
boots before_6_13_layers_are_paths "$facts" '1
GENUINE 42
"image":"file","layers":"paths","verity":"require","root":"read-only"'

as_if fsconfig:error=EINVAL:when=9..14+5
boots before_6_8_layers_are_one_string "$facts" '1
GENUINE 42
"image":"file","layers":"one-string","verity":"require","root":"read-only"'
same the_string_has_the_objects_as_data_only_layer '"lowerdir", "/run/ostree/.private/cfsroot-lower::/sysroot/ostree/repo/objects"' \
    "$(grep -o '"lowerdir", "[^"]*"' /tmp/trace)"

linux_6_6="$no_erofs_mount_from_a_file fsconfig:error=EINVAL:when=13..18+5"
as_if $linux_6_6
boots on_6_6_a_loop_device_and_one_string "$loop_facts" "$(loop_mounted_with one-string)"
loop_is_bound_to_the_measured_descriptor on_6_6_the_measured_descriptor_is_the_loop_devices

# There, too, nothing that was changed is read.
as_if $linux_6_6
flips_are_never_read "$program" _on_6_6 $flips
flip_on_disk $good/victim 0
as_if $linux_6_6
attempt "cat /sysroot/usr/bin/victim"
case "$places:$seen" in
[0-9]*:*"Input/output error") ok flip_of_content_on_disk_gives_eio_on_6_6 ;;
*) not_ok flip_of_content_on_disk_gives_eio_on_6_6 "at '$places': $seen" ;;
esac
flip_back
copy_of $good/image "$image" && flip "$image" 1156 && ./vm-helper enable "$image" >/dev/null
as_if $linux_6_6
refused refuses_a_changed_image_on_6_6 "$digest_42"
loop_is_free no_loop_device_is_left_on_6_6

# What is missing is named, and a kernel that only says that it checks is found out.
as_if fsconfig:error=EINVAL:when=8
refused refuses_a_kernel_without_verity_in_overlayfs "does not know verity=require"
as_if fsconfig:retval=0:when=8..13+5 # where layers are no descriptors, the context that counts is the second one
refused refuses_a_kernel_that_swallows_the_option "expected verity=require among them"
as_if ioctl:error=EOPNOTSUPP:when=1
refused refuses_a_kernel_without_fs_verity "no fs-verity"
as_if fsopen:error=ENODEV:when=1
refused refuses_a_kernel_without_erofs "this kernel has no EROFS"
as_if fsopen:error=ENODEV:when=2
refused refuses_a_kernel_without_overlayfs "this kernel has no overlayfs"
as_if fsopen:error=ENOSYS
refused refuses_a_kernel_without_mount_calls "no fsopen and fsmount"
mv /dev/loop-control /dev/loop-control.away
as_if $no_file_backed_erofs
refused refuses_a_kernel_before_6_12_without_loop_devices "there is no loop device"
mv /dev/loop-control.away /dev/loop-control
