#!/bin/bash
# Runs the guest tests: run.sh [TEST...], all when none is named. OSTREE_SEAL_VM_KERNELS (default: "trixie sid") names the
# Debian suites whose kernels are used, OSTREE_SEAL_VM_JOBS how many guests run at a time (one for each processor). Prints
# `ok`, `not ok` and `skip` lines, one a case, then a table; fails when a case failed or a guest didn't reach its end.
# OSTREE_SEAL_VM_KEEP=DIR keeps disks and consoles there.

# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/lib.sh"

read -r -a kernels <<<"${OSTREE_SEAL_VM_KERNELS:-trixie sid}"
JOBS=${OSTREE_SEAL_VM_JOBS:-$(nproc)}
TARGET=${CARGO_TARGET_DIR:-$VM/../../target}
SEAL=$TARGET/release/ostree-seal
SEAL_ROOT=$TARGET/$(rustc -vV | sed -n 's/^host: //p')/initrd/ostree-seal-root
VM_HELPER=$(dirname "$SEAL_ROOT")/vm-helper
export SEAL SEAL_ROOT VM_HELPER

WORKS=${OSTREE_SEAL_VM_KEEP:-}
if [ -n "$WORKS" ]; then
    mkdir -p "$WORKS"
else
    WORKS=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
    trap 'remove "$WORKS"' EXIT
fi
export WORKS

# ostree makes deployments immutable.
remove() {
    chattr -R -f -i "$1" 2>/dev/null || true
    rm -rf --one-file-system "$1"
}

# What a test costs, in seconds of one processor on one kernel: the longest are begun first, so that no processor waits at
# the end. Only the order matters; a test that isn't known is taken for a long one.
cost() {
    case $1 in
    upgrade) echo 400 ;;
    migrate) echo 350 ;;
    debian-sealed) echo 220 ;;
    deploy-verity) echo 210 ;;
    power-cut) echo 130 ;;
    boot | initramfs-archives) echo 100 ;;
    debian-baseline) echo 80 ;;
    deploy-disks | hostile | verity-offline) echo 60 ;;
    ci-image | image-mount | verity-digest) echo 20 ;;
    *) echo 300 ;;
    esac
}

# all_tests: a test is a directory with host.sh (run once: fills $DISK and $GUEST) and guest.sh, or with run.sh, which does
# it all. A benchmark runs only when it is named: times are no tests.
all_tests() {
    local script
    for script in "$VM"/*/guest.sh "$VM"/*/run.sh; do
        case $script in "$VM"/bench-* | *'/*/'*) continue ;; esac
        basename "$(dirname "$script")"
    done
}

# The queue: each test on each kernel is a job of its own.
queue() {
    local test suite
    for test in "$@"; do
        for suite in "${kernels[@]}"; do printf '%d %s %s\n' "$(cost "$test")" "$test" "$suite"; done
    done | sort --stable --numeric-sort --reverse --key=1,1 | cut -d' ' -f2,3
}

# job TEST KERNEL: runs it; its results are in $WORKS/TEST/KERNEL.results.
job() {
    local test=$1 suite=$2 results=$WORKS/$1/$2.results
    if [ -e "$VM/$test/run.sh" ]; then
        run_own "$test" "$suite" >"$results"
    elif prepare "$test"; then
        boot_once "$test" "$suite"
    else
        { sed 's/^/# /' "$WORKS/$test/host.log" | tail -n 20; echo "not ok host: host.sh failed, see above"; } >"$results"
    fi
}

# The disk of a test is made once: the job for another kernel waits for it.
prepare() {
    local test=$1 work=$WORKS/$1 status=0
    exec 8>"$work/host.lock"
    flock 8
    if [ ! -e "$work/host.status" ]; then
        mkdir "$work/guest" "$work/disk"
        cp -a "$VM/$test/." "$work/guest"
        env GUEST="$work/guest" DISK="$work/disk" WORK="$work" "$VM/$test/host.sh" >"$work/host.log" 2>&1 || status=$?
        if [ "$status" = 0 ] && [ ! -e "$work/disk.img" ]; then
            (settings "$work" && make_disk "$work/disk.img" "${DISK_SIZE:-512M}" "$work/disk") >>"$work/host.log" 2>&1 || status=$?
        fi
        echo "$status" >"$work/host.status"
    fi
    exec 8>&-
    [ "$(cat "$work/host.status")" = 0 ]
}

settings() {
    unset DISK_SIZE VM_TIMEOUT VM_MEMORY VM_CMDLINE VM_TPM
    # shellcheck source=/dev/null
    if [ -e "$1/settings" ]; then . "$1/settings"; fi
}

boot_once() {
    local test=$1 suite=$2 work=$WORKS/$1 status=0
    settings "$work"
    QEMU_DISKS=()
    if [ -n "${VM_TPM:-}" ]; then tpm "$work/$suite.tpm"; fi
    scratch_disk "$work/disk.img"
    make_initramfs "$suite" "$work/$suite.initramfs" "$work/guest"
    run_guest "$suite" "$work/$suite.initramfs" "$work/$suite.results" "$work/$suite.console" "${QEMU_DISKS[@]}" || status=$?
    rm -f "$work/$suite.initramfs"
    grep -q -x 'end 0' "$work/$suite.results" || end_missing "$test" "$suite" "$status"
}

