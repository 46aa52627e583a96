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

if report=$("$seal" deploy --sysroot=/sysroot --json 2>/tmp/stderr); then ok next_run_completes; else not_ok next_run_completes "$(cat /tmp/stderr)"; fi
note "first complete run: $(count "$report" objects_enabled) enabled, $(count "$report" objects_before) before"
fails "the_killed_run_had_done_a_part" "" test "$(count "$report" objects_before)" = 0
total=$(($(count "$report" objects_enabled) + $(count "$report" objects_before)))

same image_has_verity_and_the_signed_digest "$(count_digest=$(sed -n 's/^image fsverity-sha256-4096 //p' "$directory/.ostree.seal"); echo "$count_digest")" \
    "$("$TEST/vm-helper" measure "$directory/.ostree.cfs" | cut -d' ' -f1)"
succeeds verify_agrees "$seal" verify --trust="$directory/usr/lib/ostree-seal" --deployment="$directory"

before=$(find . "$directory" -maxdepth 2 -type f | sort | xargs stat -c '%n %Y %Z' | md5sum)
if report=$("$seal" deploy --sysroot=/sysroot --json 2>/tmp/stderr); then ok idle_run_succeeds; else not_ok idle_run_succeeds "$(cat /tmp/stderr)"; fi
same idle_run_enables_nothing 0 "$(count "$report" objects_enabled)"
same idle_run_changes_nothing "$before" "$(find . "$directory" -maxdepth 2 -type f | sort | xargs stat -c '%n %Y %Z' | md5sum)"
note "idle run measured $(count "$report" objects_before) objects, the first saw $total files"

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
rm "$directory/.ostree.cfs"
printf half >"$directory/.ostree.cfs"
fails verify_says_no_to_a_half_image "" "$seal" verify --trust="$directory/usr/lib/ostree-seal" --deployment="$directory"
succeeds deploy_makes_the_image_again "$seal" deploy --sysroot=/sysroot
succeeds verify_agrees_again "$seal" verify --trust="$directory/usr/lib/ostree-seal" --deployment="$directory"

# A read-only disk, and a disk whose file system has no room.
mount -o remount,ro /sysroot
rm -f /tmp/x
succeeds idle_run_needs_no_writable_disk_or_says_so sh -c "$seal deploy --sysroot=/sysroot 2>/tmp/ro || grep -q 'read-only\|Read-only' /tmp/ro"
mount -o remount,rw /sysroot
