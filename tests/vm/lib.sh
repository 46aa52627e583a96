# shellcheck shell=bash
# Small virtual machines on real Debian kernels: what a guest test's host side uses. README.md has the reference.
# Sourced; brings tests/tools/common.sh with it.

VM=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/tools/common.sh
. "$VM/../tools/common.sh"

# Prints the version of the kernel of SUITE.
kernel_version() { ls "$CACHE/kernels/$1/lib/modules"; }

# vmlinuz SUITE: prints the path of its kernel image.
vmlinuz() { printf '%s\n' "$CACHE/kernels/$1/lib/modules/$(kernel_version "$1")/vmlinuz"; }

# make_initramfs SUITE OUT DIRECTORY: busybox, the modules that every test needs, our /init, and DIRECTORY as /test.
make_initramfs() {
    local suite=$1 out=$2 content=$3 root
    root=$(mktemp -d)
    mkdir -p "$root"/{bin,dev,proc,sys,run,tmp,sysroot,modules}
    cp "$(command -v busybox)" "$root/bin/busybox"
    install -m 755 "$VM/guest/init" "$root/init"
    install -m 644 "$VM/guest/lib.sh" "$root/lib.sh"
    copy_modules "$suite" "$root" virtio_blk loop overlay erofs
    cp -a "$content" "$root/test"
    (cd "$root" && find . -print0 | cpio --null --create --format=newc --owner=0:0 --quiet) | gzip -1 >"$out"
    rm -rf "$root"
}

# Modules with all that they need, unpacked since busybox can't read .xz, and /modules/order to load them by.
copy_modules() {
    local suite=$1 root=$2 path name
    shift 2
    modprobe -d "$CACHE/kernels/$suite" -S "$(kernel_version "$suite")" --show-depends -a "$@" |
        sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' | while read -r path; do
        name=$(basename "$path" .xz)
        xz -dc "$path" >"$root/modules/$name"
        printf '%s\n' "$name" >>"$root/modules/order"
    done
}

# make_disk OUT SIZE DIRECTORY: an ext4 file system with room for fs-verity, filled with DIRECTORY: owners, modes, hard
# links and extended attributes are kept. SIZE as mke2fs takes it (300M).
make_disk() {
    rm -f "$1"
    mke2fs -q -t ext4 -b 4096 -O verity -E root_owner=0:0 -L sysroot -d "$3" "$1" "$2" >/dev/null
}

# flip_on_disk DISK PATH: another bit in the first block of a file, below the file system.
flip_on_disk() {
    local block at byte
    block=$(debugfs -R "bmap $2 0" "$1" 2>/dev/null)
    at=$((block * 4096 + 1100))
    byte=$(od -An -tu1 -j "$at" -N 1 "$1" | tr -d ' ')
    printf '%b' "\\x$(printf '%02x' $((byte ^ 1)))" | dd of="$1" bs=1 seek="$at" conv=notrunc status=none
}

# add_closure ROOT PROGRAM DIRECTORY: copies a dynamic program of the root directory ROOT (/ for this machine) with its
# libraries and loader to the same paths below DIRECTORY.
add_closure() {
    local root=$1 program=$2 into=$3 path
    { printf '%s\n' "$program" && list_libraries "$root" "$program"; } | while read -r path; do
        mkdir -p "$into$(dirname "$path")"
        cp -L "${root%/}$path" "$into$path"
    done
}

list_libraries() {
    chroot "$1" ldd "$2" | grep -o '/[^ ]*'
}

# run_guest SUITE INITRAMFS RESULTS CONSOLE [QEMU ARGS...]: boots, waits for the end, and leaves what the guest wrote to
# ttyS1 in RESULTS and its console in CONSOLE. VM_TIMEOUT seconds (300), VM_MEMORY MiB (1024), VM_CMDLINE extra kernel
# arguments. A guest that doesn't end in time is killed and is a failure.
run_guest() {
    local suite=$1 initramfs=$2 results=$3 console=$4 status=0
    shift 4
    boot_qemu "$(vmlinuz "$suite")" "$initramfs" "console=ttyS0 panic=-1 loglevel=6 ${VM_CMDLINE:-}" "$results" "$console" "$@" || status=$?
    return "$status"
}

# boot_qemu KERNEL INITRAMFS CMDLINE RESULTS CONSOLE [QEMU ARGS...]: the machine itself, without KVM. cx16 is off because
# emulated guests panic with it at random; rdrand is on because the first reader of random bytes waits a second without.
# With page-table isolation the kernel loads CR3 twice in each system call, and QEMU, which has no PCID, then forgets every
# address that it has translated: that took half of a guest's time. Processors without Meltdown do without it, too. The other
# mitigations, AppArmor and auditing cost an eighth, and nothing here is about them. With --foreground the guest stays in the
# process group of its test, and ends with it. VM_MACHINE has other arguments about the machine. What the command VM_KEYS prints is
# typed at the console; of others, nobody sits there.
boot_qemu() {
    local kernel=$1 initramfs=$2 cmdline=$3 results=$4 console=$5 status=0 serial
    shift 5
    : >"$results.raw"
    if [ -n "${VM_KEYS:-}" ]; then
        serial=(-chardev "stdio,id=console,signal=off,logfile=$console" -serial chardev:console)
    else
        serial=(-serial "file:$console")
    fi
    timeout --foreground --kill-after=5 "${VM_TIMEOUT:-300}" qemu-system-x86_64 -nodefaults -no-user-config -no-reboot -display none \
        -machine pc,accel=tcg -cpu 'Nehalem,-cx16,+rdrand' -m "${VM_MEMORY:-1024}" \
        -kernel "$kernel" -initrd "$initramfs" -append "${VM_MACHINE:-mitigations=off apparmor=0 audit=0} $cmdline" \
        "${serial[@]}" -serial "file:$results.raw" "$@" < <("${VM_KEYS:-true}") >/dev/null || status=$?
    tr -d '\r' <"$results.raw" >"$results"
    rm -f "$results.raw"
    case $status in 124 | 137) say "the guest did not end within ${VM_TIMEOUT:-300} s" ;; esac
    return "$status"
}

# disk FILE [SERIAL]: QEMU arguments for a disk whose writes are kept; scratch_disk FILE [SERIAL]: thrown away at the end.
disk() { drive "$1" "${2:-sysroot}" off; }
scratch_disk() { drive "$1" "${2:-sysroot}" on; }

# tpm DIR: starts a TPM with its state in DIR, which ends with its guest, and adds QEMU arguments for it to QEMU_DISKS.
tpm() {
    mkdir -p "$1"
    swtpm socket --tpm2 --tpmstate "dir=$1" --ctrl "type=unixio,path=$1/socket" --flags startup-clear --terminate --daemon
    QEMU_DISKS+=(-chardev "socket,id=tpm,path=$1/socket" -tpmdev "emulator,id=tpm0,chardev=tpm" -device "tpm-crb,tpmdev=tpm0")
}

drive() {
    QEMU_DISKS+=(-drive "file=$1,if=none,format=raw,id=$2,snapshot=$3,cache=unsafe" -device "virtio-blk-pci,drive=$2,serial=$2")
}
