#!/bin/bash
# Installs what was built: install.sh OSTREE-SEAL OSTREE-SEAL-ROOT DESTDIR PREFIX. Called by `make install`.

set -euo pipefail
cd "$(dirname "$0")/../.."
seal=$1 seal_root=$2 prefix=${3%/}/${4#/}

for program in "$seal" "$seal_root"; do
    if [ ! -x "$program" ]; then
        echo "error: $program is not built: run 'make' first" >&2
        exit 1
    fi
done

# put MODE DIRECTORY FILE...
put() {
    local mode=$1 directory=$prefix/$2
    shift 2
    install -d "$directory"
    install -m "$mode" -t "$directory" "$@"
}

put 755 bin "$seal"
put 755 lib/ostree-seal "$seal_root"

generated=$(mktemp -d)
trap 'rm -rf "$generated"' EXIT
"$seal" generate man "$generated/man"
"$seal" generate completions "$generated/completions"
put 644 share/man/man1 "$generated"/man/*.1
put 644 share/bash-completion/completions "$generated"/completions/*.bash
put 644 share/zsh/site-functions "$generated"/completions/_*
put 644 share/fish/vendor_completions.d "$generated"/completions/*.fish
# `ostree seal …`
install -D -m 644 completions/ostree-seal.bash "${3%/}/etc/bash_completion.d/ostree-seal"
put 644 share/zsh/site-functions completions/_ostree
put 644 share/fish/vendor_conf.d completions/ostree-seal.fish

put 755 lib/dracut/modules.d/50ostree-seal dracut/50ostree-seal/module-setup.sh
put 644 lib/systemd/system systemd/*.service systemd/*.path systemd/*.timer
put 644 lib/systemd/system/ostree-finalize-staged.service.d systemd/ostree-finalize-staged.service.d/*.conf
put 644 lib/systemd/system-preset systemd/*.preset
put 644 lib/systemd/catalog systemd/*.catalog
put 755 share/initramfs-tools/hooks initramfs-tools/hooks/*
put 755 share/initramfs-tools/scripts/local-bottom initramfs-tools/scripts/local-bottom/*
put 755 share/initramfs-tools/scripts/panic initramfs-tools/scripts/panic/*
put 644 lib/initcpio/install mkinitcpio/install/*
