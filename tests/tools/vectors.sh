#!/bin/bash
# The composefs project's own test vectors, out of Debian's source package, in $CACHE/composefs-vectors. Made once and kept.

# shellcheck source=tests/tools/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=tests/tools/apt.sh
. "$(dirname "$0")/apt.sh"

fetch() {
    local work=$CACHE/composefs-vectors.partial
    rm -rf "$work"
    mkdir -p "$work/source" "$work/vectors"
    update_lists sid-sources sid deb-src
    (cd "$work/source" && apt_for sid-sources apt-get source --download-only composefs) >>"$CACHE/apt/sid-sources/log" 2>&1 ||
        die "could not download the source of composefs; see $CACHE/apt/sid-sources/log"
    tar -C "$work/vectors" --strip-components=3 --wildcards -xf "$work"/source/composefs_*.orig.tar.* '*/tests/assets/*'
    ls "$work"/vectors/*.dump.sha256 >/dev/null || die "the source of composefs has no vectors in tests/assets"
    mv -T "$work/vectors" "$CACHE/composefs-vectors"
    rm -rf "$work"
}

if [ ! -d "$CACHE/composefs-vectors" ]; then
    need_programs apt-get flock tar
    mkdir -p "$CACHE"
    exec 9>"$CACHE/composefs-vectors.lock"
    flock 9
    if [ ! -d "$CACHE/composefs-vectors" ]; then
        say "fetching the test vectors of the composefs project"
        fetch
    fi
fi
