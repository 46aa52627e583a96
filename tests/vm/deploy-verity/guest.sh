#!/bin/sh
# `deploy` on a kernel and a disk with fs-verity: first run, idle run, killed run, damaged content.

# shellcheck source=tests/vm/guest/lib.sh
. /lib.sh

cp -r "$TEST/root/." /
seal=$TEST/ostree-seal
commit=$(cat "$TEST/commit")
directory=/sysroot/ostree/deploy/test/deploy/$commit.0
cd /sysroot/ostree/repo/objects || exit 1

count() { echo "$1" | sed -n "s/.*\"$2\": *\([0-9]*\).*/\1/p"; }

# A run that is killed leaves a part of the objects done, and nothing in the deployment.
"$seal" deploy --sysroot=/sysroot --queue-depth=1 >/tmp/killed 2>&1 &
pid=$!
first=$(find . -name '*.file' -size +100k | head -n 1)
for _ in $(seq 200); do
    "$TEST/vm-helper" measure "$first" >/dev/null 2>&1 && break
    usleep 20000
done
kill -9 $pid
wait $pid
same the_run_was_killed 137 $?
enabled() { find . -name '*.file' -type f -exec /usr/bin/lsattr {} + | cut -d' ' -f1 | grep -c V; }
all=$(find . -name '*.file' -type f | wc -l)
part=$(enabled)
succeeds the_killed_run_had_done_a_part_and_no_more test "$part" -gt 0 -a "$part" -lt "$all"

# Errors of the ioctls of one object, the last with content in the order in which they are taken: the first ioctl on it measures, the second
# enables. What was done before stays done.
find . -name '*.file' -type f -exec stat -c '%i %s %n' {} + | sort -n >/tmp/order
last=$(grep -v '^[0-9]* 0 ' /tmp/order | tail -n 1 | cut -d' ' -f3)
earlier=$(($(grep -n -F "$last" /tmp/order | cut -d: -f1) - 1))
last=${last#./}
deploy_with() { # INJECTION
    /usr/bin/strace -f -q -o /tmp/strace -P "/sysroot/ostree/repo/objects/$last" -e trace=ioctl -e "inject=ioctl:$1" \
        "$seal" deploy --sysroot=/sysroot --queue-depth=1 --threads=1
}
# object_error NAME INJECTION TEXT...
object_error() {
    name=$1
    deploy_with "$2" >/tmp/output 2>&1
    same "$name" 1 $?
    shift 2
    for text in "$last" "$@"; do
        if grep -q -F "$text" /tmp/output; then ok "${name}_says_$(echo "$text" | tr -c 'a-zA-Z0-9\n' _)"; else not_ok "$name" "no '$text' in $(cat /tmp/output)"; fi
    done
    same "${name}_leaves_nothing_in_the_deployment" "" "$(find "$directory" -maxdepth 1 -name '.ostree*')"
}
object_error an_io_error_of_measuring_is_told error=EIO:when=1 "Input/output error"
object_error an_io_error_of_enabling_is_told error=EIO:when=2 "Input/output error" "ostree fsck --delete"
object_error a_full_disk_while_enabling_is_told error=ENOSPC:when=2 "no space left" "free some space"
same all_before_the_failing_object_are_done $earlier "$(enabled)"
fails the_failing_object_is_not_done "" "$TEST/vm-helper" measure "$last"

if report=$("$seal" deploy --sysroot=/sysroot --json 2>/tmp/stderr); then ok next_run_completes; else not_ok next_run_completes "$(cat /tmp/stderr)"; fi
note "first complete run: $(count "$report" objects_enabled) enabled, $(count "$report" objects_before) before"
total=$(($(count "$report" objects_enabled) + $(count "$report" objects_before)))

signed=$(sed -n 's/^image fsverity-sha256-4096 //p' "$directory/.ostree.seal")
same image_has_verity_and_the_signed_digest "$signed" \
    "$("$TEST/vm-helper" measure "$directory/.ostree.cfs" | cut -d' ' -f1)"
succeeds verify_agrees "$seal" verify --trust="$directory/usr/lib/ostree-seal" --deployment="$directory"

before=$(find . "$directory" -maxdepth 2 -type f | sort | xargs stat -c '%n %Y %Z' | md5sum)
if report=$("$seal" deploy --sysroot=/sysroot --json 2>/tmp/stderr); then ok idle_run_succeeds; else not_ok idle_run_succeeds "$(cat /tmp/stderr)"; fi
same idle_run_enables_nothing 0 "$(count "$report" objects_enabled)"
same idle_run_changes_nothing "$before" "$(find . "$directory" -maxdepth 2 -type f | sort | xargs stat -c '%n %Y %Z' | md5sum)"
note "idle run measured $(count "$report" objects_before) objects, the first saw $total files"

mkdir -p /dev/pts && mount -t devpts devpts /dev/pts
shown=$(/usr/bin/script --quiet --return --command "stty cols 80; $seal deploy --sysroot=/sysroot" /dev/null </dev/null)
case $shown in *"enabling fs-verity "*"/"*" left"*) ok a_terminal_shows_the_progress ;; *) not_ok a_terminal_shows_the_progress "$shown" ;; esac

