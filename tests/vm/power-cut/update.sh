#!/bin/sh
# In the booted system, as /usr/bin/update: pulls and stages the new version, seals it, makes it the default. The same
# steps, in the same order, as pull, path unit and shutdown take on a device.

set -eu
ostree pull-local /mnt/repo test/new
ostree admin deploy --stage --os=debian test/new
ostree-seal deploy --pending
ostree admin finalize-staged
