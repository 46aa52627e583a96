#!/bin/bash
# Power cuts, kills and fuzz targets, for as long as one likes: `make soak SOAK_ROUNDS=10` or `SOAK_HOURS=8`. Everything that is
# drawn by chance in round N comes from SOAK_SEED + N, so that a round that failed is repeated by the line that it prints.
#   SOAK_CUTS (32) power cuts for each kernel, SOAK_KILLS (50) kills, SOAK_VERITY (200) kills and as many power cuts of `verity` on
#   an image, SOAK_FUZZ (60) seconds for each fuzz target, in a round; 0 leaves the part out.

# shellcheck source=tests/tools/common.sh
. "$(dirname "$0")/common.sh"
cd "$(dirname "$0")/../.."

rounds=${SOAK_ROUNDS:-} hours=${SOAK_HOURS:-}
if [ -z "$rounds$hours" ]; then rounds=1; fi
first_seed=${SOAK_SEED:-$((EPOCHSECONDS % 1000000))}
cuts=${SOAK_CUTS:-32} kills=${SOAK_KILLS:-50} verity=${SOAK_VERITY:-200} fuzz=${SOAK_FUZZ:-60}
for number in "${rounds:-0}" "${hours:-0}" "$first_seed" "$cuts" "$kills" "$verity" "$fuzz"; do
    [[ $number =~ ^[0-9]+$ ]] || die "expected a whole number, found '$number'"
done
SEAL=$(realpath "${CARGO_TARGET_DIR:-target}/release/ostree-seal")
WORK=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
trap 'chattr -R -f -i "$WORK" || true; rm -rf "$WORK"' EXIT
passed=0 failed=0 skipped=0
did_cuts=0 did_kills=0 did_verity=0 did_fuzz=0

