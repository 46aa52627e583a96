#!/bin/bash
# A benchmark, run only by its name (tests/vm/run.sh bench-deploy), since a time is no test.
# How long enabling fs-verity takes: ours against `ostree admin post-copy`, one serial process, and `fsverity enable` file by
# file; on one CPU and on two, on a disk whose every request takes 0.1 ms and on one where it takes 4 ms. Each run has a disk
# of its own that nobody has read before. Only times of one run of this script can be compared.
#   OSTREE_SEAL_SPEED_OBJECTS (3000)  size of the system
#   OSTREE_SEAL_SPEED_CPUS ("1 2")    with one CPU the guest's clock counts instructions (1 ns each) and skips waits, so it
#                                     doesn't depend on what else the host does; with two it is the host's: see the load
#   OSTREE_SEAL_SPEED_CLOCK (counted) "host" gives one CPU the host's clock, too: for systems so large that counting takes hours
#   OSTREE_SEAL_SPEED_ROUNDS (3)      how often with two CPUs; medians count
#   OSTREE_SEAL_SPEED_DEPTHS ("")     queue depths to try beside the default, such as "1 4 16 64"
#   OSTREE_SEAL_SPEED_METHODS (all)   of: ours offline (`ostree-seal verity` on the disk) serial post-copy each-file ours-slow-disk serial-slow-disk, and
#                                     profile-slow-disk, which shows what our threads wait for

# shellcheck disable=SC2153 # the runner sets WORK and SUITE
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/../lib.sh"
export VM_MACHINE=pti=off # as its figures were taken
objects=${OSTREE_SEAL_SPEED_OBJECTS:-3000}
methods=" ${OSTREE_SEAL_SPEED_METHODS:-ours offline serial post-copy each-file ours-slow-disk serial-slow-disk} "
read -r -a depths <<<"${OSTREE_SEAL_SPEED_DEPTHS:-}"
read -r -a all_cpus <<<"${OSTREE_SEAL_SPEED_CPUS:-1 2}"
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

# guest CPUS METHOD [DEPTH]: one boot, if the method was asked for; adds `CPUS METHOD DEPTH WHAT SECONDS` to the times.
guest() {
    local cpus=$1 method=$2 depth=${3:-} clock=()
    [[ $methods == *" $method "* ]] || return 0
    [ "$cpus" != 1 ] || [ "${OSTREE_SEAL_SPEED_CLOCK:-counted}" = host ] || clock=(-icount "shift=0,sleep=off")
    echo "$method $depth" >"$WORK/guest/method"
    make_initramfs "$SUITE" "$WORK/initramfs" "$WORK/guest"
    QEMU_DISKS=()
    scratch_disk "$WORK/disk.img"
    VM_MEMORY=3000 VM_TIMEOUT=3000 run_guest "$SUITE" "$WORK/initramfs" "$WORK/guest.results" "$WORK/console" "${QEMU_DISKS[@]}" \
        -smp "$cpus" "${clock[@]}" || say "QEMU: exit code $?"
    sed -n "s/^time /$cpus $method ${depth:-default} /p" "$WORK/guest.results" | tee -a "$WORK/times" >&2
    sed -e '/^time /d' -e '/^end /d' -e '/^kernel /d' "$WORK/guest.results"
    grep -q -x 'end 0' "$WORK/guest.results" || echo "not ok $method: the guest did not end well"
}

# median CPUS METHOD DEPTH WHAT
median() {
    sed -n "s/^$1 $2 $3 $4 //p" "$WORK/times" | sort -n | awk '{ all[NR] = $1 } END { if (NR) print all[int((NR + 1) / 2)] }'
}

