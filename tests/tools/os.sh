# shellcheck shell=bash
# Debian as an OSTree operating system: what the demo and the full guests commit. Sourced after common.sh.
# Steps, in this order: os_root (kept in the cache), os_copy, os_add_kernel, os_initramfs, os_layout; then `ostree commit --tree=dir=TREE`.

OS_PACKAGES=systemd,systemd-sysv,udev,dbus,kmod,dracut-core,zstd,ostree,ostree-boot

# os_root NAME SUITE [,MORE,PACKAGES]: makes $CACHE/NAME with systemd, dracut and ostree, and no kernel package, so that no
# hook of one runs.
os_root() { new_root "$1" "$2" "$OS_PACKAGES${3:-}"; }

# os_copy NAME TREE: a copy that may be changed.
os_copy() {
    rm -rf "$2"
    cp -a "$CACHE/$1" "$2"
}

# os_add_kernel SUITE TREE [MODULE...]: the kernel that tests/vm/kernels.sh fetched, where OSTree expects it; with all its
# modules, or with those that are named and what they need.
os_add_kernel() {
    local suite=$1 tree=$2 from kver path
    shift 2
    kver=$(ls "$CACHE/kernels/$suite/lib/modules")
    from=$CACHE/kernels/$suite/lib/modules/$kver
    mkdir -p "$tree/usr/lib/modules"
    if [ $# = 0 ]; then
        cp -a "$from" "$tree/usr/lib/modules/$kver"
        return
    fi
    mkdir "$tree/usr/lib/modules/$kver"
    find "$from" -mindepth 1 -maxdepth 1 ! -name kernel ! -name System.map -exec cp -a -t "$tree/usr/lib/modules/$kver" {} +
    modprobe -d "$CACHE/kernels/$suite" -S "$kver" --show-depends -a "$@" | sed -n "s|^insmod .*/$kver/\([^ ]*\).*|\1|p" | sort -u |
        while read -r path; do install -D -m 644 "$from/$path" "$tree/usr/lib/modules/$kver/$path"; done
    depmod -b "$tree" "$kver"
}

# os_initramfs TREE DRACUT-MODULE...: runs the tree's own dracut. Everything that goes into the initramfs must be in place.
# OS_OMIT names dracut modules to leave out, OS_COMPRESS is dracut's option for the compression.
os_initramfs() {
    local tree=$1 kver log
    shift
    kver=$(ls "$tree/usr/lib/modules")
    log=$(mktemp)
    # shellcheck disable=SC2016 # expanded by the inner shell
    if ! unshare --mount --pid --fork sh -ec '
        tree=$1 kver=$2 modules=$3 omit=$4 compress=$5
        mount --make-rprivate /
        mount -t proc proc "$tree/proc"
        mount --rbind /sys "$tree/sys"
        mount --rbind /dev "$tree/dev"
        for directory in run tmp var/tmp; do mount -t tmpfs tmpfs "$tree/$directory"; done
        chroot "$tree" dracut --no-hostonly --reproducible --force --quiet "$compress" --kver "$kver" --add "$modules" ${omit:+--omit "$omit"} \
            --add-drivers "virtio_blk virtio_pci ext4 erofs overlay loop" "/usr/lib/modules/$kver/initramfs.img"
    ' os_initramfs "$tree" "$kver" "$*" "${OS_OMIT:-}" "${OS_COMPRESS:---zstd}" >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        die "dracut could not make the initramfs of $tree"
    fi
    rm "$log"
}

# os_layout TREE: /etc as defaults below /usr, /var empty, nothing that can't be committed.
os_layout() {
    local tree=$1 name
    find "$tree"/{dev,run,proc,sys,tmp,boot} -xdev -mindepth 1 -delete
    mkdir -p "$tree/usr/lib/sysimage" "$tree/sysroot"
    mv "$tree/var/lib/dpkg" "$tree/usr/lib/sysimage/dpkg"
    find "$tree/var" -mindepth 1 -delete
    : >"$tree/etc/machine-id"
    : >"$tree/etc/fstab" # a line for / would make systemd remount the overlay
    echo ostree-seal >"$tree/etc/hostname"
    for name in home opt srv mnt usr/local; do
        rm -rf "${tree:?}/$name"
    done
    rm -rf "${tree:?}/root" "${tree:?}/media"
    ln -s var/home "$tree/home"
    ln -s var/roothome "$tree/root"
    ln -s var/opt "$tree/opt"
    ln -s var/srv "$tree/srv"
    ln -s var/mnt "$tree/mnt"
    ln -s ../var/usrlocal "$tree/usr/local"
    ln -s run/media "$tree/media"
    ln -s sysroot/ostree "$tree/ostree"
    cat >"$tree/usr/lib/tmpfiles.d/ostree-os.conf" <<'TMPFILES'
d /var/home 0755 root root -
d /var/roothome 0700 root root -
d /var/opt 0755 root root -
d /var/srv 0755 root root -
d /var/mnt 0755 root root -
d /var/usrlocal 0755 root root -
d /var/lib 0755 root root -
L /var/lib/dpkg - - - - ../../usr/lib/sysimage/dpkg
d /run/media 0755 root root -
TMPFILES
    mv "$tree/etc" "$tree/usr/etc"
}
