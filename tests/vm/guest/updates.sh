# shellcheck shell=dash disable=SC2034,SC2016 # the names are for the scripts that source this; the backquotes are text
# For scripts that update the booted Debian: `. ./updates.sh`, after lib.sh.

SERVICE=ostree-seal-deploy.service
STAGED=/run/ostree/staged-deployment
LOCK=/run/ostree/staged-deployment-locked

# shut_down_in_order: at the end of the script, the machine is shut down with all that belongs to it.
shut_down_in_order() { : >/run/vm-test/in-order; }

# When the service last ended.
ended() { systemctl show -P ExecMainExitTimestampMonotonic $SERVICE; }

# wait_for COMMAND...: until it succeeds, at most two minutes.
wait_for() {
    for _ in $(seq 1200); do
        if "$@" 2>/dev/null; then return 0; fi
        sleep 0.1
    done
    return 1
}

has_ended_since() { [ "$(ended)" != "$1" ] && [ "$(systemctl is-active $SERVICE)" != activating ]; }

pull() { ostree pull-local /sysroot/updates "$1" >&2; }

stage() { ostree admin deploy --stage --os=debian "$1" >&2; }

# stage_and_wait REF: stages it, and waits until the path unit's service is through with it.
stage_and_wait() {
    before=$(ended)
    stage "$1" && wait_for has_ended_since "$before"
}

status_of_service() { systemctl show -P ExecMainStatus $SERVICE; }

# The boot order, and what there is to boot.
boot_order() { ostree admin status && cat /boot/loader/entries/* && ls /ostree/deploy/debian/deploy; }

# What `status` says of the next boot, and the words for a staged deployment that did not pass.
next_boot() { ostree-seal status | grep '^next boot: '; }
STAYS='next boot: deployment 1 boots sealed (sealed)'
UNLESS_SEALED='the staged one only if `ostree-seal deploy --pending` lets it through, which the shutdown tries, too'

version() { cat /usr/share/update/version 2>/dev/null || echo 1; }

# is_sealed INDEX
is_sealed() {
    succeeds root_insists_on_verity sh -c "findmnt -n -o OPTIONS / | grep -w verity=require"
    succeeds "state_says_sealed_with_index_$1" grep "\"mode\":\"sealed\".*\"product\":\"example.com/os\",\"index\":$1,\"evidence\":\"note\"" /run/ostree-seal/state.json
}

runs_well() {
    same the_system_is_running running "$(systemctl is-system-running --wait)"
    same no_unit_has_failed "" "$(systemctl --failed --plain --no-legend)"
}
