#!/bin/bash
# The Debian packages: built, clean for lintian, and in a Debian of their own installed, upgraded and purged without a trace.
# `make check` runs it. Prints what is wrong and fails, or nothing. `packages.sh root` makes the root and no more.

cd "$(dirname "$0")/.."
# shellcheck source=tests/tools/common.sh
. tests/tools/common.sh

TARGET=${CARGO_TARGET_DIR:-target}
# shellcheck source=/dev/null
SUITE=$(. /etc/os-release && echo "$VERSION_CODENAME")
ROOT=packages-$SUITE

# chrooted ROOT COMMAND...: without a network, so that all dependencies must be there.
chrooted() {
    local root=$1
    shift
    # shellcheck disable=SC2016 # expanded by the inner shell
    unshare --mount --pid --net --fork sh -ec 'mount --make-rprivate /; mount -t proc proc "$1/proc"; root=$1; shift; exec chroot "$root" "$@"' \
        chrooted "$root" env LC_ALL=C DEBIAN_FRONTEND=noninteractive "$@"
}

# Every name, but for what dpkg and its helpers write down for themselves.
names() { (cd "$1" && find . -xdev ! -path './var/lib/dpkg/*' ! -path './var/log/*' ! -path './var/cache/*' | LC_ALL=C sort); }

# The same packages, said to be newer.
newer() {
    local deb=$1 to=$2 unpacked
    unpacked=$(mktemp -d -p "$WORK")
    dpkg-deb --raw-extract "$deb" "$unpacked"
    sed -i 's/^Version: .*/&+1/' "$unpacked/DEBIAN/control"
    dpkg-deb --root-owner-group --build "$unpacked" "$to/$(basename "$deb")" >/dev/null
}

need_root "testing the packages (it makes a Debian root)"
new_root "$ROOT" "$SUITE" libostree-1-1,dracut-core,initramfs-tools-core,init-system-helpers
if [ "${1:-}" = root ]; then exit; fi
WORK=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
trap 'rm -rf --one-file-system "$WORK"' EXIT

"${MAKE:-make}" --no-print-directory deb >"$WORK/log" 2>&1 || { tail -n 30 "$WORK/log" >&2; die "the packages were not built"; }
lintian --allow-root --fail-on error,warning,info "$TARGET"/deb/*.deb || die "lintian has something to say"

cp -a "$CACHE/$ROOT" "$WORK/root"
mkdir "$WORK/root/debs" "$WORK/root/newer"
cp "$TARGET"/deb/*.deb "$WORK/root/debs"
rm "$WORK"/root/debs/*-dbgsym_*.deb
for deb in "$WORK"/root/debs/*.deb; do newer "$deb" "$WORK/root/newer"; done
names "$WORK/root" >"$WORK/before"

# The hooks of the two generators keep each other out, so one after the other.
for hook in dracut initramfs-tools; do
    for directory in debs newer; do
        # shellcheck disable=SC2016 # expanded by the inner shell
        chrooted "$WORK/root" sh -ec 'dpkg --install "/$1"/ostree-seal_*.deb "/$1/ostree-seal-$2"_*.deb' install "$directory" "$hook" \
            >"$WORK/log" 2>&1 || { cat "$WORK/log" >&2; die "ostree-seal-$hook: /$directory was not installed"; }
    done
    chrooted "$WORK/root" ostree-seal --version >/dev/null || die "the installed program does not run"
    [ -x "$WORK/root/usr/lib/ostree-seal/ostree-seal-root" ] || die "ostree-seal-root is not there"
    [ -L "$WORK/root/etc/systemd/system/multi-user.target.wants/ostree-seal-deploy.path" ] || die "the path unit is not enabled"
    chrooted "$WORK/root" dpkg --purge "ostree-seal-$hook" ostree-seal >"$WORK/log" 2>&1 || { cat "$WORK/log" >&2; die "not purged"; }
    names "$WORK/root" >"$WORK/after"
    diff "$WORK/before" "$WORK/after" >&2 || die "ostree-seal-$hook: purged, and this is left or gone"
done

# What `make install` installs is what the packages hold, but for where Debian wants it.
"${MAKE:-make}" --no-print-directory install DESTDIR="$WORK/installed" PREFIX=/usr >/dev/null
for deb in "$WORK"/root/debs/*.deb; do dpkg-deb --extract "$deb" "$WORK/packed"; done
files() { (cd "$1" && find . -type f ! -path './usr/share/doc/*' ! -path './usr/share/lintian/*' | sed 's|^\./usr/|./|; s|\.gz$||; s|zsh/vendor-completions|zsh/site-functions|' | LC_ALL=C sort); }
diff <(files "$WORK/installed") <(files "$WORK/packed") >&2 || die "the packages hold other files than \`make install\` installs"
