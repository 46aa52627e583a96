#!/bin/bash
# Fetches what `make check` compares with and boots: other people's programs, vectors, kernels and Debian roots, each made once.
# It waits for the network while the compiler has the processors. Each maker locks, so that who needs a part early waits for it.

# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/../vm/lib.sh"
# shellcheck source=tests/vm/debian.sh
. "$VM/debian.sh"

"$VM/../tools/oracle.sh"
"$VM/../tools/vectors.sh"
"$VM/kernels.sh" trixie sid
debian_root
"$VM/../tools/oldest-rust.sh" root
"$VM/../packages.sh" root
"$VM/../mkosi.sh" root