# result NAME SEED STATUS: counts it, and says how a failure is repeated.
result() {
    if [ "$3" = 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED $1: SOAK_SEED=$2 SOAK_ROUNDS=1 SOAK_CUTS=$cuts SOAK_KILLS=$kills SOAK_VERITY=$verity SOAK_FUZZ=$fuzz make soak"
    fi
}

power_cuts() {
    local status=0
    OSTREE_SEAL_VM_CUTS=$cuts OSTREE_SEAL_VM_SEED=$1 tests/vm/run.sh power-cut >"$WORK/cuts.log" 2>&1 || status=$?
    did_cuts=$((did_cuts + $(grep -c '^# cut ' "$WORK/cuts.log" || true)))
    if [ "$status" != 0 ]; then grep -E '^(not ok|error)' "$WORK/cuts.log" || tail -n 20 "$WORK/cuts.log"; fi
    result "power cuts" "$1" "$status"
}

# A sysroot of some objects, with a signed deployment; fs-verity is left for another kernel.
make_sysroot() {
    local disk=$WORK/disk tree=$WORK/tree number
    mkdir -p "$disk" "$tree"/usr/{bin,etc,lib/modules/6.12,lib/ostree-seal/trusted.d}
    "$SEAL" keygen --name=example.com/soak "$WORK/soak" >/dev/null
    cp "$WORK/soak.vkey" "$tree/usr/lib/ostree-seal/trusted.d/"
    printf '[seal]\nmode = sealed\nproduct = example.com/os\n' >"$tree/usr/lib/ostree-seal/policy.conf"
    echo ID=test >"$tree/usr/lib/os-release"
    echo kernel >"$tree/usr/lib/modules/6.12/vmlinuz"
    for number in $(seq 400); do head -c $((number * 997)) /dev/urandom >"$tree/usr/bin/$number"; done
    ostree admin init-fs --modern "$disk"
    ostree admin os-init --sysroot="$disk" test
    ostree config --repo="$disk/ostree/repo" set sysroot.bootloader none
    ostree commit --repo="$disk/ostree/repo" --branch=os --tree=dir="$tree" >/dev/null
    "$SEAL" sign --repo="$disk/ostree/repo" os --key="$WORK/soak.key" --product=example.com/os --index=1 >/dev/null
    ostree admin deploy --sysroot="$disk" --os=test os >/dev/null
    deployment=$(echo "$disk"/ostree/deploy/test/deploy/*.0)
    digest=$("$SEAL" digest --repo="$disk/ostree/repo" os)
}

unsealed() {
    chattr -f -i "$deployment" || true
    rm -f "$deployment"/.ostree.cfs "$deployment"/.ostree.seal*
}

deploy() { "$SEAL" deploy --sysroot="$WORK/disk" --defer-verity >"$WORK/deploy.log" 2>&1; }

image_is_whole() { [ "$(fsverity digest --compact "$deployment/.ostree.cfs" | cut -d: -f2)" = "$digest" ]; }

# `deploy` is killed after so many seconds; what has its final name is whole, and the next run finishes the job and clears up.
kill_once() {
    local after=$1
    unsealed
    deploy &
    sleep "$after"
    kill -KILL $! 2>/dev/null || true
    wait $! 2>/dev/null || true
    if [ -e "$deployment/.ostree.cfs" ] && ! image_is_whole; then
        echo "killed after $after s: the image has another digest"
    elif ! deploy; then
        echo "killed after $after s: the next run failed: $(cat "$WORK/deploy.log")"
    elif ! image_is_whole; then
        echo "killed after $after s: the next run made another image"
    elif [ -n "$(find "$WORK/disk/ostree" -name '.ostree-seal-*')" ]; then
        echo "killed after $after s: the next run left $(find "$WORK/disk/ostree" -name '.ostree-seal-*' | head -n 1)"
    else
        return 0
    fi
    return 1
}

microseconds() { printf '%d.%06d' $(($1 / 1000000)) $(($1 % 1000000)); }

kill_some() {
    local status=0 whole number
    if [ -z "${deployment:-}" ]; then make_sysroot; fi
    unsealed
    whole=$EPOCHREALTIME
    deploy
    whole=$((${EPOCHREALTIME/./} - ${whole/./}))
    RANDOM=$1
    for ((number = 0; number < kills; number++)); do
        # Up to a fifth later than it would have ended.
        kill_once "$(microseconds $((RANDOM * whole * 6 / (5 * 32768))))" || status=1
        did_kills=$((did_kills + 1))
    done
    result kills "$1" "$status"
}

verity_images() {
    local status=0
    OSTREE_SEAL_KILLS=$verity OSTREE_SEAL_CUTS=$verity OSTREE_SEAL_SEED=$1 \
        cargo test --locked --workspace --test verity_killed >"$WORK/verity.log" 2>&1 || status=$?
    if [ "$status" != 0 ]; then tail -n 20 "$WORK/verity.log"; fi
    result "verity cut short" "$1" "$status"
    did_verity=$((did_verity + 2 * verity))
}

fuzz_targets() {
    local target status
    for target in fuzz/fuzz_targets/*.rs; do
        target=$(basename "$target" .rs)
        status=0
        fuzz/run.sh "$target" -seed="$1" -max_total_time="$fuzz" >"$WORK/fuzz.log" 2>&1 || status=$?
        if [ "$status" != 0 ]; then tail -n 20 "$WORK/fuzz.log"; fi
        result "fuzz target $target" "$1" "$status"
        did_fuzz=$((did_fuzz + 1))
    done
}

if [ "$fuzz" != 0 ] && ! cargo +nightly --version >/dev/null 2>&1; then
    echo "SKIP fuzz targets: there is no nightly compiler (cargo +nightly)"
    skipped=1 fuzz=0
fi
for ((round = 0; ; round++)); do
    if [ -n "$rounds" ] && [ "$round" -ge "$rounds" ]; then break; fi
    if [ -n "$hours" ] && [ "$SECONDS" -ge $((hours * 3600)) ]; then break; fi
    seed=$((first_seed + round))
    say "== round $round, seed $seed, after $SECONDS s"
    if [ "$cuts" != 0 ]; then power_cuts "$seed"; fi
    if [ "$kills" != 0 ]; then kill_some "$seed"; fi
    if [ "$verity" != 0 ]; then verity_images "$seed"; fi
    if [ "$fuzz" != 0 ]; then fuzz_targets "$seed"; fi
done
echo "soak: $round rounds in $SECONDS s, SOAK_SEED=$first_seed: $did_cuts power cuts, $did_kills kills, verity cut short $did_verity times, $did_fuzz fuzz runs of $fuzz s"
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
