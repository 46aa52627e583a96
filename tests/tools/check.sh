#!/bin/bash
# Runs the checks and counts: check.sh [everyday] [vm]. Goes on after a failure, and fails at the end if there was one. A
# table says how long each part took.
#
# A test that can't run here prints a line `SKIP name: reason` and returns; it is counted as skipped, not as passed, and
# the line is shown. With `vm`, which needs the network anyway, what other people's programs are compared with is fetched
# while the compiler works, and no such test may be skipped.

# shellcheck source=tests/tools/common.sh
. "$(dirname "$0")/common.sh"
cd "$(dirname "$0")/../.."

passed=0 failed=0 skipped=0 fetching=
work=$(mktemp -d)
trap 'rm -rf "$work"; if [ -n "$fetching" ]; then kill "$fetching" 2>/dev/null; fi' EXIT
log=$work/log
: >"$work/table"

# timed NAME COMMAND...: how long it took is a row of the table.
timed() {
    local name=$1 began=$SECONDS status=0
    shift
    "$@" || status=$?
    printf '%-24s %6ds\n' "$name" "$((SECONDS - began))" >>"$work/table"
    return "$status"
}

# step NAME COMMAND...: one check that passes or fails as a whole.
step() {
    local name=$1
    say "== $name"
    if timed "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        shift
        printf 'FAILED %s: %s\n' "$name" "$*"
    fi
}

# The output of passed tests is hidden but for what they skipped; that of failed ones is shown whole.
# libtest prints the one under `successes:`, the other under `failures:`.
show_cargo_test() {
    awk '
        /^successes:$/ { quiet = 1; next }
        /^(failures:|test result:)/ { quiet = 0 }
        quiet && /^---- / { name = $2; next }
        quiet && /^SKIP / { print; fflush(); if (!(name in seen)) { seen[name] = 1; n++ }; next }
        !quiet { print; fflush() }
        /^test result:/ { passed += $4; failed += $6; ignored += $8; delete seen; name = "" }
        END { printf "%d %d %d\n", passed - n, failed, ignored + n > tally }
    ' tally="$log"
}

cargo_test() { cargo test --locked --workspace --no-fail-fast -- --show-output 2>&1 | show_cargo_test; }

cargo_tests() {
    local status=0 ok bad skip
    say "== cargo test"
    timed "tests, run" cargo_test || status=$?
    read -r ok bad skip <"$log"
    # A test program that doesn't build or crashes leaves no line of failed tests.
    if [ "$status" != 0 ] && [ "$bad" = 0 ]; then bad=1; fi
    passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
}

lint_shell() {
    local scripts
    mapfile -t scripts < <(git ls-files '*.sh' .ci/run tests/vm/guest/init 'initramfs-tools/*' 'mkinitcpio/*')
    if ! command -v shellcheck >/dev/null; then
        echo "SKIP shellcheck: not installed"
        skipped=$((skipped + 1))
        return
    fi
    step shellcheck shellcheck --external-sources "${scripts[@]}"
}

everyday() {
    step rustfmt cargo fmt --all --check
    step clippy cargo clippy --locked --workspace --all-targets -- -D warnings
    lint_shell
    step "tests, built" cargo test --quiet --locked --workspace --no-run
    if [ -n "$fetching" ]; then step "waited for the network" fetched; fi
    cargo_tests
}

# Other people's programs, vectors, kernels and Debian roots: by a process of its own, whose log is shown.
fetch() {
    need_root "making Debian roots"
    tests/tools/fetch.sh >"$work/fetch.log" 2>&1 &
    fetching=$!
    export OSTREE_SEAL_REQUIRE_ORACLE=1
}

fetched() {
    local status=0
    wait "$fetching" || status=$?
    fetching=
    grep -v '^debconf' "$work/fetch.log" || true
    return "$status"
}

# tests/vm/run.sh prints `ok`, `not ok` and `skip` lines, one a case.
guests() { tests/vm/run.sh 2>&1 | tee "$log"; }

vm() {
    local status=0 bad
    step "programs, built" "${MAKE:-make}" --no-print-directory build-vm
    if [ -n "$fetching" ]; then step "waited for the network" fetched; fi
    step "oldest Rust" tests/tools/oldest-rust.sh
    step packages tests/packages.sh
    step mkosi tests/mkosi.sh
    say "== tests on real kernels"
    timed "real kernels" guests || status=$?
    bad=$(grep -c '^not ok ' "$log" || true)
    if [ "$status" != 0 ] && [ "$bad" = 0 ]; then bad=1; fi
    passed=$((passed + $(grep -c '^ok ' "$log" || true)))
    failed=$((failed + bad))
    skipped=$((skipped + $(grep -c '^skip ' "$log" || true)))
}

case " $* " in *" vm "*) fetch ;; esac
for part in "$@"; do
    case $part in
    everyday | vm) "$part" ;;
    *) die "check.sh knows no part '$part'" ;;
    esac
done
printf '\n%-24s %7s\n' part wall
cat "$work/table"
printf '%-24s %6ds\n\n' all "$SECONDS"
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
