#!/bin/bash
# The sysroot of deploy-verity, and what a guest can't make itself.

set -euo pipefail
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/../lib.sh"

"$VM/deploy-verity/host.sh"
# 64 MiB of nothing in a few bytes, and an EFI program without sections.
head -c 64M /dev/zero | gzip -9 >"$GUEST/bomb"
{ printf 'MZ' && head -c 58 /dev/zero && printf '\100\0\0\0PE\0\0\144\206\0\0' && head -c 256 /dev/zero; } >"$GUEST/empty.efi"
echo "${OSTREE_SEAL_HOSTILE:-19}" >"$GUEST/step"
# shellcheck disable=SC2153 # the runner sets it
printf 'DISK_SIZE=300M\nVM_TIMEOUT=3600\n' >"$WORK/settings"