# Without its end marker a guest has died or its script failed, and the cases that it would have run are missing.
end_missing() {
    local results=$WORKS/$1/$2.results marker
    marker=$(grep '^end ' "$results" || echo 'no end')
    {
        tail -n 30 "$WORKS/$1/$2.console" | tr -d '\r' | sed 's/^/# /'
        echo "not ok end: the guest reported '$marker' instead of 'end 0' (QEMU: $3)"
    } >>"$results"
}

run_own() {
    local test=$1 suite=$2 work=$WORKS/$1/$2 status=0
    mkdir -p "$work"
    env SUITE="$suite" WORK="$work" "$VM/$test/run.sh" 2>"$work/log" || status=$?
    if [ "$status" != 0 ]; then
        tail -n 30 "$work/log" | sed 's/^/# /'
        echo "not ok run.sh: it ended with status $status"
    fi
}

# start TEST KERNEL: runs a job in the background. Ctrl-C does not reach the background jobs of a script: each is a process
# group of its own, which ends with this one.
start() {
    local work=$WORKS/$1
    mkdir -p "$work"
    # What it costs, without what else the machine does: the processor time of all that a job has run.
    (
        job "$1" "$2" || echo "not ok job: it ended with status $?" >>"$work/$2.results"
        times >"$work/$2.times"
    ) &
    running[$!]="$1 $2 $SECONDS"
}

# processor_seconds FILE: user and system time of the processes of a shell, of what its `times` has printed.
processor_seconds() {
    awk 'NR == 2 { split($1 "m" $2, t, /[ms]+/); seconds = t[1] * 60 + t[2] + t[3] * 60 + t[4] } END { printf "%d\n", seconds }' "$1"
}

# report TEST KERNEL BEGAN: prints the cases under the test's name and adds a row to the table.
report() {
    local test=$1 suite=$2 results passed failed skipped kernel
    results=$(cat "$WORKS/$test/$suite.results" 2>/dev/null) || true
    kernel=$(sed -n 's/^kernel //p' <<<"$results" | head -n 1)
    sed -n -e "s|^ok |ok $test/$suite/|p" -e "s|^not ok |not ok $test/$suite/|p" -e "s|^skip |skip $test/$suite/|p" -e '/^#/p' <<<"$results"
    passed=$(grep -c '^ok ' <<<"$results" || true)
    failed=$(grep -c '^not ok ' <<<"$results" || true)
    skipped=$(grep -c '^skip ' <<<"$results" || true)
    if [ $((passed + failed + skipped)) = 0 ]; then
        echo "not ok $test/$suite/cases: the guest reported no case at all"
        failed=1
    fi
    printf '%-24s %-32s %6d %6d %7d %6ds %6ds\n' "$test" "$suite ${kernel:-}" "$passed" "$failed" "$skipped" \
        "$((SECONDS - $3))" "$(processor_seconds "$WORKS/$test/$suite.times")" >>"$WORKS/table"
    if [ "$failed" != 0 ]; then bad=1; fi
    # Whole disks of what has passed are of no use to anybody.
    if [ -z "${OSTREE_SEAL_VM_KEEP:-}" ] && [ -d "$WORKS/$test/$suite" ]; then remove "$WORKS/$test/$suite"; fi
}

need_programs qemu-system-x86_64 swtpm busybox cpio mke2fs modprobe xz timeout flock
for program in "$SEAL" "$SEAL_ROOT" "$VM_HELPER"; do
    [ -x "$program" ] || die "$program is not built: run 'make build-vm'"
done
if [ $# = 0 ]; then mapfile -t tests < <(all_tests); else tests=("$@"); fi
for test in "${tests[@]}"; do
    [ -e "$VM/$test/run.sh" ] || [ -e "$VM/$test/host.sh" ] || die "there is no test '$test' in $VM"
    remove "$WORKS/$test"
done
"$VM/kernels.sh" "${kernels[@]}"
"$VM/../tools/oracle.sh" # the disks of several tests are deployed by sid's ostree

bad=0
declare -A running=()
: >"$WORKS/table"
set -m
# shellcheck disable=SC2317 # called by the trap
stop() {
    local job
    for job in "${!running[@]}"; do kill -- "-$job" 2>/dev/null || true; done
    wait
    exit 130
}
trap stop INT TERM HUP
mapfile -t jobs < <(queue "${tests[@]}")
next=0
while [ "$next" -lt ${#jobs[@]} ] || [ ${#running[@]} -gt 0 ]; do
    while [ "$next" -lt ${#jobs[@]} ] && [ ${#running[@]} -lt "$JOBS" ]; do
        read -r test suite <<<"${jobs[next]}"
        next=$((next + 1))
        start "$test" "$suite"
    done
    wait -n -p ended "${!running[@]}" || true
    read -r test suite began <<<"${running[$ended]}"
    unset "running[$ended]"
    report "$test" "$suite" "$began"
done
printf '\n%-24s %-32s %6s %6s %7s %7s %7s\n' test kernel passed failed skipped wall cpu
cat "$WORKS/table"
exit "$bad"
