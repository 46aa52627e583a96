#!/bin/bash
# Installs the Debian packages that the named groups need: deps.sh build|check|vm|demo|bench...
# What is there already is recognised by what it does, not by its package, so on another system this passes too once
# everything has been installed by hand; until then it names what is missing and stops.

# shellcheck source=tests/tools/common.sh
. "$(dirname "$0")/common.sh"

# group | Debian package | a command that succeeds when the package's part is there
NEEDS="
build  | gcc                    | command -v cc
build  | libc6-dev              | test -e /usr/include/stdio.h -o ! -e /etc/debian_version
build  | pkg-config             | command -v pkg-config
build  | libostree-dev          | pkg-config --atleast-version=2022.6 ostree-1
check  | ostree                 | command -v ostree
check  | openssl                | command -v openssl
check  | e2fsprogs              | command -v mkfs.ext4
check  | erofs-utils            | command -v fsck.erofs
check  | fsverity               | command -v fsverity
check  | strace                 | command -v strace
check  | xz-utils               | command -v xz
check  | cpio                   | command -v cpio
check  | bsdutils               | command -v script
check  | bash-completion        | test -e /usr/share/bash-completion/bash_completion
check  | fish                   | command -v fish
check  | zsh                    | command -v zsh
check  | fdisk                  | command -v sfdisk
check  | gdisk                  | command -v sgdisk
check  | qemu-utils             | command -v qemu-img
check  | cryptsetup-bin         | command -v cryptsetup
check  | dosfstools             | command -v mkfs.vfat
check  | f2fs-tools             | command -v mkfs.f2fs
check  | squashfs-tools         | command -v mksquashfs
check  | bzip2                  | command -v bzip2
check  | xfsprogs               | command -v mkfs.xfs
check  | btrfs-progs            | command -v mkfs.btrfs
check  | zstd                   | command -v zstd
check  | mtools                 | command -v mcopy
check  | python3-yaml           | python3 -c 'import yaml'
check  | systemd-repart         | test -e /usr/bin/systemd-repart || in_bookworm
check  | systemd                | test -e /usr/bin/systemd-repart || ! in_bookworm
lint   | shellcheck             | command -v shellcheck
deb    | debhelper              | command -v dh_installsystemd
deb    | dpkg-dev               | command -v dpkg-shlibdeps
deb    | lintian                | command -v lintian
root   | debootstrap            | command -v debootstrap
root   | debian-archive-keyring | test -r /usr/share/keyrings/debian-archive-keyring.gpg
vm     | qemu-system-x86        | command -v qemu-system-x86_64
vm     | busybox-static         | busybox_is_static
vm     | kmod                   | command -v depmod
vm     | swtpm                  | command -v swtpm
"

# A dynamic busybox is useless in an initramfs that holds no libc.
busybox_is_static() { command -v busybox && ! ldd "$(command -v busybox)"; }

# Debian 12 has systemd-repart in the package of systemd.
in_bookworm() { grep -q -x VERSION_CODENAME=bookworm /etc/os-release; }

groups_of() {
    case $1 in
    build) echo build ;;
    check) echo build check lint ;;
    vm) echo build check lint root vm deb ;;
    deb) echo build deb ;;
    demo) echo build check root vm ;;
    oracle) echo root ;;
    *) die "deps.sh knows no group '$1'" ;;
    esac
}

# Prints the packages of the groups $* whose part isn't there.
missing_packages() {
    local group package test
    while IFS='|' read -r group package test; do
        group=${group// /}
        case " $* " in *" ${group:-none} "*) ;; *) continue ;; esac
        (eval "$test") >/dev/null 2>&1 || printf '%s ' "$package"
    done <<<"$NEEDS" | tr -s ' '
}

debian_12_or_13() {
    (
        # shellcheck source=/dev/null
        . /etc/os-release 2>/dev/null
        [ "${ID:-}" = debian ] && { [ "${VERSION_ID:-}" = 12 ] || [ "${VERSION_ID:-}" = 13 ]; }
    )
}

install_packages() {
    debian_12_or_13 || die "these are missing, under Debian's names: $*; install them, since only Debian 12 and 13 are served here"
    [ "$(id -u)" = 0 ] || die "these packages are missing: $*; run this as root, or 'apt-get install $*'"
    say "installing $*"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || say "apt-get update failed; going on with the lists that are there"
    apt-get install -qq -y --no-install-recommends "$@" >/dev/null || die "apt-get could not install $*"
}

need_cargo() { cargo --version >/dev/null 2>&1 || die "cargo is missing: install Rust 1.85 or newer"; }

need_lints() {
    cargo clippy --version >/dev/null 2>&1 && cargo fmt --version >/dev/null 2>&1 && return
    die "clippy or rustfmt is missing: 'rustup component add clippy rustfmt' or 'apt-get install rust-clippy rustfmt'"
}

groups=
for name in "$@"; do groups="$groups $(groups_of "$name")"; done
# What nobody can install here is asked for before anything is installed.
case " $groups " in *" build "*) need_cargo ;; esac
case " $groups " in *" lint "*) need_lints ;; esac
read -r -a packages <<<"$(missing_packages "$groups")"
if [ ${#packages[@]} -gt 0 ]; then
    install_packages "${packages[@]}"
    read -r -a packages <<<"$(missing_packages "$groups")"
    [ ${#packages[@]} -eq 0 ] || die "installed, and still not usable: ${packages[*]}"
fi