# ratio NAME SLOW FAST: how many times faster FAST was, if both methods were asked for; both are the four arguments of
# `median` in one string.
ratio() {
    local slow fast side method
    for side in "$2" "$3"; do
        read -r _ method _ <<<"$side"
        [[ $methods == *" $method "* ]] || return 0
    done
    # shellcheck disable=SC2086 # four arguments each
    slow=$(median $2) fast=$(median $3)
    awk -v name="$1" -v slow="$slow" -v fast="$fast" \
        'BEGIN { if (slow > 0 && fast > 0) printf "# ratio %s: %.2f (%s s against %s s)\n", name, slow / fast, slow, fast; else print "not ok ratio " name ": no time was taken" }'
}

# unmeasured: the methods that were asked for and have no time, with the number of CPUs.
unmeasured() {
    local method cpus number
    for method in $methods; do
        case $method in
        profile-slow-disk) continue ;; # shows stacks, takes no time
        ours | offline | serial | post-copy) cpus=("${all_cpus[@]}") ;;
        *) cpus=(1) ;;
        esac
        for number in "${cpus[@]}"; do
            grep -q "^$number $method " "$WORK/times" || printf ' %s (CPUs: %s)' "$method" "$number"
        done
    done
}

build >"$WORK/build.log" 2>&1
mkdir -p "$WORK/guest/modules" "$WORK/guest/root"
cp "$here/guest.sh" "$WORK/guest/"
cp "$VM_HELPER" "$WORK/guest/vm-helper"
cp "$SEAL" "$WORK/guest/ostree-seal"
copy_modules "$SUITE" "$WORK/guest" null_blk
add_closure / "$SEAL" "$WORK/guest/root"
add_closure / "$(command -v fsverity)" "$WORK/guest/root"
mkdir "$WORK/guest/sid"
add_closure "$CACHE/oracle-sid" /usr/bin/ostree "$WORK/guest/sid"
: >"$WORK/times"
sed -n 's/^objects /# objects: /p' "$WORK/build.log"

echo "# objects $objects, load of the host $(cut -d' ' -f1-3 /proc/loadavg)"
for cpus in "${all_cpus[@]}"; do
    rounds=1
    [ "$cpus" = 1 ] || rounds=${OSTREE_SEAL_SPEED_ROUNDS:-3}
    for ((round = 0; round < rounds; round++)); do
        for depth in "" "${depths[@]}"; do guest "$cpus" ours "$depth"; done
        for method in offline serial post-copy; do guest "$cpus" "$method"; done
    done
done
guest 1 each-file
for depth in "" "${depths[@]}"; do guest 1 ours-slow-disk "$depth"; done
guest 1 serial-slow-disk
guest 1 profile-slow-disk
echo "# load of the host $(cut -d' ' -f1-3 /proc/loadavg)"
sed 's/^/# time /' "$WORK/times"

for cpus in "${all_cpus[@]}"; do
    ratio "post-copy against our first run, CPUs: $cpus" "$cpus post-copy default all" "$cpus ours default first"
    ratio "one serial process against our first run, CPUs: $cpus" "$cpus serial default all" "$cpus ours default first"
    ratio "one serial process against verity on the disk, CPUs: $cpus" "$cpus serial default all" "$cpus offline default all"
    ratio "our first run against our idle run, CPUs: $cpus" "$cpus ours default first" "$cpus ours default idle"
    ratio "our first run against our cold idle run, CPUs: $cpus" "$cpus ours default first" "$cpus ours default idle-cold"
    ratio "our first run against 1 % new, CPUs: $cpus" "$cpus ours default first" "$cpus ours default one-percent-new"
    # fsverity gets 200 files, so only with as many objects is it the same work.
    if [ "$cpus $objects" = "1 200" ]; then
        ratio "fsverity enable once per file against our first run" "1 each-file default 200-files" "1 ours default first"
        ratio "fsverity enable once per file against verity on the disk" "1 each-file default 200-files" "1 offline default all"
    fi
done
ratio "serial against ours on a disk with latency" "1 serial-slow-disk default all" "1 ours-slow-disk default first"
missing=$(unmeasured)
if [ -z "$missing" ]; then echo "ok every_method_was_measured"; else echo "not ok every_method_was_measured: there is no time of$missing"; fi
rm -f "$WORK/disk.img" "$WORK/initramfs"
