#!/bin/bash
# ostree-seal-root in the initramfs, with the policy and the keys that it will go by. What it does is decided there.
# shellcheck disable=SC2154 # the variables are dracut's
check() { [[ -e $dracutsysrootdir/etc/ostree-seal/policy.conf || -L $dracutsysrootdir/etc/ostree-seal/policy.conf || -e $dracutsysrootdir/usr/lib/ostree-seal/policy.conf ]] || return 255; }
depends() { echo systemd; }
installkernel() {
    hostonly='' instmods -c erofs overlay || give_up "the kernel has no erofs or no overlay module"
    hostonly='' instmods loop
}
install() {
    local from=/etc/ostree-seal kind place key conf unit
    there "$dracutsysrootdir$from/policy.conf" || from=/usr/lib/ostree-seal
    put "$dracutsysrootdir$from/policy.conf" usr/lib/ostree-seal/policy.conf || give_up "there is no policy.conf in /etc/ostree-seal or /usr/lib/ostree-seal"
    for kind in trusted.d revoked.d; do
        mkdir -p "$initdir/usr/lib/ostree-seal/$kind"
        for place in etc usr/lib; do
            key=$dracutsysrootdir/$place/ostree-seal/$kind
            ! there "$key" || [[ -d $key ]] || give_up "$key is no directory"
            for key in "$dracutsysrootdir/$place/ostree-seal/$kind"/{*,.*.vkey}; do
                ! there "$key" || put "$key" "usr/lib/ostree-seal/$kind/${place%/*}-${key##*/}" || give_up "$key could not be copied"
            done
        done
    done
    compgen -G "$initdir/usr/lib/ostree-seal/trusted.d/*.vkey" >/dev/null || grep -q '^mode *= *unsealed' "$initdir/usr/lib/ostree-seal/policy.conf" ||
        give_up "no trusted.d has a .vkey file, and the policy does not say mode = unsealed"
    for conf in usr/lib/ostree/prepare-root.conf etc/ostree/prepare-root.conf; do
        ! there "$dracutsysrootdir/$conf" || put "$dracutsysrootdir/$conf" $conf || give_up "$conf could not be copied"
    done
    inst_multiple /usr/lib/ostree-seal/ostree-seal-root "$systemdsystemunitdir/ostree-seal-root.service" || give_up "ostree-seal-root is not installed"
    $SYSTEMCTL -q --root "$initdir" add-requires initrd-root-fs.target ostree-seal-root.service || give_up "the unit could not be enabled"
    ln -sfn /dev/null "$initdir/etc/systemd/system/ostree-prepare-root.service" || give_up "ostree-prepare-root could not be switched off"
    # Whatever else fails in the initramfs: the policy's on-refusal comes before a shell.
    for unit in emergency rescue dracut-emergency; do
        mkdir -p "$initdir/etc/systemd/system/$unit.service.d"
        printf '[Service]\nExecStartPre=-/usr/lib/ostree-seal/ostree-seal-root --give-up\n' >"$initdir/etc/systemd/system/$unit.service.d/ostree-seal.conf" ||
            give_up "the drop-in of $unit.service could not be written"
    done
}
# A file in the place of a symlink, which dracut's own functions would keep as one: `deploy` reads files, and follows no links.
# The names of the two places differ in their beginnings, so that neither takes the other's place. What is no file is not opened.
put() { [[ -f $1 ]] && command install -D -p -m 644 "$1" "$initdir/$2"; }
# A link that leads nowhere is there: what it should lead to is missing.
there() { [[ -e $1 || -L $1 ]]; }
give_up() { dfatal "ostree-seal: $1; this initramfs could not boot a sealed system"; exit 1; }
