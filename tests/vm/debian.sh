# shellcheck shell=bash
# A whole Debian with systemd and dracut as a guest: built, committed, deployed and booted. Sourced after lib.sh by the
# run.sh of a test; README.md, "A whole Debian", has an example.

# shellcheck source=tests/tools/os.sh
. "$VM/../tools/os.sh"

OSNAME=debian
BRANCH=test/os

# debian_root: the sid system that the trees are copied from, made once. Its own programs make sysroots and initramfs images.
debian_root() { FINISH=slim os_root "$ROOT" sid; }

# What takes no part in a boot, as in Debian's slim images: a guest has to hash and look at each file. Of the units, what waits
# for a person or for hardware that a guest doesn't have, and what nobody here uses: each costs half a second when it is emulated.
slim() {
    local share unit
    for share in bash-completion bug common-licenses debianutils doc gcc gnupg i18n info keyrings lintian locale man menu perl \
        perl5 pixmaps zoneinfo zsh; do
        rm -rf "${1:?}/usr/share/$share"
    done
    rm -rf "${1:?}"/usr/lib/x86_64-linux-gnu/{gconv,perl,perl5,perl-base} "$1"/usr/lib/apt "$1"/usr/lib/systemd/catalog \
        "$1"/usr/lib/udev/hwdb.d "$1"/usr/bin/perl* "$1"/var/lib/dpkg/info
    : >"$1/usr/lib/udev/hwdb.bin"
    for unit in e2scrub_reap.service getty@tty1.service serial-getty@ttyS0.service systemd-logind.service systemd-logind-varlink.socket \
        systemd-hwdb-update.service dev-{hugepages,mqueue}.mount sys-kernel-{config,debug,tracing}.mount sys-fs-fuse-connections.mount \
        proc-sys-fs-binfmt_misc.automount modprobe@{configfs,dm_mod,efi_pstore,fuse,loop}.service kmod-static-nodes.service \
        systemd-{creds,factory-reset,hostnamed,journalctl,sysext,sysinstall,udevd-varlink}.socket systemd-udev-load-credentials.service \
        apt-daily{,-upgrade}.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer; do
        ln -sf /dev/null "$1/usr/lib/systemd/system/$unit"
    done
    # Of the devices that were there before udev, those that a guest waits for; there are hundreds of others.
    sed -i 's/^\(ExecStart=.*udevadm trigger\) .*/\1 --action=add --subsystem-match=pci --subsystem-match=virtio --subsystem-match=block --subsystem-match=tpm --subsystem-match=tpmrm/' \
        "$1/usr/lib/systemd/system/systemd-udev-trigger.service"
}

# Another definition of it is another root.
ROOT=os-sid-$({ declare -f slim; printf '%s' "$OS_PACKAGES"; } | sha256sum | cut -c 1-8)

# debian_tree SUITE TREE DRACUT-MODULE [CUSTOMISE]: a sid system with the kernel of SUITE. The function CUSTOMISE gets TREE
# before dracut runs: there it can install programs, policies and units.
debian_tree() {
    local suite=$1 tree=$2 module=$3 customise=${4:-:}
    debian_root
    os_copy "$ROOT" "$tree"
    os_add_kernel "$suite" "$tree" virtio_blk virtio_pci ext4 erofs overlay loop autofs4 fuse
    add_test_unit "$tree"
    chroot "$tree" passwd -q -d root
    "$customise" "$tree"
    debian_initramfs "$tree" "$module"
    rm -rf "$tree/usr/lib/dracut"
    os_layout "$tree"
}

# debian_initramfs TREE DRACUT-MODULE...: without what no guest needs, and not compressed: the kernel and each `deploy` and
# `status` would unpack it, which takes seconds in a guest. OS_COMPRESS=--zstd makes what dracut makes elsewhere.
debian_initramfs() {
    local tree=$1
    shift
    OS_COMPRESS=${OS_COMPRESS:---no-compress} \
        OS_OMIT="hwdb lunmask nvdimm qemu resume systemd-battery-check terminfo usrmount virtfs virtiofs" \
        os_initramfs "$tree" "$@"
}

# The unit runs guest.sh from the disk with the serial `test`, a tar archive, once the system is up. What it prints goes to
# ttyS1. So one system serves many tests, and each boot can have its own script.
add_test_unit() {
    local unit=usr/lib/systemd/system/vm-test.service
    install -D -m 644 "$VM/guest/vm-test.service" "$1/$unit"
    install -D -m 755 "$VM/guest/vm-test" "$1/usr/lib/vm-test/vm-test"
    install -D -m 644 "$VM/guest/lib.sh" "$1/usr/lib/vm-test/lib.sh"
    mkdir -p "$1/usr/lib/systemd/system/multi-user.target.wants"
    ln -s ../vm-test.service "$1/usr/lib/systemd/system/multi-user.target.wants/vm-test.service"
}

# in_sid DIRECTORY COMMAND...: runs sid's programs with DIRECTORY visible as /mnt.
in_sid() {
    local directory=$1
    shift
    # shellcheck disable=SC2016 # expanded by the inner shell
    unshare --mount --propagation private sh -ec '
        root=$1 directory=$2
        shift 2
        mount -t proc proc "$root/proc"
        mount --bind "$directory" "$root/mnt"
        exec chroot "$root" "$@"
    ' in_sid "$CACHE/$ROOT" "$directory" "$@"
}

