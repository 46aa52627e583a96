#!/bin/bash
# Runs the guest tests: run.sh [TEST...], all when none is named. OSTREE_SEAL_VM_KERNELS (default: "trixie sid") names the
# Debian suites whose kernels are used. Prints `ok`, `not ok` and `skip` lines, one a case, then a table; fails when a case
# failed or a guest didn't reach its end. OSTREE_SEAL_VM_KEEP=DIR keeps disks and consoles there.

# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/lib.sh"

read -r -a kernels <<<"${OSTREE_SEAL_VM_KERNELS:-trixie sid}"
TARGET=${CARGO_TARGET_DIR:-$VM/../../target}
SEAL=$TARGET/release/ostree-seal
SEAL_ROOT=$TARGET/$(rustc -vV | sed -n 's/^host: //p')/initrd/ostree-seal-root
VM_HELPER=$(dirname "$SEAL_ROOT")/examples/vm-helper
export SEAL SEAL_ROOT VM_HELPER

if [ -n "${OSTREE_SEAL_VM_KEEP:-}" ]; then
    WORKS=$OSTREE_SEAL_VM_KEEP
    mkdir -p "$WORKS"
else
    WORKS=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
    trap 'rm -rf "$WORKS"' EXIT
fi
table=$WORKS/table
: >"$table"
bad=0

# A test is a directory with host.sh (run once: fills $DISK and $GUEST) and guest.sh, or with run.sh, which does it all.
run_test() {
    local test=$1 work=$WORKS/$1 suite
    rm -rf "$work"
    mkdir -p "$work"
    if [ -e "$VM/$test/run.sh" ]; then
        for suite in "${kernels[@]}"; do run_own "$test" "$suite"; done
        return
    fi
    mkdir "$work/guest" "$work/disk"
    cp -a "$VM/$test/." "$work/guest"
    if ! env GUEST="$work/guest" DISK="$work/disk" WORK="$work" "$VM/$test/host.sh" >"$work/host.log" 2>&1; then
        report "$test" host 1 <(tail -n 20 "$work/host.log"; echo "not ok $test/host: host.sh failed, see above")
        return
    fi
    unset DISK_SIZE VM_TIMEOUT VM_MEMORY VM_CMDLINE
    # shellcheck source=/dev/null
    if [ -e "$work/settings" ]; then . "$work/settings"; fi
    [ -e "$work/disk.img" ] || make_disk "$work/disk.img" "${DISK_SIZE:-512M}" "$work/disk"
    for suite in "${kernels[@]}"; do boot_once "$test" "$suite"; done
}

boot_once() {
    local test=$1 suite=$2 work=$WORKS/$1 status=0
    QEMU_DISKS=()
    scratch_disk "$work/disk.img"
    make_initramfs "$suite" "$work/$suite.initramfs" "$work/guest"
    run_guest "$suite" "$work/$suite.initramfs" "$work/$suite.results" "$work/$suite.console" "${QEMU_DISKS[@]}" || status=$?
    rm -f "$work/$suite.initramfs"
    grep -q -x 'end 0' "$work/$suite.results" || end_missing "$test" "$suite" "$status"
    report "$test" "$suite" "$status" "$work/$suite.results"
}

# Without its end marker a guest has died or its script failed, and the cases that it would have run are missing.
end_missing() {
    local results=$WORKS/$1/$2.results marker
    marker=$(grep '^end ' "$results" || echo 'no end')
    tail -n 30 "$WORKS/$1/$2.console" | tr -d '\r' >&2
    echo "not ok end: the guest reported '$marker' instead of 'end 0' (QEMU: $3)" >>"$results"
}

run_own() {
    local test=$1 suite=$2 work=$WORKS/$1/$2 status=0
    mkdir -p "$work"
    env SUITE="$suite" WORK="$work" "$VM/$test/run.sh" >"$work/results" 2>"$work/log" || status=$?
    if [ "$status" != 0 ]; then
        tail -n 30 "$work/log" >&2
        echo "not ok run.sh: it ended with status $status" >>"$work/results"
    fi
    report "$test" "$suite" "$status" "$work/results"
}

# report TEST KERNEL STATUS RESULTS: prints the cases under the test's name and adds a row to the table.
report() {
    local test=$1 suite=$2 results passed failed skipped kernel
    results=$(cat "$4")
    kernel=$(sed -n 's/^kernel //p' <<<"$results" | head -n 1)
    sed -n -e "s|^ok |ok $test/$suite/|p" -e "s|^not ok |not ok $test/$suite/|p" -e "s|^skip |skip $test/$suite/|p" -e '/^#/p' <<<"$results"
    passed=$(grep -c '^ok ' <<<"$results" || true)
    failed=$(grep -c '^not ok ' <<<"$results" || true)
    skipped=$(grep -c '^skip ' <<<"$results" || true)
    if [ $((passed + failed + skipped)) = 0 ]; then
        echo "not ok $test/$suite/cases: the guest reported no case at all"
        failed=1
    fi
    printf '%-24s %-32s %6d %6d %7d %6ds\n' "$test" "$suite ${kernel:-}" "$passed" "$failed" "$skipped" "$((SECONDS - started))" >>"$table"
    started=$SECONDS
    if [ "$failed" != 0 ]; then bad=1; fi
}

need_programs qemu-system-x86_64 busybox cpio mke2fs modprobe xz timeout
for program in "$SEAL" "$SEAL_ROOT" "$VM_HELPER"; do
    [ -x "$program" ] || die "$program is not built: run 'make build-vm'"
done
"$VM/kernels.sh" "${kernels[@]}"
"$VM/../tools/oracle.sh" # the disks of several tests are deployed by sid's ostree
# A guest keeps one processor busy, so the kernels have one each. Tests that are named run one after the other. Ctrl-C does
# not reach the background jobs of a script: each is a process group of its own, which ends with this one.
if [ $# = 0 ] && [ ${#kernels[@]} -gt 1 ]; then
    set -m
    running=()
    trap 'kill -- "${running[@]}"; wait; exit 130' INT TERM HUP
    for suite in "${kernels[@]}"; do
        OSTREE_SEAL_VM_KERNELS=$suite OSTREE_SEAL_VM_KEEP=$WORKS/$suite "$0" &
        running+=("-$!")
    done
    for suite in "${kernels[@]}"; do wait -n || bad=1; done
    exit "$bad"
fi
started=$SECONDS
if [ $# = 0 ]; then
    for script in "$VM"/*/guest.sh "$VM"/*/run.sh; do
        # A benchmark runs only when it is named: times are no tests.
        case $script in "$VM"/bench-* | *'/*/'*) continue ;; esac
        set -- "$@" "$(basename "$(dirname "$script")")"
    done
fi
for test in "$@"; do run_test "$test"; done
printf '\n%-24s %-32s %6s %6s %7s %7s\n' test kernel passed failed skipped wall
cat "$table"
exit "$bad"
