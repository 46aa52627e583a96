# shellcheck shell=bash
# The same disk with an initramfs of Debian's initramfs-tools. Sourced by run.sh.

# initramfs_tools_root: a sid system with initramfs-tools, the kernel of SUITE, and what goes into the initramfs.
initramfs_tools_root() {
    local tree=$WORK/initramfs-tools kver
    OS_PACKAGES=initramfs-tools-core,kmod,udev,zstd,e2fsprogs os_root os-sid-initramfs-tools sid
    os_copy os-sid-initramfs-tools "$tree"
    os_add_kernel "$SUITE" "$tree" virtio_blk virtio_pci ext4 erofs overlay loop
    kver=$(kernel_version "$SUITE")
    mkdir -p "$tree/boot"
    printf 'CONFIG_RD_ZSTD=y\n' >"$tree/boot/config-$kver"
    install_program "$tree"
    install -D -m 755 -t "$tree/usr/share/initramfs-tools/hooks" "$SOURCES"/initramfs-tools/hooks/*
    install -D -m 755 -t "$tree/usr/share/initramfs-tools/scripts/local-bottom" "$SOURCES"/initramfs-tools/scripts/local-bottom/*
    install -D -m 755 -t "$tree/usr/share/initramfs-tools/scripts/panic" "$SOURCES"/initramfs-tools/scripts/panic/*
}

mkinitramfs() {
    # shellcheck disable=SC2016 # expanded by the inner shell
    unshare --mount --pid --fork sh -ec '
        mount --make-rprivate /
        mount -t proc proc "$1/proc"
        mount --rbind /sys "$1/sys"
        mount --rbind /dev "$1/dev"
        for directory in run tmp var/tmp; do mount -t tmpfs tmpfs "$1/$directory"; done
        chroot "$1" /usr/sbin/mkinitramfs -o /initrd.img "$2"
    ' mkinitramfs "$WORK/initramfs-tools" "$(kernel_version "$SUITE")"
}

# It must give up where it could not check anything.
initramfs_tools_gives_up() {
    local tree=$WORK/initramfs-tools
    echo OSTREE_SEAL=y >"$tree/etc/initramfs-tools/conf.d/ostree-seal"
    gives_up initramfs_tools_without_a_policy "there is no policy.conf" mkinitramfs
    install_policy "$tree"
    rm "$tree/usr/lib/ostree-seal/trusted.d/release.vkey"
    gives_up initramfs_tools_without_keys "no trusted.d has a .vkey file" mkinitramfs
    install_policy "$tree"
}
