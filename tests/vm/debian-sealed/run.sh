#!/bin/bash
# A whole Debian with systemd and dracut, sealed: it boots, is used, is booted again, and is refused with one flipped bit.

set -euo pipefail
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/vm/debian.sh
. "$(dirname "$0")/../debian.sh"
# shellcheck source=tests/vm/notes.sh
. "$(dirname "$0")/../notes.sh"
: "${SUITE:?} ${WORK:?} ${VM_HELPER:?} ${SEAL_ROOT:?}" # set by tests/vm/run.sh
SOURCES=$VM/../..

# shellcheck source=tests/vm/debian-sealed/initramfs-tools.sh
. "$VM/debian-sealed/initramfs-tools.sh"

# composefs = verity makes Debian's ostree write an image with digests; our program does not read that key.
customise() {
    local tree=$1
    printf '[composefs]\nenabled = verity\n[sysroot]\nreadonly = true\n' >"$tree/usr/lib/ostree/prepare-root.conf"
    install -D -m 755 "$SOURCES/dracut/50ostree-seal/module-setup.sh" "$tree/usr/lib/dracut/modules.d/50ostree-seal/module-setup.sh"
    if [ "$SUITE" = sid ]; then dracut_gives_up "$tree" >"$WORK/dracut.results"; fi
    install_program "$tree"
    install_policy "$tree"
}

install_program() {
    install -D -m 755 "$SEAL_ROOT" "$1/usr/lib/ostree-seal/ostree-seal-root"
    install -D -m 644 "$SOURCES/systemd/ostree-seal-root.service" "$1/usr/lib/systemd/system/ostree-seal-root.service"
}

# One kernel sees the one, one the other.
case $SUITE in
sid) ON_REFUSAL=reboot ENDS='restart in 10 s' ;;
*) ON_REFUSAL=halt ENDS='power off after 60 s' ;;
esac

install_policy() {
    install -D -m 644 "$WORK/keys/release.vkey" "$1/usr/lib/ostree-seal/trusted.d/release.vkey"
    printf '[seal]\nmode = sealed\nproduct = example.com/small\naccept = note\nthreshold = 1\nminimum-index = 7\non-refusal = %s\n' "$ON_REFUSAL" \
        >"$1/usr/lib/ostree-seal/policy.conf"
}

# gives_up NAME TEXT COMMAND...: no initramfs is made, and the sentence says why.
gives_up() {
    local name=gives_up_$1 text=$2 said
    shift 2
    if said=$("$@" 2>&1); then
        echo "not ok $name: an initramfs was made"
    elif grep -q "ostree-seal: $text.*; this initramfs could not boot a sealed system" <<<"$said"; then
        echo "ok $name"
    else
        echo "not ok $name: $(tail -n 3 <<<"$said" | tr '\n' ' ')"
    fi
}

# dracut must fail where it could not check anything, when the module is asked for.
dracut_gives_up() {
    install_program "$1"
    gives_up dracut_without_a_policy "there is no policy.conf" debian_initramfs "$1" ostree-seal
    install_policy "$1"
    rm "$1/usr/lib/ostree-seal/trusted.d/release.vkey"
    gives_up dracut_without_keys "no trusted.d has a .vkey file" debian_initramfs "$1" ostree-seal
    install_policy "$1"
    rm "$1/usr/lib/ostree-seal/ostree-seal-root"
    gives_up dracut_without_the_program "ostree-seal-root is not installed" debian_initramfs "$1" ostree-seal
    install_program "$1"
    rm "$1/usr/lib/systemd/system/ostree-seal-root.service"
    gives_up dracut_without_the_unit "ostree-seal-root is not installed" debian_initramfs "$1" ostree-seal
    install_program "$1"
    mv "$1"/usr/lib/modules/*/kernel/fs/erofs "$1/erofs-away"
    chroot "$1" depmod "$(kernel_version "$SUITE")"
    gives_up dracut_without_erofs "the kernel has no erofs or no overlay module" debian_initramfs "$1" ostree-seal
    mv "$1/erofs-away" "$(echo "$1"/usr/lib/modules/*/kernel/fs)/erofs"
    chroot "$1" depmod "$(kernel_version "$SUITE")"
}

