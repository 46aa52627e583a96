#!/bin/bash
# Fetches Debian kernels for the guests: kernels.sh SUITE... (trixie: 6.12, sid: the newest). Each is made once, under
# $CACHE/kernels/SUITE: a root with lib/modules/KVER, where depmod has run and vmlinuz lies beside the modules.

# shellcheck source=tests/tools/common.sh
. "$(dirname "$0")/../tools/common.sh"
# shellcheck source=tests/tools/apt.sh
. "$(dirname "$0")/../tools/apt.sh"

# The package that the cloud metapackage stands for, and the parts that newer kernels are split into.
kernel_packages() {
    local suite=$1 queue=linux-image-cloud-amd64 name depends
    while [ -n "$queue" ]; do
        depends=
        for name in $queue; do
            depends="$depends $(apt_for "$suite" apt-cache show --no-all-versions "$name" | parts_among_depends)"
        done
        queue=${depends%"${depends##*[! ]}"}
        printf '%s\n' "$queue"
    done | tr -s ' ' '\n' | grep . | sort -u
}

# Control records -> the names of kernel parts they depend on, on one line.
parts_among_depends() {
    sed -n 's/^\(Pre-\)\{0,1\}Depends: //p' | tr ',|' '\n' | sed 's/ *(.*//; s/ //g' |
        { grep -E '^linux-(image|binary|modules|base)-[0-9]' || true; } | tr '\n' ' '
}

fetch() {
    local suite=$1 work=$CACHE/kernels/$1.partial package
    rm -rf "$work"
    mkdir -p "$work/debs" "$work/root"
    update_lists "$suite" "$suite"
    mapfile -t packages < <(kernel_packages "$suite")
    [ ${#packages[@]} -gt 0 ] || die "$suite has no linux-image-cloud-amd64"
    (cd "$work/debs" && apt_for "$suite" apt-get download "${packages[@]}") >>"$CACHE/apt/$suite/log" 2>&1 ||
        die "could not download ${packages[*]}; see $CACHE/apt/$suite/log"
    for package in "$work"/debs/*.deb; do dpkg -x "$package" "$work/root"; done
    arrange "$work/root"
    mv -T "$work/root" "$CACHE/kernels/$suite"
    rm -rf "$work"
}

# Releases differ in where modules and vmlinuz lie: bring both to lib/modules/KVER.
arrange() {
    local root=$1 kver
    if [ -d "$root/usr/lib/modules" ]; then
        mkdir -p "$root/lib"
        mv "$root/usr/lib/modules" "$root/lib/modules"
    fi
    kver=$(ls "$root/lib/modules")
    if [ -e "$root/boot/vmlinuz-$kver" ]; then mv "$root/boot/vmlinuz-$kver" "$root/lib/modules/$kver/vmlinuz"; fi
    [ -e "$root/lib/modules/$kver/vmlinuz" ] || die "no vmlinuz for '$kver' among the kernel packages"
    rm -rf "${root:?}/boot" "${root:?}/usr"
    depmod -b "$root" "$kver"
}

[ "$(uname -m)" = x86_64 ] || die "the virtual machine tests are for x86_64 hosts"
need_programs apt-get dpkg depmod xz flock
mkdir -p "$CACHE/kernels"
for suite in "$@"; do
    [ -d "$CACHE/kernels/$suite" ] && continue
    exec 9>"$CACHE/kernels/$suite.lock"
    flock 9
    if [ ! -d "$CACHE/kernels/$suite" ]; then
        say "fetching the kernel of Debian $suite"
        fetch "$suite"
    fi
    exec 9>&-
done
