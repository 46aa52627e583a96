# shellcheck shell=bash
# Keys and notes as C2SP's signed-note specification has them, made with openssl and not with our own code. Sourced; keeps
# keys in $WORK/keys.

# key NAME: makes keys/NAME.pem, and keys/NAME.vkey as NAME+HASH+BASE64(1, public key).
key() {
    local file=$WORK/keys/${1##*/} hash
    mkdir -p "$WORK/keys"
    openssl genpkey -algorithm ed25519 -out "$file.pem"
    { printf '\001' && openssl pkey -in "$file.pem" -pubout -outform DER | tail -c 32; } >"$file.raw"
    hash=$({ printf '%s\n' "$1" && cat "$file.raw"; } | sha256sum | cut -c 1-8)
    printf '%s+%s+%s\n' "$1" "$hash" "$(base64 -w0 "$file.raw")" >"$file.vkey"
}

# seal_note DIGEST INDEX COMMIT KEY...: prints a note for the product example.com/small.
seal_note() {
    local text=$WORK/text key name hash
    printf 'ostree-seal v1\nproduct example.com/small\nimage fsverity-sha256-4096 %s\nindex %s\ncommit %s\n' "$1" "$2" "$3" >"$text"
    cat "$text"
    echo
    for key in "${@:4}"; do
        IFS=+ read -r name hash _ <"$WORK/keys/$key.vkey"
        openssl pkeyutl -sign -rawin -inkey "$WORK/keys/$key.pem" -in "$text" -out "$WORK/signature"
        printf '\xe2\x80\x94 %s %s\n' "$name" "$({ printf '%b' "\\x${hash:0:2}\\x${hash:2:2}\\x${hash:4:2}\\x${hash:6:2}" && cat "$WORK/signature"; } | base64 -w0)"
    done
}
