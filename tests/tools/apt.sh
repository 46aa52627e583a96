# shellcheck shell=bash
# Debian's packages of any suite, binary or source, beside this machine's own apt, whose configuration isn't touched: lists,
# sources and cache are directories of ours. What is fetched is checked against the archive's signature. Sourced after common.sh.

# apt_for NAME PROGRAM ARGS... Lists of sid are valid for a week, and a mirror that stands still is as good for a test: what
# it has is signed all the same.
apt_for() {
    local state=$CACHE/apt/$1 program=$2
    shift 2
    "$program" -q -o Dir::State="$state/state" -o Dir::State::status="$state/status" -o Dir::Cache="$state/cache" \
        -o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::Etc::Preferences=/dev/null \
        -o Dir::Etc::PreferencesParts=/dev/null -o Acquire::Languages=none -o Acquire::Check-Valid-Until=false -o APT::Sandbox::User=root "$@"
}

# update_lists NAME SUITE [deb-src]: the lists of SUITE, of its binary packages if not of its sources.
update_lists() {
    local state=$CACHE/apt/$1
    mkdir -p "$state/state/lists/partial" "$state/cache/archives/partial"
    : >"$state/status"
    printf '%s [%ssigned-by=%s] %s %s main\n' "${3:-deb}" "$([ $# -gt 2 ] || echo 'arch=amd64 ')" "$KEYRING" "$(debian_mirror)" "$2" >"$state/sources.list"
    apt_for "$1" apt-get update >"$state/log" 2>&1 || die "apt could not read the lists of $2; see $state/log"
}
