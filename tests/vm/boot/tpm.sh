# shellcheck shell=dash disable=SC2034,SC2154 # the names are guest.sh's
# What a boot comes to is in PCR 15 and in systemd's log of measurements, or the policy decides. Sourced by guest.sh; the TPM is
# swtpm. What nothing here can make a TPM do (silence, an error) is tested with src/boot/tpm.

measuring() { write_policy "accept = note" "[tpm]" "measure = 15" "$@"; }

pcr() { tr A-F a-f </sys/class/tpm/tpm0/pcr-sha256/15; }

hash() { sha256sum | cut -d' ' -f1; }

# extended OLD TEXT: a PCR's next value.
extended() {
    # shellcheck disable=SC2059 # the format is what is to be printed: bytes as escapes
    printf "$(printf '%s%s' "$1" "$(printf %s "$2" | hash)" | sed 's/../\\x&/g')" | hash
}

banks=$(for bank in /sys/class/tpm/tpm0/pcr-*; do echo "${bank##*/pcr-}"; done | sort | tr '\n' ' ')

# What the log says: its mode, the SHA-256 digest and the text of each record, and the banks of all.
look='cd /run/log/systemd && stat -c %a tpm2-measure.log
tr "\036" "\n" <tpm2-measure.log | sed -n "s/^{.pcr.:15,.digests.:.*.hashAlg.:.sha256.,.digest.:.\([0-9a-f]*\).*\],.content_type.:.systemd.,.content.:{.string.:.\([^\"]*\).}}$/\1 \2/p"
grep -o "hashAlg.:.[a-z0-9]*" tpm2-measure.log | cut -d\" -f3 | sort | tr "\n" " "'

# measured NAME STATUS TEXT: the boot ended so, and this text is all that was measured, in each bank.
measured() {
    same "$1" "$2: 600
$(printf %s "$3" | hash) $3
$banks" "$status: $seen"
    same "${1}_in_the_pcr" "$(extended "$before" "$3")" "$(pcr)"
    before=$(pcr)
    reset
}

# unmeasured NAME STATUS TEXT: the boot ended so and said or left TEXT, and nothing was measured.
unmeasured() {
    case "$status: $said$seen" in
    "$2: "*"$3"*) same "$1" "$before" "$(pcr)" ;;
    *) not_ok "$1" "expected '$2: $3', found '$status: $said$seen'" ;;
    esac
}

before=$(pcr)
if [ "$(echo "$banks" | wc -w)" -gt 1 ]; then ok the_tpm_has_several_banks; else not_ok the_tpm_has_several_banks "$banks"; fi

measuring
attempt "$look"
measured a_sealed_boot_is_measured 0 "ostree-seal:image:$digest_42"

measuring
cp notes/stranger "$deployment/.ostree.seal"
attempt "$look"
measured a_refusal_is_measured_and_nothing_else 3 ostree-seal:refused

measuring
program="./ostree-seal-root --give-up"
attempt "$look"
measured giving_up_is_measured 3 ostree-seal:refused

printf '[seal]\nmode = unsealed\n[tpm]\nmeasure = 15\n' >"$policy/policy.conf"
attempt "$look"
measured an_unsealed_boot_is_measured 0 ostree-seal:unsealed

measuring
attempt "sed 's/.*\"measured\":\(\"[^\"]*\"\).*\"measure\":\([0-9]*\).*/\1 \2/' /run/ostree-seal/state.json"
same the_state_names_what_was_measured "\"ostree-seal:image:$digest_42 into PCR 15\"" "$(echo "$seen" | sed 's/ [0-9]*$//')"
note "the measurement took ${seen##* } microseconds"
before=$(pcr)

# Without [tpm], no TPM is asked.
reset
attempt
unmeasured without_tpm_in_the_policy_nothing_is_measured 0 ""

# no_tpm WHAT TEXT: with such a device the boot is refused, or goes on where the policy says so.
no_tpm() {
    measuring
    attempt
    unmeasured "refuses_to_boot_with_$1" 3 "$2"
    measuring "tpm = optional"
    attempt "sed 's/.*\"measured\"/measured/' /run/ostree-seal/state.json"
    unmeasured "optional_boots_with_$1" 0 "measured:\"nothing: the policy wants a measurement, and $2"
}

mv /dev/tpmrm0 /dev/hidden
exec 7<>/dev/tpm0
no_tpm a_tpm_that_somebody_else_uses "the TPM can't be used: "
exec 7>&-
mv /dev/tpm0 /dev/hidden0
no_tpm no_tpm "there is no TPM 2.0"
mknod /dev/tpm0 c 1 5
no_tpm a_tpm_that_answers_zeros "the TPM's answer is not understood"
rm /dev/tpm0
mv /dev/hidden0 /dev/tpm0
measuring
attempt "$look"
measured without_a_resource_manager_the_tpm_is_used_itself 0 "ostree-seal:image:$digest_42"
mv /dev/hidden /dev/tpmrm0
