#!/bin/sh
# shellcheck shell=dash disable=SC2154,SC2016,SC2059 # the names are in the file names; what runs in the new root is quoted
# A sealed boot, and everything that must not boot. Each case starts from the good state, in a mount namespace of its own.
# shellcheck source=tests/vm/guest/lib.sh
. /lib.sh
# shellcheck source=/dev/null
. ./names

policy=/usr/lib/ostree-seal
objects=/sysroot/ostree/repo/objects
deployment=/sysroot/ostree/deploy/small/deploy/$commit_42.0
image=$deployment/.ostree.cfs
old_image=/sysroot/ostree/deploy/small/deploy/$commit_41.0/.ostree.cfs
commit=$objects/$(echo "$commit_42" | sed 's|^..|&/|').commit
old_commit=$objects/$(echo "$commit_41" | sed 's|^..|&/|').commit
good=/sysroot/good

# reset: the state that boots. `good` has other names of the same files.
reset() {
    program=./ostree-seal-root
    rm -rf "$image" "$deployment/.ostree.seal" "${commit}meta" $policy
    ln $good/image "$image"
    ln -f $good/commit "$commit"
    ln -f $good/victim "$victim"
    cp notes/42 "$deployment/.ostree.seal"
    mkdir -p $policy/trusted.d $policy/revoked.d
    cp release.vkey second.vkey $policy/trusted.d
    cp revoked.vkey $policy/revoked.d
    write_policy "accept = note"
    echo "root=x ostree=$target" >/tmp/cmdline
}

write_policy() {
    printf '[seal]\nmode = sealed\nproduct = example.com/small\nthreshold = 1\nminimum-index = 42\non-refusal = emergency\n' >$policy/policy.conf
    for line in "$@"; do echo "$line" >>$policy/policy.conf; done
}

# attempt [COMMAND]: boots with $program, as the first process of a PID namespace: what powers the machine off ends just that, with
# SIGINT (status 130). Nobody sits at the console, so nobody is waited for. Exit status in $status, what the program said in $said, what is left of it in $left, and what
# COMMAND said in the new root (with a tmpfs on /tmp, and no other namespace sees any of it) in $seen.
attempt() {
    COMMAND=${1:-:} PROGRAM=$program unshare -m sh -c '
        mount -t tmpfs run /run
        mount --bind /tmp/cmdline /proc/cmdline
        cat /proc/mounts >/tmp/before
        mount --bind /dev/null /dev/console
        unshare -p -f $PROGRAM 2>/tmp/said
        echo $? >/tmp/status
        umount /dev/console
        cat /proc/mounts | diff /tmp/before - >/tmp/left
        find /run -mindepth 1 >>/tmp/left
        eval "$COMMAND" >/tmp/seen 2>&1
    '
    status=$(cat /tmp/status) said=$(cat /tmp/said) left=$(cat /tmp/left) seen=$(cat /tmp/seen)
    if grep -q TAMPERED /tmp/seen; then not_ok "no_tampered_byte_is_readable" "$seen"; fi
}

# refused NAME TEXT [STATUS]: one line with TEXT, exit status 3, and nothing mounted or left.
refused() {
    attempt
    if [ "$status" != "${3:-3}" ]; then
        not_ok "$1" "exit status $status: $said"
    elif [ -n "$left" ]; then
        not_ok "$1" "left behind: $(echo "$left" | tr '\n' ' ')"
    elif [ "$(wc -l </tmp/said)" != 1 ]; then
        not_ok "$1" "not one line: $said"
    else
        case $said in
        "ostree-seal-root: root refused: "*"$2"*) ok "$1" && note "$1: $said" ;;
        *) not_ok "$1" "expected '$2', found '$said'" ;;
        esac
    fi
    reset
}

# boots NAME COMMAND EXPECTED: the root is mounted, and COMMAND says EXPECTED.
boots() {
    attempt "$2"
    same "$1" "0: $3" "$status: $said$seen"
    reset
}

