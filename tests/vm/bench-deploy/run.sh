#!/bin/bash
# A benchmark, run only by its name (tests/vm/run.sh bench-deploy), since a time is no test.
# How long enabling fs-verity takes: ours against `ostree admin post-copy`, one serial process, and `fsverity enable` file by
# file; on one CPU and on two, and on a disk whose every request takes 4 ms. Each run has a disk of its own that nobody has
# read before. Only times of one run of this script can be compared. The size of the system: OSTREE_SEAL_SPEED_OBJECTS (3000).
# With one CPU the guest's clock counts instructions (1 ns each) and waits, so it doesn't depend on what else the host does;
# with two it is the host's clock, which needs a quiet host: OSTREE_SEAL_SPEED_CPUS="1 2" (1).

# shellcheck disable=SC2153 # the runner sets WORK and SUITE
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/../lib.sh"
objects=${OSTREE_SEAL_SPEED_OBJECTS:-3000}
here=$(cd "$(dirname "$0")" && pwd)

# A system of two deployments: the newer one has 1 % other objects. Sizes are like those of /usr: half below 3 KiB, a few large.
build() {
    local disk=$WORK/disk tree=$WORK/tree repo size version
    repo=$disk/ostree/repo
    mkdir -p "$disk" "$tree"/usr/{etc,lib/modules/6.12,lib/ostree-seal/trusted.d}
    ostree admin init-fs --modern "$disk"
    ostree admin os-init --sysroot="$disk" test
    ostree config --repo="$repo" set ex-integrity.fsverity maybe
    "$SEAL" keygen --name=example.com/release "$WORK/release"
    cp "$WORK/release.vkey" "$tree/usr/lib/ostree-seal/trusted.d/"
    printf '[seal]\nmode = sealed\nproduct = example.com/os\n' >"$tree/usr/lib/ostree-seal/policy.conf"
    echo ID=test >"$tree/usr/lib/os-release"
    echo kernel >"$tree/usr/lib/modules/6.12/vmlinuz"
    head -c 8000000 /dev/urandom >"$WORK/random"
    python3 "$here/files.py" "$tree/usr/share" "$objects" 1
    for version in 1 2; do
        [ "$version" = 1 ] || python3 "$here/files.py" "$tree/usr/share" $((objects / 100)) 2
        ostree commit --repo="$repo" -b os --owner-uid=0 --owner-gid=0 --no-xattrs --add-metadata-string=version="$version" "$tree"
        "$SEAL" sign --repo="$repo" os --key="$WORK/release.key" --product=example.com/os --index="$version"
        ostree admin deploy --sysroot="$disk" --os=test os
        chattr -R -f -i "$disk/ostree/deploy" || true
    done
    size=$(du -sm --apparent-size "$disk" | cut -f1)
    make_disk "$WORK/disk.img" $((size * 3 / 2 + 64 + objects / 50))M "$disk"
    rm -rf "$disk" "$tree"
}

# guest METHOD [QEMU ARGS...]: one boot; prints what the guest reports.
guest() {
    local method=$1
    shift
    [ "$2" != 1 ] || set -- "$@" -icount shift=0,sleep=on
    echo "$method" >"$WORK/guest/method"
    make_initramfs "$SUITE" "$WORK/initramfs" "$WORK/guest"
    QEMU_DISKS=()
    scratch_disk "$WORK/disk.img"
    VM_TIMEOUT=3000 run_guest "$SUITE" "$WORK/initramfs" "$WORK/results" "$WORK/console" "${QEMU_DISKS[@]}" "$@" || say "QEMU: exit code $?"
    sed -n "s/^time \([^ ]*\) \(.*\)/\1 \2/p" "$WORK/results" | while read -r what seconds; do
        echo "$method${2:+ on $2 CPUs}: $what $seconds" >>"$WORK/times"
    done
    sed -e '/^time /d' -e '/^end /d' -e '/^kernel /d' "$WORK/results"
    grep -q -x 'end 0' "$WORK/results" || echo "not ok $method: the guest did not end well"
}

# seconds METHOD: of one line of the results.
seconds() { sed -n "s/^$1 //p" "$WORK/times" | head -n 1; }

# ratio NAME SLOW FAST: how many times faster FAST was.
ratio() {
    awk -v name="$1" -v slow="$(seconds "$2")" -v fast="$(seconds "$3")" \
        'BEGIN { if (fast > 0) printf "# ratio %s: %.2f (%s s against %s s)\n", name, slow / fast, slow, fast; else print "not ok " name ": no time was taken" }'
}

build >"$WORK/build.log" 2>&1
mkdir -p "$WORK/guest/modules" "$WORK/guest/root"
cp "$here/guest.sh" "$WORK/guest/"
cp "$VM_HELPER" "$WORK/guest/vm-helper"
cp "$SEAL" "$WORK/guest/ostree-seal"
copy_modules "$SUITE" "$WORK/guest" dm-mod dm-delay
add_closure / "$SEAL" "$WORK/guest/root"
add_closure / "$(command -v dmsetup)" "$WORK/guest/root"
add_closure / "$(command -v fsverity)" "$WORK/guest/root"
mkdir "$WORK/guest/sid"
add_closure "$CACHE/oracle-sid" /usr/bin/ostree "$WORK/guest/sid"
: >"$WORK/times"
sed -n 's/^objects /# objects: /p' "$WORK/build.log"

read -r -a all_cpus <<<"${OSTREE_SEAL_SPEED_CPUS:-1}"
for cpus in "${all_cpus[@]}"; do
    for method in ours serial post-copy; do guest "$method" -smp "$cpus"; done
done
guest each-file -smp 1
for method in ours-slow-disk serial-slow-disk; do guest "$method" -smp 1; done
sed 's/^/# /' "$WORK/times"

ratio "post-copy against our first run, one CPU" "post-copy on 1 CPUs: all" "ours on 1 CPUs: first"
[[ " ${all_cpus[*]} " != *" 2 "* ]] || ratio "post-copy against our first run, two CPUs" "post-copy on 2 CPUs: all" "ours on 2 CPUs: first"
ratio "our first run against our idle run" "ours on 1 CPUs: first" "ours on 1 CPUs: idle"
ratio "serial against ours on a disk with latency" "serial-slow-disk on 1 CPUs: all" "ours-slow-disk on 1 CPUs: first"
echo "ok every_method_was_measured"
rm -f "$WORK/disk.img" "$WORK/initramfs"