# A file that is busy for a moment, and a call that is interrupted: waited for, and done again. The image is in its place,
# so the object is measured with all others, then as one that lacks fs-verity, and the third call is to enable it.
for error in EINTR ETXTBSY; do
    cp "$last" "$last.new" && mv "$last.new" "$last"
    if deploy_with "error=$error:when=3..5" >/tmp/output 2>&1; then ok "${error}_is_outlasted"; else not_ok "${error}_is_outlasted" "$(cat /tmp/output)"; fi
    same "${error}_was_injected" 3 "$(grep -c "$error.*INJECTED" /tmp/strace)"
    succeeds "after_${error}_the_object_is_done" "$TEST/vm-helper" measure "$last"
done

# An object that another process has replaced.
large=$(find . -name '*.file' -size +100k | head -n 1)
object=$(echo "$large" | sed 's,^\./,,')
cp "$large" /tmp/original
{ head -c 5000 /tmp/original; printf x; tail -c +5002 /tmp/original; } >/tmp/damaged
mv "$large" /sysroot/kept
cp /tmp/damaged "$large"
fails refuses_replaced_object "$object" "$seal" deploy --sysroot=/sysroot
"$seal" deploy --sysroot=/sysroot >/dev/null 2>&1
same replaced_object_is_a_refusal 3 $?
rm "$large"
fails names_a_missing_object "$object" "$seal" deploy --sysroot=/sysroot
mv /sysroot/kept "$large"
succeeds is_sealed_again_with_the_object_back "$seal" deploy --sysroot=/sysroot

# A damaged image is made again.
fails the_deployment_is_immutable_again "" touch "$directory/x"
/usr/bin/chattr -i "$directory"
succeeds a_run_with_nothing_to_do_succeeds "$seal" deploy --sysroot=/sysroot
fails what_a_killed_run_left_changeable_is_immutable_again "" touch "$directory/x"
/usr/bin/chattr -i "$directory"
rm "$directory/.ostree.cfs"
printf half >"$directory/.ostree.cfs"
fails verify_says_no_to_a_half_image "" "$seal" verify --trust="$directory/usr/lib/ostree-seal" --deployment="$directory"
succeeds deploy_makes_the_image_again "$seal" deploy --sysroot=/sysroot
succeeds verify_agrees_again "$seal" verify --trust="$directory/usr/lib/ostree-seal" --deployment="$directory"

# An image that can't get fs-verity: nothing is placed, and the next run does it. Which ioctl enables it is read from a run that
# is let alone.
without_image() { /usr/bin/chattr -i "$directory"; rm -f "$directory/.ostree.cfs"; /usr/bin/chattr +i "$directory"; }
without_image
/usr/bin/strace -f -q -o /tmp/strace -e trace=ioctl "$seal" deploy --sysroot=/sysroot --queue-depth=1 --threads=1 >/dev/null 2>&1
main=$(head -n 1 /tmp/strace | cut -d' ' -f1)
nth=$(grep "^$main " /tmp/strace | grep -n FS_IOC_ENABLE_VERITY | tail -n 1 | cut -d: -f1)
note "the image is enabled by ioctl $nth of the main thread"
for error in EIO ENOSPC; do
    without_image
    /usr/bin/strace -f -q -o /tmp/strace -e trace=ioctl -e "inject=ioctl:error=$error:when=$nth" \
        "$seal" deploy --sysroot=/sysroot --queue-depth=1 --threads=1 >/tmp/output 2>&1
    same "${error}_on_the_image_is_told" 1 $?
    same "${error}_on_the_image_is_one_sentence" 1 "$(grep -c 'enabling fs-verity' /tmp/output)"
    fails "${error}_on_the_image_leaves_none" "" test -e "$directory/.ostree.cfs"
    succeeds "the_run_after_${error}_on_the_image_completes" "$seal" deploy --sysroot=/sysroot
done

