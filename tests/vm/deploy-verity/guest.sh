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
pointed_at=$(count "$report" objects_before)
note "idle run measured $pointed_at objects, the first saw $total files"

"$seal" status --sysroot=/sysroot --json >/tmp/status.json
for line in '"verdict": "sealed"' '"boots_next": true' "\"digest\": \"$signed\"" '"product": "example.com/os"' '"seal_index": 3' \
    '"evidence": "note"' '"example.com/release+' "\"objects\": $pointed_at," "\"objects_with_verity\": $pointed_at"; do
    succeeds "status_says_$(echo "$line" | tr -c 'a-z0-9\n' _)" grep -F "$line" /tmp/status.json
done
"$seal" status --sysroot=/sysroot >/tmp/status
for line in 'next boot: deployment 0 boots sealed (sealed)' "$signed" 'by example.com/release+' 'index 3' "$pointed_at of $pointed_at have fs-verity"; do
    succeeds "status_tells_people_$(echo "$line" | tr -c 'a-z0-9\n' _)" grep -F "$line" /tmp/status
done

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

# An image whose blocks are not those that were measured has the right digest, and can't be read: `status` says so, and `deploy`
# makes it again.
with_bad_blocks() { /usr/bin/strace -f -q -o /tmp/strace -P "$directory/.ostree.cfs" -e trace=read -e inject=read:error=EIO "$@"; }
with_bad_blocks "$seal" status --sysroot=/sysroot >/tmp/status
succeeds status_refuses_an_image_with_bad_blocks grep -A1 '^0 .*: refused' /tmp/status
succeeds and_says_what_to_do_about_it grep 'why .*Input/output error.*ostree-seal deploy --sysroot=/sysroot 0' /tmp/status
inode=$(stat -c %i "$directory/.ostree.cfs")
succeeds deploy_makes_an_image_with_bad_blocks_again with_bad_blocks "$seal" deploy --sysroot=/sysroot
fails it_is_another_file "" test "$inode" = "$(stat -c %i "$directory/.ostree.cfs")"
same it_has_verity_and_the_signed_digest "$signed" "$("$TEST/vm-helper" measure "$directory/.ostree.cfs" | cut -d' ' -f1)"
inode=$(stat -c %i "$directory/.ostree.cfs")
# The first two calls that open it: to look at it, and to see whether it may stay. strace goes by the path as it is spelt.
succeeds deploy_makes_an_image_again_that_cannot_be_opened /usr/bin/strace -f -q -o /tmp/strace -P .ostree.cfs \
    -e trace=openat -e inject=openat:error=EINVAL:when=1..2 "$seal" deploy --sysroot=/sysroot
same both_calls_failed 2 "$(grep -c INJECTED /tmp/strace)"
fails it_is_another_file_again "" test "$inode" = "$(stat -c %i "$directory/.ostree.cfs")"
succeeds verify_agrees_with_it "$seal" verify --trust="$directory/usr/lib/ostree-seal" --deployment="$directory"

# What a build host without fs-verity has left: image and note in their place, a mark, and fs-verity on some files at most.
cp "$directory/.ostree.cfs" /tmp/image
cp "$directory/.ostree.seal" /tmp/note
as_a_build_host_left_it() {
    /usr/bin/chattr -i "$directory"
    cp /tmp/image "$directory/new" && mv "$directory/new" "$directory/.ostree.cfs"
    echo "to do" >"$directory/.ostree.seal-deferred"
    /usr/bin/chattr +i "$directory"
    cp "$last" /sysroot/new && mv /sysroot/new "$last"
}
as_a_build_host_left_it
fails what_a_build_host_left_has_no_verity "" "$TEST/vm-helper" measure "$directory/.ostree.cfs"
succeeds status_calls_it_deferred sh -c "$seal status --sysroot=/sysroot --json | grep '\"verdict\": \"deferred\"'"
inode=$(stat -c %i "$directory/.ostree.cfs")
if report=$("$seal" deploy --sysroot=/sysroot --json 2>/tmp/stderr); then ok deploy_completes_what_a_build_host_left; else not_ok deploy_completes_what_a_build_host_left "$(cat /tmp/stderr)"; fi
same it_keeps_the_image '"image": "kept",' "$(echo "$report" | grep -o '"image": .*')"
same it_is_the_same_file "$inode" "$(stat -c %i "$directory/.ostree.cfs")"
same it_enables_what_lacks_verity 1 "$(count "$report" objects_enabled)"
same the_kept_image_has_verity_and_the_signed_digest "$signed" "$("$TEST/vm-helper" measure "$directory/.ostree.cfs" | cut -d' ' -f1)"
fails the_mark_is_gone "" test -e "$directory/.ostree.seal-deferred"
fails and_the_deployment_is_immutable "" touch "$directory/x"

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

