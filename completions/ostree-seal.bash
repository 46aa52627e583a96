# `ostree seal …` completes as `ostree-seal …` does: ostree's own completion knows its built-in commands only. bash-completion
# reads this file at the start of a shell, and the completions themselves when they are first asked for.
_ostree_with_seal() {
    if [[ ${COMP_CWORD} -ge 2 && ${COMP_WORDS[1]} == seal ]]; then
        declare -F _ostree_seal >/dev/null || _ostree_seal_load ostree-seal
        # The words of `ostree-seal …`, for who counts them.
        COMP_WORDS=(ostree-seal "${COMP_WORDS[@]:2}")
        COMP_CWORD=$((COMP_CWORD - 1))
        _ostree_seal ostree-seal "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        return
    fi
    declare -F _ostree >/dev/null || _ostree_seal_load ostree
    if declare -F _ostree >/dev/null; then _ostree "$@"; fi
    if [[ ${COMP_CWORD} -eq 1 && seal == "$2"* && -n $2 ]]; then COMPREPLY+=(seal); fi
}

# Loads the completions of a command, and leaves ours of `ostree` in its place.
_ostree_seal_load() {
    if declare -F __load_completion >/dev/null; then __load_completion "$1"; elif declare -F _comp_load >/dev/null; then _comp_load "$1"; fi
    complete -F _ostree_with_seal ostree
}

complete -F _ostree_with_seal ostree