# Killed at each call that changes the disk, of a run with objects, image and note to do: nothing half has a final name, and the
# next run completes. Calls are counted in a run that is let alone; strace counts each name and each thread by itself.
CHANGING=write,fsync,fdatasync,syncfs,linkat,link,rename,renameat,renameat2,unlink,unlinkat,mkdir,fchmod,ftruncate,flock,ioctl
all_to_do() {
    without_image
    /usr/bin/chattr -i "$directory"
    rm -f "$directory/.ostree.seal"
    /usr/bin/chattr +i "$directory"
    cp "$last" /sysroot/new && mv /sysroot/new "$last"
}
traced() { # STRACE OPTIONS...
    /usr/bin/strace -f -q -o /tmp/strace "$@" "$seal" deploy --sysroot=/sysroot --queue-depth=1 --threads=1 >/tmp/output 2>&1
}
all_to_do
traced -e trace=$CHANGING
# An ioctl that only measures or asks for flags changes nothing.
grep -v resumed /tmp/strace | sed -n 's/^\([0-9]*\) *\([a-z0-9]*\)(\(.*\)$/\1 \2 \3/p' |
    awk '{ n[$1, $2]++ } $2 != "ioctl" || /ENABLE_VERITY|SETFLAGS/ { print $2, n[$1, $2] }' | sort -u >/tmp/calls
killed=0
while read -r call nth; do
    all_to_do
    if traced -e trace="$call" -e "inject=$call:signal=KILL:when=$nth"; then not_ok "killed_at_${call}_$nth" "it was not killed"; fi
    if [ -e "$directory/.ostree.cfs" ]; then same "killed_at_${call}_${nth}_the_image_is_whole" "$signed" "$("$TEST/vm-helper" measure "$directory/.ostree.cfs" | cut -d' ' -f1)"; fi
    "$seal" deploy --sysroot=/sysroot >/tmp/output 2>&1 || not_ok "killed_at_${call}_$nth" "the next run: $(cat /tmp/output)"
    touch "$directory/x" 2>/dev/null && not_ok "killed_at_${call}_$nth" "the deployment is changeable"
    left=$(find "$directory" -maxdepth 1 -name '.ostree-seal-*')
    [ -z "$left" ] || not_ok "killed_at_${call}_$nth" "$left is left"
    killed=$((killed + 1))
done </tmp/calls
succeeds killed_at_each_call_the_next_run_completes test "$killed" -gt 15
note "killed at each of $killed calls: $(cut -d' ' -f1 /tmp/calls | uniq -c | tr -s ' \n' ' ')"

# Several at once, with all to do: they wait for each other, and all succeed.
all_to_do
for run in 1 2 3; do
    ("$seal" deploy --sysroot=/sysroot >/tmp/run-$run 2>&1; echo $? >/tmp/status-$run) &
done
wait
same three_runs_at_once_succeed "0 0 0" "$(cat /tmp/status-1 /tmp/status-2 /tmp/status-3 | tr '\n' ' ' | sed 's/ $//')"
same only_one_of_them_had_something_to_do 1 "$(cat /tmp/run-? | grep -c 'image written')"
succeeds verify_agrees_with_all_of_them "$seal" verify --trust="$directory/usr/lib/ostree-seal" --deployment="$directory"

# An object that was replaced before there is an image.
without_image
mv "$large" /sysroot/kept
cp /tmp/damaged "$large"
fails a_replaced_object_is_found_without_an_image_too "$(echo "$object" | tr -d /)" "$seal" deploy --sysroot=/sysroot
rm "$large"
mv /sysroot/kept "$large"
succeeds and_deploy_works_with_it_back "$seal" deploy --sysroot=/sysroot

# What conversions learn of objects is kept for who asks for it; a deployment leaves nothing in the repository.
same nothing_of_ours_is_in_the_repository "" "$(find /sysroot/ostree/repo -name '*seal*')"

# Now nothing is left to be found.
"$seal" doctor --sysroot=/sysroot >/tmp/doctor 2>&1
same doctor_ends_with_0_where_all_is_well 0 $?
cat /tmp/doctor >&2
same doctor_finds_nothing_here "" "$(grep -v '^ok ' /tmp/doctor)"
succeeds doctor_sees_verity_of_the_disk grep -q 'ext4 on .*: has fs-verity' /tmp/doctor
succeeds doctor_counts_the_objects grep -q 'all [0-9]* objects of the next deployment have fs-verity' /tmp/doctor
mv "$large" /sysroot/kept
cp /sysroot/kept "$large"
"$seal" doctor --sysroot=/sysroot >/tmp/doctor 2>&1
same doctor_finds_an_object_without_verity 3 $?
succeeds and_says_what_to_do grep -q -- '-> ostree-seal deploy 0' /tmp/doctor
rm "$large"
mv /sysroot/kept "$large"
