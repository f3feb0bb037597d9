#!/bin/sh
# Installs pycapnp, for the client in examples/clients/python.
#
# usage: pycapnp.sh DIR
#
# The first run installs it from PyPI into DIR, which belongs into PYTHONPATH; later runs reuse it and need no network.
# Exits with 75 where it cannot be installed. Needs python3 with pip.
set -eu

# Pinned: what the client's README says holds for it.
PYCAPNP=2.2.4

if [ $# -ne 1 ]; then
    echo "usage: $0 DIR" >&2
    exit 64
fi
if [ ! -d "$1/$PYCAPNP" ]; then
    mkdir -p "$1"
    # Only what is complete gets the name that is looked for.
    rm -rf "$1/installing"
    python3 -m pip install --quiet --no-deps --disable-pip-version-check --target "$1/installing" \
        "pycapnp==$PYCAPNP" || exit 75
    mv "$1/installing" "$1/$PYCAPNP"
fi
# Another Python than the one that installed it cannot use it.
PYTHONPATH="$1/$PYCAPNP" python3 -c 'import capnp' || exit 75