# boot NAME SCRIPT: boots the disk with SCRIPT as the test.
boot() {
    rm -rf "$WORK/script"
    mkdir "$WORK/script"
    cp "$VM/debian-sealed/$2" "$WORK/script/guest.sh"
    boot_debian "$WORK/disk.img" "$WORK/$1.results" "$WORK/$1.console" "$WORK/script"
}

key example.com/release
OS_COMPRESS=--zstd debian_tree "$SUITE" "$WORK/tree" "ostree ostree-seal" customise >&2
debian_sysroot "$WORK/sysroot" >&2
debian_commit "$WORK/sysroot" "$WORK/tree" >&2
debian_deploy "$WORK/sysroot" >&2
deployment=$(cd "$WORK/sysroot" && echo ostree/deploy/*/deploy/*.0)
commit=$(basename "$deployment" .0)
digest=$(fsverity digest --compact "$WORK/sysroot/$deployment/.ostree.cfs" | cut -d: -f2)
seal_note "$digest" 7 "$commit" release >"$WORK/sysroot/$deployment/.ostree.seal"
make_disk "$WORK/disk.img" 2G "$WORK/sysroot" >&2
debian_enable_verity "$SUITE" "$WORK/disk.img"

boot first booted.sh
show_results "$WORK/first.results"
boot second again.sh
show_results "$WORK/second.results" | sed 's/^\(ok\|not ok\) /\1 second_boot_/'

if [ "$SUITE" = sid ]; then # one kernel is enough for other ways to make an initramfs
    cat "$WORK/dracut.results"
    initramfs_tools_root >&2
    initramfs_tools_gives_up
    mkinitramfs >&2
    VM_INITRAMFS=$WORK/initramfs-tools/initrd.img boot initramfs-tools again.sh
    show_results "$WORK/initramfs-tools.results" | sed 's/^\(ok\|not ok\) /\1 with_initramfs_tools_/'
fi

# Somebody at the console: for 20 seconds after the refusal, and all the time before it.
type_for_20_seconds() {
    local console=$WORK/$typing.console
    while ! grep -q 'root refused\|nothing was started' "$console" 2>/dev/null && [ ! -e "$WORK/$typing.over" ]; do press; done
    for _ in {1..10}; do press; done
    while [ ! -e "$WORK/$typing.over" ]; do sleep 1; done
}

press() {
    printf '\r\n\004\003id\r\n'
    sleep 2
}

# refused_boot NAME TEXT: the guest ends by itself, as the policy says, and nobody got a shell.
refused_boot() {
    typing=$1
    VM_KEYS=type_for_20_seconds VM_TIMEOUT=300 boot "$1" booted.sh
    : >"$WORK/$1.over"
    on_the_console "$1" "$1_is_refused_on_the_console" "$2"
    on_the_console "$1" "$1_ends_as_the_policy_says" "nothing was started; $ENDS"
    if grep -q 'uid=0\|[$#] id\|login:\|for maintenance' "$WORK/$1.console"; then
        echo "not ok $1_gives_nobody_a_shell: the console has one"
    else
        echo "ok $1_gives_nobody_a_shell"
    fi
    if grep -q . "$WORK/$1.results"; then
        echo "not ok $1_does_not_boot: $(head -n 1 "$WORK/$1.results")"
    else
        echo "ok $1_does_not_boot"
    fi
}

# on_the_console BOOT NAME PATTERN
on_the_console() {
    if grep -q "$3" "$WORK/$1.console"; then echo "ok $2"; else echo "not ok $2: the console has no '$3'"; fi
}

flip_on_disk "$WORK/disk.img" "/$deployment/.ostree.cfs"
refused_boot flipped "root refused: /$deployment/.ostree.cfs can't be read"
if [ "$SUITE" = sid ]; then
    VM_INITRAMFS=$WORK/initramfs-tools/initrd.img refused_boot flipped_with_initramfs_tools "root refused: /$deployment/.ostree.cfs can't be read"
    # Not a refusal, but something that who has the disk can do as well.
    VM_CMDLINE="root=LABEL=nowhere rd.timeout=5 rd.retry=5" refused_boot no_root_device "nothing was started"
fi