# flip FILE OFFSET: another bit in a file that has no fs-verity, or in a device.
flip() {
    byte=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
    printf "\\$(printf '%03o' $((byte ^ 1)))" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

# A file without fs-verity, with the content of another one.
copy_of() {
    rm -f "$2"
    cp "$1" "$2"
}

mkdir -p /usr/lib/ostree
find "$objects" "$image" "$old_image" -type f | ./vm-helper enable >/dev/null
victim=$(find $objects -name '*.file' -exec grep -l -x "GENUINE 42" {} +)
mkdir $good
ln "$image" $good/image
ln "$victim" $good/victim
ln "$commit" $good/commit
reset

# The good case, all of it.
boots a_sealed_root_is_mounted "grep -c 'composefs /sysroot overlay ro,.*verity=require' /proc/mounts; cat /sysroot/usr/bin/victim" "1
GENUINE 42"
boots usr_and_root_are_read_only "touch /sysroot/usr/x /sysroot/x 2>&1 | grep -c 'Read-only file system'" 2
boots etc_is_writable_and_the_deployments "cat /sysroot/etc/settings; touch /sysroot/etc/x && rm /sysroot/etc/x" "local settings"
boots sysroot_is_read_only_and_var_in_it_is_not "touch /sysroot/sysroot/x 2>&1 | grep -c Read-only; touch /sysroot/sysroot/ostree/deploy/small/var/x" 1
boots the_physical_root_has_no_privileges_in_the_new_root "grep -c ' /sysroot/sysroot [^ ]* ro,nosuid,nodev' /proc/mounts" 1
boots run_has_what_later_stages_read "cd /run && stat -c '%a %n' ostree ostree/.private ostree/.private/cfsroot-lower ostree-booted systemd/volatile-root ostree-seal/state.json && ls /run" \
    "755 ostree
0 ostree/.private
700 ostree/.private/cfsroot-lower
644 ostree-booted
777 systemd/volatile-root
644 ostree-seal/state.json
ostree
ostree-booted
ostree-seal
systemd"
boots state_names_digest_product_index_and_key "grep -o '\"mode\":\"sealed\",\"digest\":\"$digest_42\",\"commit\":\"$commit_42\",\"product\":\"example.com/small\",\"index\":42,\"evidence\":\"note\",\"keys\":\\[\"example.com/release' /run/ostree-seal/state.json | wc -l" 1
boots no_loop_device_where_a_file_can_be_mounted "cat /sys/block/loop*/loop/backing_file 2>/dev/null | wc -l" 0

# strace: one lookup of the image; what was measured is what is mounted; no random bytes.
cp -r strace/. /
mkdir -p /run/strace
cat >/tmp/traced <<'END'
#!/bin/sh
exec /usr/bin/strace -o /tmp/trace -e trace=all /test/ostree-seal-root
END
chmod +x /tmp/traced
COMMAND=: unshare -m sh -c 'mount -t tmpfs run /run; mount --bind /tmp/cmdline /proc/cmdline; sh /tmp/traced'
same image_is_looked_up_once 1 "$(grep -c '"\.ostree\.cfs"' /tmp/trace)"
measured=$(sed -n 's/^ioctl(\([0-9]*\), FS_IOC_MEASURE_VERITY.*= 0$/\1/p' /tmp/trace)
same the_measured_descriptor_is_the_mounted_one "/proc/self/fd/$measured" "$(sed -n 's/.*"source", "\(\/proc\/self\/fd\/[0-9]*\)".*/\1/p' /tmp/trace)"
same no_random_bytes_are_read 0 "$(grep -c -E 'getrandom|/dev/u?random' /tmp/trace)"
note "system calls: $(wc -l </tmp/trace)"

# The image.
for flip in $flips; do
    name=${flip%%:*} offset=${flip#*:}
    copy_of $good/image "$image"
    flip "$image" "$offset"
    refused "refuses_flipped_${name}_without_verity" "fs-verity is not enabled"
    copy_of $good/image "$image"
    flip "$image" "$offset"
    ./vm-helper enable "$image" >/dev/null
    refused "refuses_flipped_${name}_with_verity" "$digest_42"
done
copy_of $good/image "$image"
refused refuses_image_without_verity "fs-verity is not enabled"
head -c 8192 $good/image >"$image.new" && mv "$image.new" "$image"
./vm-helper enable "$image" >/dev/null
refused refuses_truncated_image "$digest_42"
rm "$image"
: >"$image"
./vm-helper enable "$image" >/dev/null
refused refuses_empty_image "$digest_42"
{ cat $good/image && head -c 4096 /dev/zero; } >"$image.new" && mv "$image.new" "$image"
./vm-helper enable "$image" >/dev/null
refused refuses_extended_image "$digest_42"
ln -f "$old_image" "$image"
refused refuses_image_of_another_commit "$digest_42"
rm "$image"
refused refuses_missing_image "is missing"

# What isn't a file.
rm "$image" && ln -s "$good/image" "$image"
refused refuses_image_that_is_a_symbolic_link "a symbolic link"
rm "$image" && mkfifo "$image"
refused refuses_image_that_is_a_fifo "a fifo"
rm "$image" && mkdir "$image"
refused refuses_image_that_is_a_directory "a directory"
rm "$image" && mknod "$image" b 7 0
refused refuses_image_that_is_a_block_device "a device"
rm "$image" && mknod "$image" c 1 5
refused refuses_image_that_is_a_character_device "a device"

# The note.
rm "$deployment/.ostree.seal"
refused refuses_missing_note "no accepted signature covers the image; the policy accepts: note"
while read -r note text; do
    cp "notes/$note" "$deployment/.ostree.seal"
    refused "refuses_note_$note" "$text"
done <<END
revoked example.com/revoked
stranger example.com/stranger
edited did not make over this text
other-commit the note is for commit $commit_41
short-digest its line 3 must be
END
cp notes/41 "$deployment/.ostree.seal"
refused refuses_note_of_another_deployment "42 or more, the signature is for 41"
cp notes/41 "$deployment/.ostree.seal"
ln -f "$old_image" "$image"
refused refuses_older_release_under_the_new_name "42 or more, the signature is for 41"
cp notes/many-keys "$deployment/.ostree.seal"
boots unknown_and_revoked_signatures_are_passed_over "cat /sysroot/usr/bin/victim" "GENUINE 42"
write_policy "accept = note" && sed -i 's/threshold = 1/threshold = 2/' $policy/policy.conf
refused refuses_one_signature_where_two_are_asked_for "1 of 2 trusted keys signed the note"
write_policy "accept = note" && sed -i 's/threshold = 1/threshold = 2/' $policy/policy.conf
cp notes/many-keys "$deployment/.ostree.seal"
boots two_signatures_meet_a_threshold_of_two "cat /sysroot/usr/bin/victim" "GENUINE 42"
sed -i 's/minimum-index = 42/minimum-index = 43/' $policy/policy.conf
refused refuses_index_below_the_minimum "43"
sed -i 's|example.com/small|example.com/large|' $policy/policy.conf
refused refuses_another_product "example.com/large"

# The signed commit.
write_policy "accept = commit" && cp detached/release "${commit}meta"
boots a_signed_commit_is_evidence "cat /sysroot/usr/bin/victim" "GENUINE 42"
write_policy "accept = commit"
refused refuses_commit_without_signature "no accepted signature covers the image; the policy accepts: commit"
for key in stranger revoked old; do
    write_policy "accept = commit" && cp detached/$key "${commit}meta"
    refused "refuses_commit_signed_by_$key" "0 of 1 trusted keys signed the commit"
done
write_policy "accept = commit" && copy_of "$old_commit" "$commit" && cp detached/old "${commit}meta"
refused refuses_older_commit_under_the_new_name "has checksum $commit_41"
write_policy "accept = commit" && copy_of "$old_commit" "$commit" && cp detached/old "${commit}meta" && ln -f "$old_image" "$image"
refused refuses_older_commit_and_image_under_the_new_name "has checksum $commit_41"

# The deployment.
echo "root=x ostree=/ostree/../ostree/boot.1" >/tmp/cmdline
refused refuses_target_with_dots "without . or .."
echo "root=x" >/tmp/cmdline
refused refuses_missing_target "no ostree= argument"
echo "ostree=$target ostree=$target" >/tmp/cmdline
refused refuses_target_given_twice "more than once"
echo "ostree=/ostree/boot.1/none" >/tmp/cmdline
refused refuses_target_that_does_not_exist "names no directory"
for link in "/tmp" "$deployment" "../../../tmp" "/proc/self/root"; do
    ln -s "$link" /sysroot/ostree/evil
    echo "ostree=/ostree/evil" >/tmp/cmdline
    refused "refuses_target_that_links_to_$link" "leads out of the physical root"
    rm /sysroot/ostree/evil
done
ln -s repo /sysroot/ostree/evil
echo "ostree=/ostree/evil" >/tmp/cmdline
refused refuses_target_that_is_no_deployment "expected ostree/deploy/OS/deploy/CHECKSUM.SERIAL"
rm /sysroot/ostree/evil
echo "ostree=${deployment#/sysroot}" >/tmp/cmdline
boots the_target_may_be_the_deployment_itself "cat /sysroot/usr/bin/victim" "GENUINE 42"

# Kernel arguments.
for argument in ostree.prepare-root.composefs=0 ostree.prepare-root.composefs=maybe ostree.prepare-root.composefs=signed ostree-seal.mode=unsealed; do
    echo "$argument ostree=$target" >/tmp/cmdline
    boots "ignores_$argument" "grep -o '\"mode\":\"sealed\".*ignored_arguments\":\\[\"$argument\"\\]' /run/ostree-seal/state.json | wc -l" 1
done

# The policy.
# Where it is not understood, nothing can say `on-refusal = emergency`: the machine is powered off.
off=130
rm $policy/policy.conf
refused refuses_missing_policy "$policy/policy.conf" $off
: >$policy/policy.conf
refused refuses_empty_policy "found no mode" $off
echo "check = no" >>$policy/policy.conf
refused refuses_policy_with_an_unknown_key "check" $off
rm $policy/trusted.d/*
refused refuses_policy_without_keys "wants a signature of one key (threshold 1) and has 0 that count" $off
printf '[seal]\nmode = unsealed\n' >$policy/policy.conf
boots an_unsealed_root_says_so "grep -c UNSEALED /run/motd.d/ostree-seal; grep -o '\"mode\":\"unsealed\"' /run/ostree-seal/state.json" '1
"mode":"unsealed"'

# Objects: each is found out when the file is opened, and the other files are still there.
echo TAMPERED >/tmp/tampered
object_case() {
    attempt "cat /sysroot/usr/bin/other; cat /sysroot/usr/bin/victim"
    same "$1" "0: another GENUINE 42
cat: $2" "$status: $seen"
    reset
}
eio="can't open '/sysroot/usr/bin/victim': Input/output error"
copy_of /tmp/tampered "$victim"
object_case replaced_object_gives_eio "$eio"
copy_of /tmp/tampered "$victim" && ./vm-helper enable "$victim" >/dev/null
object_case replaced_object_with_verity_gives_eio "$eio"
copy_of $good/victim "$victim"
object_case object_without_verity_gives_eio "$eio"
rm "$victim"
object_case missing_object_gives_an_error "can't open '/sysroot/usr/bin/victim': No such file or directory"

# The same content under another digest of it: fs-verity with other parameters than those that were signed.
for parameters in hash-alg=sha512 salt=00ff block-size=1024; do
    copy_of $good/image "$image"
    if ! /usr/bin/fsverity enable "$image" --$parameters 2>/tmp/enable; then
        not_ok "refuses_image_measured_with_$parameters" "$(cat /tmp/enable)"
        reset
        continue
    fi
    case $parameters in hash-alg*) text="hash algorithm 2" ;; *) text=$digest_42 ;; esac
    refused "refuses_image_measured_with_$parameters" "$text"
done

# An object with its own content, and other rights: what counts is in the image.
chmod 6777 "$victim" && chown 1000:1000 "$victim" && ./vm-helper setxattr user.genuine forged "$victim"
boots rights_of_an_object_are_the_images "stat -c '%a %u:%g' /sysroot/usr/bin/victim; cat /sysroot/usr/bin/victim" "644 0:0
GENUINE 42"
chmod 644 "$victim" && chown 0:0 "$victim"

# A genuine object, with fs-verity, in the place of another genuine one.
other=$(find $objects -name '*.file' -exec grep -l -x "another GENUINE 42" {} +)
ln -f "$other" "$victim"
object_case genuine_object_in_anothers_place_gives_eio "$eio"

# The image and the note are genuine, the objects another directory's.
mv $objects $objects.away && mkdir $objects
attempt "cat /sysroot/usr/bin/victim"
same objects_taken_away_give_errors_and_no_other_content "0: cat: can't open '/sysroot/usr/bin/victim': No such file or directory" "$status: $seen"
rmdir $objects && mv $objects.away $objects
ln -s /tmp/evil /sysroot/ostree/repo.new && mv /sysroot/ostree/repo /sysroot/ostree/repo.away && mv /sysroot/ostree/repo.new /sysroot/ostree/repo
attempt
rm /sysroot/ostree/repo && mv /sysroot/ostree/repo.away /sysroot/ostree/repo
same refuses_a_repository_that_is_a_link_out "3: " "$status: $left"
note "refuses_a_repository_that_is_a_link_out: $said"

# A transient root is as sealed as another one.
printf '[root]\ntransient = true\n' >/usr/lib/ostree/prepare-root.conf
boots a_transient_root_insists_on_verity "grep -c 'composefs /sysroot overlay rw,.*verity=require' /proc/mounts; echo mine >/sysroot/usr/bin/new && cat /sysroot/usr/bin/new /sysroot/usr/bin/victim" "1
mine
GENUINE 42"
copy_of /tmp/tampered "$victim"
object_case replaced_object_gives_eio_below_a_transient_root "$eio"
printf '[root]\ntransient-ro = true\n' >/usr/lib/ostree/prepare-root.conf
boots a_transient_root_may_begin_read_only "touch /sysroot/x 2>&1 | grep -c Read-only; mount -o remount,rw /sysroot; touch /sysroot/x; grep -c 'composefs /sysroot overlay rw,.*verity=require' /proc/mounts" "1
1"
rm /usr/lib/ostree/prepare-root.conf

# Flips below the file system, in the blocks of files that have fs-verity.
device=$(readlink -f /dev/disk/sysroot)
flip_on_disk() {
    places=$(./vm-helper locate "$1" "$2" "$device")
    for place in $places; do flip "$device" "$place"; done
    sync
    echo 3 >/proc/sys/vm/drop_caches
}
flip_back() {
    for place in $places; do flip "$device" "$place"; done
    sync
    echo 3 >/proc/sys/vm/drop_caches
    reset
}
walk="cd /sysroot/usr && find . | sort && cat share/many/* bin/* lib/os-release"
attempt "$walk"
cp /tmp/seen /tmp/whole
same the_walk_reads_everything 0 "$(grep -c error /tmp/seen)"
sync
# flips_are_never_read PROGRAM SUFFIX FLIP...: each is refused, or gives errors in place of what it changed.
flips_are_never_read() {
    with=$1 suffix=$2
    shift 2
    for flip in "$@"; do
        name=flip_of_${flip%%:*}_on_disk_is_never_read$suffix offset=${flip#*:}
        flip_on_disk $good/image "$offset"
        program=$with
        attempt "$walk"
        if [ -z "$places" ]; then
            not_ok "$name" "the block was not found on the disk"
        elif [ "$status" != 0 ]; then
            case $said in "ostree-seal-root: root "*) same "$name" "" "$left" ;; *) not_ok "$name" "$said" ;; esac
            note "$name: exit status $status: $said"
        elif [ "$(grep -v 'Input/output error' /tmp/seen | grep -c -v -x -F -f /tmp/whole)" = 0 ] &&
            { grep -q 'Input/output error' /tmp/seen || cmp -s /tmp/seen /tmp/whole; }; then
            ok "$name"
            note "$name: mounted; $(grep -c 'Input/output error' /tmp/seen) errors in the walk"
        else
            not_ok "$name" "the walk differs, and not by errors alone"
        fi
        flip_back
    done
}
# shellcheck disable=SC2086 # a list
flips_are_never_read ./ostree-seal-root "" $flips
flip_on_disk $good/victim 0
attempt "cat /sysroot/usr/bin/victim"
case "$places:$seen" in
[0-9]*:*"Input/output error") ok flip_of_content_on_disk_gives_eio ;;
*) not_ok flip_of_content_on_disk_gives_eio "at '$places': $seen" ;;
esac
flip_back

# shellcheck source=tests/vm/boot/kernels.sh
. ./kernels.sh

# shellcheck source=tests/vm/boot/tpm.sh
. ./tpm.sh
