#!/bin/sh
# In the guest: `bad` with the sector that can't be read, then `good` without.

# shellcheck source=tests/vm/guest/lib.sh
. /lib.sh

cp -r "$TEST/root/." /
seal=$TEST/ostree-seal
directory=/sysroot/ostree/deploy/test/deploy/$(cat "$TEST/commit").0
object=$(cat "$TEST/object")
ours() { (cd "$directory" && find . -maxdepth 1 -name '.ostree*' | sort | tr '\n' ' '); }

case $(cat "$TEST/part") in
bad)
    fails the_object_cannot_be_read "I/O error" sh -c "cat /sysroot/ostree/repo/objects/$object >/dev/null"
    fails the_object_is_named "$object" "$seal" deploy --sysroot=/sysroot
    note "$("$seal" deploy --sysroot=/sysroot 2>&1)"
    "$seal" deploy --sysroot=/sysroot >/dev/null 2>&1
    same it_is_no_refusal 1 $?
    same nothing_is_in_the_deployment "" "$(ours)"
    ;;
good)
    succeeds the_next_run_completes "$seal" deploy --sysroot=/sysroot
    same image_and_note_are_in_the_deployment "./.ostree.cfs ./.ostree.seal " "$(ours)"
    succeeds verify_agrees "$seal" verify --trust="$directory/usr/lib/ostree-seal" --deployment="$directory"
    ;;
esac