# debian_sysroot DIRECTORY: an empty physical root, as `ostree admin init-fs` makes it, with a bare repository.
debian_sysroot() {
    debian_root
    mkdir -p "$1"
    in_sid "$1" ostree admin init-fs --epoch=1 /mnt
    in_sid "$1" ostree admin os-init --sysroot=/mnt "$OSNAME"
    in_sid "$1" ostree config --repo=/mnt/ostree/repo set sysroot.bootloader none
}

# debian_commit DIRECTORY TREE [OSTREE-COMMIT ARGS...]: TREE must lie in DIRECTORY/.. and is committed into its repository.
debian_commit() {
    local sysroot=$1 tree=$2
    shift 2
    in_sid "$(dirname "$sysroot")" ostree commit --repo="/mnt/$(basename "$sysroot")/ostree/repo" --branch="$BRANCH" \
        --tree=dir="/mnt/$(basename "$tree")" "$@"
}

# debian_deploy DIRECTORY [OSTREE-ADMIN-DEPLOY ARGS...]
debian_deploy() {
    local sysroot=$1
    shift
    in_sid "$sysroot" env OSTREE_SYSROOT_DEBUG=mutable-deployments ostree admin deploy --sysroot=/mnt --os="$OSNAME" \
        --karg=root=LABEL=sysroot --karg=rw --karg=console=ttyS0 "$@" "$BRANCH"
}

# debian_enable_verity SUITE DISK: enables fs-verity on all file objects and images of DISK, in a small guest, since the build
# host may not be able to. Prints the cases.
debian_enable_verity() {
    local suite=$1 disk=$2 work
    work=$(mktemp -d)
    mkdir "$work/guest"
    cp "$VM_HELPER" "$work/guest/vm-helper"
    cp "$VM/guest/enable.sh" "$work/guest/guest.sh"
    make_initramfs "$suite" "$work/initramfs" "$work/guest"
    QEMU_DISKS=()
    disk "$disk"
    run_guest "$suite" "$work/initramfs" "$work/results" "$disk.enable.console" "${QEMU_DISKS[@]}" || say "QEMU: exit code $?"
    show_results "$work/results"
    rm -rf "$work"
}

# show_results RESULTS: prints the cases of one boot; one more has failed if its end is missing.
show_results() {
    grep -v '^end ' "$1" || true
    grep -q -x 'end 0' "$1" || echo "not ok end: expected 'end 0', found '$(grep '^end ' "$1" || true)'"
}

# The console is slow, and nobody answers what systemd asks a terminal. What it does once after an update of /usr (caches,
# system users) takes half a minute and isn't ours.
BOOT_OPTIONS='panic=-1 loglevel=4 systemd.show_status=error systemd.condition_needs_update=0 TERM=dumb'
BOOT_OPTIONS+=' systemd.tty.term.console=dumb systemd.tty.rows.console=24 systemd.tty.columns.console=80'

# boot_debian DISK RESULTS CONSOLE SCRIPT-DIRECTORY [ENTRY]: boots the newest boot loader entry of DISK (or the ENTRYth, from
# 0) with SCRIPT-DIRECTORY/guest.sh as the test. Writes to DISK are kept. VM_CMDLINE is appended to its arguments.
# VM_INITRAMFS takes the place of the entry's initramfs.
boot_debian() {
    local disk=$1 results=$2 console=$3 script=$4 entry=${5:-0} files options
    files=$(mktemp -d)
    options=$(extract_entry "$disk" "$entry" "$files")
    [ -z "${VM_INITRAMFS:-}" ] || cp "$VM_INITRAMFS" "$files/initrd"
    tar -C "$script" -cf "$files/test.tar" .
    truncate -s %512 "$files/test.tar"
    QEMU_DISKS=()
    disk "$disk"
    drive "$files/test.tar" test on
    VM_TIMEOUT=${VM_TIMEOUT:-1800} \
        boot_qemu "$files/linux" "$files/initrd" "$options $BOOT_OPTIONS ${VM_CMDLINE:-}" "$results" "$console" "${QEMU_DISKS[@]}" ||
        say "QEMU: exit code $?"
    rm -rf "$files"
}

# extract_entry DISK ENTRY DIRECTORY: kernel and initramfs of the ENTRYth boot loader entry; prints its options.
extract_entry() {
    local disk=$1 entry=$2 directory=$3 text
    text=$(boot_entries "$disk" | sed -n "$((entry + 1))p")
    [ -n "$text" ] || die "$disk has no boot loader entry $entry"
    text=$(debugfs -R "cat /boot/loader/entries/$text" "$disk" 2>/dev/null)
    debugfs -R "dump $(sed -n 's,^linux ,/boot,p' <<<"$text") $directory/linux" "$disk" 2>/dev/null
    debugfs -R "dump $(sed -n 's,^initrd ,/boot,p' <<<"$text") $directory/initrd" "$disk" 2>/dev/null
    if [ ! -s "$directory/linux" ] || [ ! -s "$directory/initrd" ]; then die "could not read kernel and initramfs from $disk"; fi
    sed -n 's/^options //p' <<<"$text"
}

# boot_entries DISK: file names of the boot loader entries, default first.
boot_entries() {
    debugfs -R 'ls -p /boot/loader/entries' "$1" 2>/dev/null | cut -d/ -f6 | grep '\.conf$' | sort --reverse --version-sort
}
