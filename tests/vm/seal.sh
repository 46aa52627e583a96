# shellcheck shell=bash
# Sealed systems and updates for them, made with the programs under test as their users would. Sourced after debian.sh.

SOURCES=$VM/../..
PRODUCT=example.com/os

# install_seal TREE: what `make install` puts into an OS, with its units enabled as their preset says.
install_seal() {
    "$SOURCES/tests/tools/install.sh" "$SEAL" "$SEAL_ROOT" "$1" usr
    chroot "$1" systemctl -q preset ostree-seal-deploy.path
    # A journal that outlives the boot, for what is said at shutdown.
    printf 'd /var/log/journal 2755 root systemd-journal -\n' >"$1/usr/lib/tmpfiles.d/test-journal.conf"
}

# sealed_policy DIRECTORY [LINE...]: policy and key of a sealed system; the key is made as $WORK/release.
sealed_policy() {
    local directory=$1
    shift
    [ -e "$WORK/release.key" ] || "$SEAL" keygen --name=example.com/release "$WORK/release" >/dev/null
    install -D -m 644 "$WORK/release.vkey" "$directory/trusted.d/release.vkey"
    printf '%s\n' '[seal]' 'mode = sealed' "product = $PRODUCT" "$@" >"$directory/policy.conf"
}

# sign REPO REF INDEX [KEY]: the note is $WORK/note-INDEX, too, in place of an earlier one.
sign() {
    rm -f "$WORK/note-$3"
    "$SEAL" sign --repo="$1" "$2" --key="$WORK/${4:-release}.key" --product="$PRODUCT" --index="$3" --note="$WORK/note-$3"
}

# updates_repo SYSROOT: a repository on the disk to pull from, which shares its files with the sysroot's.
updates_repo() {
    ostree init --repo="$1/updates" --mode=bare
    ostree pull-local --repo="$1/updates" "$1/ostree/repo" "$BRANCH"
}

# update REPO REF VERSION [OSTREE-COMMIT ARGS...]: the first version with a few other files.
update() {
    local repo=$1 ref=$2 version=$3 tree
    shift 3
    tree=$WORK/update-$version
    mkdir -p "$tree/usr/share/update"
    echo "$version" >"$tree/usr/share/update/version"
    for number in $(seq 40); do
        head -c $((number * 997)) /dev/urandom >"$tree/usr/share/update/$number"
    done
    ostree commit --repo="$repo" --branch="$ref" --base="$BRANCH" --tree=dir="$tree" \
        --add-metadata-string=version="$version" "$@"
}

# damage REPO REF PATH: another byte in the object of a file, without its other names.
damage() {
    local object
    object=$(ostree ls --repo="$1" -C "$2" "$3" | awk '{ print $5 }')
    object=$1/objects/${object:0:2}/${object:2}.file
    cp -p "$object" "$object.new"
    printf x | dd of="$object.new" bs=1 seek=700 conv=notrunc status=none
    mv "$object.new" "$object"
}

# boot_script TEST NAME [ENTRY]: boots $WORK/disk.img with TEST/NAME.sh as the test, and prints its cases.
boot_script() {
    local test=$1 name=$2
    rm -rf "$WORK/script"
    mkdir "$WORK/script"
    cp "$VM/$test/$name.sh" "$WORK/script/guest.sh"
    cp "$VM/guest/updates.sh" "$WORK/script/"
    boot_debian "$WORK/disk.img" "$WORK/$name.results" "$WORK/$name.console" "$WORK/script" "${3:-0}"
    show_results "$WORK/$name.results" | sed "s/^\(ok\|not ok\) /\1 $name\//"
}
