# `ostree seal …` completes as `ostree-seal …` does.
function __ostree_seal_words
    set -l words (commandline -opc) (commandline -ct)
    complete --do-complete "ostree-seal $(string join ' ' -- (string escape -- $words[3..-2])) $words[-1]"
end
complete --command ostree --condition 'test (count (commandline -opc)) -ge 2; and test (commandline -opc)[2] = seal' --no-files --arguments '(__ostree_seal_words)'
complete --command ostree --condition 'test (count (commandline -opc)) -eq 1' --arguments seal --description 'Seal deployments'