# A fault at each call that changes the disk, of a run with objects, image and note to do, and of one that completes a build
# host's. Calls are counted in a run that is let alone; strace counts each name and each thread by itself.
CHANGING=write,fsync,fdatasync,syncfs,linkat,link,rename,renameat,renameat2,unlink,unlinkat,mkdir,fchmod,ftruncate,flock,ioctl
all_to_do() {
    without_image
    /usr/bin/chattr -i "$directory"
    rm -f "$directory/.ostree.seal"
    /usr/bin/chattr +i "$directory"
    cp "$last" /sysroot/new && mv /sysroot/new "$last"
}
traced() { # STRACE OPTIONS...
    /usr/bin/strace -f -q -o /tmp/strace "$@" "$seal" deploy --sysroot=/sysroot --queue-depth=1 --threads=1 </dev/null >/tmp/output 2>&1
}
# An ioctl that only measures or asks for flags changes nothing.
list_calls() {
    traced -e trace=$CHANGING
    grep -v resumed /tmp/strace | sed -n 's/^\([0-9]*\) *\([a-z0-9]*\)(\(.*\)$/\1 \2 \3/p' |
        awk '{ n[$1, $2]++ } $2 != "ioctl" || /ENABLE_VERITY|SETFLAGS/ { print $2, n[$1, $2] }' | sort -u
}
# Prints what is there under a final name and is not whole.
half() {
    for pair in .ostree.cfs:/tmp/image .ostree.seal:/tmp/note; do
        if [ -e "$directory/${pair%%:*}" ]; then cmp "$directory/${pair%%:*}" "${pair#*:}"; fi
    done 2>&1
}
# Prints what is missing for a sealed deployment without anything beside.
missing() {
    [ "$("$TEST/vm-helper" measure "$directory/.ostree.cfs" | cut -d' ' -f1)" = "$signed" ] || echo "the image has no verity, or another digest"
    "$TEST/vm-helper" measure "$last" >/dev/null || echo "$last has no verity"
    cmp "$directory/.ostree.seal" /tmp/note
    [ ! -e "$directory/.ostree.seal-deferred" ] || echo "the mark is still there"
    find "$directory" -maxdepth 1 -name '.ostree-seal-*'
    if touch "$directory/x" 2>/dev/null; then echo "the deployment is changeable"; fi
}
# at_each_call SCENARIO FAULT ENDED: FAULT at each call in turn. Nothing half has a final name, the function ENDED is content
# with exit code and output, and the next run completes.
at_each_call() {
    $1
    list_calls >/tmp/calls
    tried=0
    while read -r call nth; do
        $1
        traced -e trace="$call" -e "inject=$call:$2:when=$nth"
        wrong=$($3 $? 2>&1; half)
        "$seal" deploy --sysroot=/sysroot </dev/null >/tmp/output 2>&1 || wrong="$wrong the next run: $(cat /tmp/output)"
        wrong=$wrong$(missing 2>&1)
        [ -z "$wrong" ] || not_ok "$1_${2}_at_${call}_$nth" "$(echo "$wrong" | tr '\n' ' ')"
        tried=$((tried + 1))
    done </tmp/calls
    same "$1_${2}_at_each_call_was_tried" "$(grep -c . /tmp/calls)" "$tried"
    note "$1, $2 at each of $tried calls: $(cut -d' ' -f1 /tmp/calls | uniq -c | tr -s ' \n' ' ')"
}
was_killed() { if [ "$1" = 0 ]; then echo "it was not killed"; fi; }
# Some calls may fail without harm, such as unlocking; then all is as it should be.
told_or_did_no_harm() {
    case $1 in
    0) missing ;;
    1) [ "$(grep -c '^error: ' /tmp/output)" = 1 ] || echo "not one sentence: $(cat /tmp/output)" ;;
    *) echo "exit code $1: $(cat /tmp/output)" ;;
    esac
}
for scenario in all_to_do as_a_build_host_left_it; do
    at_each_call $scenario signal=KILL was_killed
    succeeds "${scenario}_has_calls_that_change_the_disk" test "$tried" -gt 12
    at_each_call $scenario error=EIO told_or_did_no_harm
done

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
succeeds and_says_what_to_do grep -q -- '-> ostree-seal deploy --sysroot=/sysroot 0' /tmp/doctor
rm "$large"
mv /sysroot/kept "$large"
