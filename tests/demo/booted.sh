#!/bin/sh
# In the booted system: shows how its root came to be. It ends with an error where something is not as it should be.
set -eu

show() {
    echo "\$ $*"
    output=$("$@" 2>&1) || {
        echo "$output"
        echo "this failed"
        exit 1
    }
    echo "$output" | sed 's/^/  /'
}

# shows TEXT COMMAND...: what it prints must have TEXT in it.
shows() {
    text=$1
    shift
    show "$@"
    case $output in *"$text"*) ;; *) echo "expected '$text' in this" && exit 1 ;; esac
}

show uname -r
shows running systemctl is-system-running --wait
shows verity=require findmnt --noheadings --output FSTYPE,OPTIONS /
shows '* ' ostree admin status
shows sealed ostree-seal status
shows '"mode": "sealed"' python3 -m json.tool /run/ostree-seal/state.json
shows Read-only sh -c 'touch /usr/bin/new-file || true'
