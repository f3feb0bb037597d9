#!/bin/sh
# Installs what the client in examples/clients/js-libp2p needs, for the tests.
#
# usage: js-libp2p.sh DIR
#
# The first run installs npm packages of about 40 MB into DIR; later runs reuse them. Needs Node 20 or later and npm.
set -eu
if [ $# -ne 1 ]; then
    echo "usage: $0 DIR" >&2
    exit 64
fi
client=$(cd "$(dirname "$0")/../../examples/clients/js-libp2p" && pwd)
mkdir -p "$1"
cd "$1"
if ! cmp -s "$client/package.json" installed.json; then
    cp "$client/package.json" package.json
    npm install --ignore-scripts --no-audit --no-fund >&2
    cp package.json installed.json
fi
cp "$client"/*.js .
