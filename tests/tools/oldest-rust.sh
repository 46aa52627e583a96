#!/bin/bash
# Builds and lints all targets with the oldest Rust that the README promises, Debian 13's, in a root of its own: what a newer
# compiler lets pass is found here. The root, the crates and what was compiled are kept in the cache. `oldest-rust.sh root` makes
# the root and no more.

# shellcheck source=tests/tools/common.sh
. "$(dirname "$0")/common.sh"
cd "$(dirname "$0")/../.."

ROOT=rust-trixie

# By apt, since debootstrap does not find out what libostree-dev depends on.
add_the_oldest() {
    local version
    DEBIAN_FRONTEND=noninteractive chroot "$1" sh -ec '
        apt-get -qq update
        apt-get -qq -y --no-install-recommends install rustc cargo rust-clippy gcc libc6-dev pkg-config libostree-dev
        apt-get clean' >>"$CACHE/$ROOT.log" 2>&1 || die "apt could not install Rust in $ROOT; its log is $CACHE/$ROOT.log"
    version=$(chroot "$1" rustc --version)
    case $version in "rustc 1.85."*) ;; *) die "expected Rust 1.85 in Debian 13, found '$version'" ;; esac
}

# The crates of Cargo.lock, from this machine's own registry.
vendor() {
    local name
    name=vendor-$(sha256sum Cargo.lock | cut -c 1-16)
    if [ ! -d "$CACHE/$name" ]; then
        rm -rf "$CACHE"/vendor-*
        cargo vendor --quiet --locked --versioned-dirs "$CACHE/$name.partial" >/dev/null
        mv -T "$CACHE/$name.partial" "$CACHE/$name"
    fi
    printf '%s\n' "$CACHE/$name"
}

FINISH=add_the_oldest new_root "$ROOT" trixie ca-certificates
if [ "${1:-}" = root ]; then exit; fi
need_own_mounts "the check with the oldest Rust"
crates=$(vendor)
mkdir -p "$CACHE/$ROOT-target"
# shellcheck disable=SC2016 # expanded by the inner shell
exec unshare --mount --propagation private sh -ec '
    root=$1 sources=$2 crates=$3 target=$4
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/mnt"
    mkdir "$root/mnt/sources" "$root/mnt/crates" "$root/mnt/target" "$root/mnt/cargo"
    mount --bind -o ro "$sources" "$root/mnt/sources"
    mount --bind -o ro "$crates" "$root/mnt/crates"
    mount --bind "$target" "$root/mnt/target"
    printf "[source.crates-io]\nreplace-with = \"vendored\"\n[source.vendored]\ndirectory = \"/mnt/crates\"\n" >"$root/mnt/cargo/config.toml"
    exec chroot "$root" env -i PATH=/usr/bin:/bin CARGO_BUILD_JOBS="${CARGO_BUILD_JOBS:-2}" HOME=/mnt/cargo CARGO_HOME=/mnt/cargo CARGO_TARGET_DIR=/mnt/target \
        sh -ec "cd /mnt/sources && exec cargo clippy --offline --locked --workspace --all-targets -- -D warnings"
' oldest-rust "$CACHE/$ROOT" "$PWD" "$crates" "$CACHE/$ROOT-target"
