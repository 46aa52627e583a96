# shellcheck shell=bash
# What the helper scripts share: the cache directory, messages, the machine's own Debian mirror, and Debian roots.
# Sourced, never run.

set -euo pipefail

PATH=$PATH:/usr/sbin:/sbin # mkfs and debootstrap live there, and not every user has it

# Everything that is slow to make and doesn't depend on the source tree lives here, and survives `make clean`.
CACHE=${OSTREE_SEAL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ostree-seal}

say() { printf '%s\n' "$*" >&2; }

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

need_root() { [ "$(id -u)" = 0 ] || die "$1 needs root: run it as root"; }

# Whoever mounts does it in a mount namespace, which takes the mounts along when it ends.
need_own_mounts() {
    local said
    if said=$(unshare --mount --propagation private true 2>&1); then return; fi
    if [ "$(awk '$5 == "/"' /proc/self/mountinfo 2>/dev/null)" = "" ]; then
        die "$1 needs a / that is a mount point, with /proc in it, and this looks like a plain chroot: leave it, run 'mount --bind DIR DIR' and 'mount -t proc proc DIR/proc' on its directory, and enter it again"
    fi
    die "$1 needs a mount namespace of its own, and may make none here: $said"
}

need_programs() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || die "$program is missing: run 'make deps' as root on Debian 12 or 13, or install it"
    done
}

# The URI that this machine's apt takes Debian's main section from; the suite doesn't matter, a mirror has all of them.
debian_mirror() {
    local uri
    uri=$(mirror_known_to_apt)
    if [ -z "$uri" ] && [ "$(id -u)" = 0 ]; then
        apt-get update -qq >&2 || true # container images come without lists, and then apt knows no origin
        uri=$(mirror_known_to_apt)
    fi
    [ -n "$uri" ] || die "apt knows no Debian mirror: add one to /etc/apt/sources.list and run 'apt-get update'"
    printf '%s\n' "$uri"
}

# shellcheck disable=SC2016 # $(REPO_URI) and its like are apt's, not the shell's
mirror_known_to_apt() {
    command -v apt-get >/dev/null || die "apt-get is missing: this step needs Debian 12 or 13"
    apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(CREATED_BY)|$(REPO_URI)' |
        awk -F'|' '$1 == "Debian" && $2 == "Debian" && $3 == "main" && $4 == "Packages" && $5 ~ /^http/ && !n++ { print $5 }'
}

KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# Makes the Debian root $CACHE/NAME with debootstrap, unless it is there: new_root NAME SUITE PACKAGE,...
# It gets its name when it is complete, so a root that was interrupted halfway never counts. FINISH, if set, names a
# function that gets the unfinished root for a last step.
new_root() {
    local name=$1 suite=$2 packages=$3 mirror work
    [ -d "$CACHE/$name" ] && return
    need_root "making the Debian root $name"
    need_programs debootstrap flock
    [ -r "$KEYRING" ] || die "$KEYRING is missing: install debian-archive-keyring"
    mirror=$(debian_mirror)
    mkdir -p "$CACHE/debs"
    exec 9>"$CACHE/$name.lock"
    flock 9 # a second caller waits here, and then finds the root made
    if [ ! -d "$CACHE/$name" ]; then
        remove_root "$CACHE/$name.partial"
        work=$CACHE/$name.partial
        mkdir -p "$work"
        say "making $CACHE/$name (debootstrap $suite, a minute or two)"
        if ! debootstrap --variant=minbase --merged-usr --keyring="$KEYRING" --cache-dir="$CACHE/debs" \
            --include="$packages" "$suite" "$work" "$mirror" >"$CACHE/$name.log" 2>&1; then
            tail -n 20 "$CACHE/$name.log" >&2
            die "debootstrap could not make $name from $mirror; its log is $CACHE/$name.log"
        fi
        rm -f "$work"/var/cache/apt/archives/*.deb
        if [ -n "${FINISH:-}" ]; then "$FINISH" "$work"; fi
        mv -T "$work" "$CACHE/$name"
    fi
    exec 9>&-
}

# Removes a root, but never what is mounted beneath it.
remove_root() {
    local mounted
    while read -r mounted; do
        umount -l "$mounted"
    done < <(awk -v root="$1/" 'index($5, root) == 1 { print $5 }' /proc/self/mountinfo | sort -r)
    rm -rf --one-file-system "$1"
}
