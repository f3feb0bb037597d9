#!/bin/sh
# Runs a real IPFS daemon for the tests, offline and on loopback only.
#
# usage: ipfs-daemon.sh DIR PORT
#
# The first run installs the npm package into DIR, which takes minutes and about 300 MB; later runs reuse it. The daemon
# stays in the foreground and prints "Daemon is ready" once http://127.0.0.1:PORT answers Kubo's RPC API. PORT + 1 and
# PORT + 2 are used too. End it with a signal. Needs Node 18 or later and npm.
set -eu

# The last release of js-ipfs: a daemon that installs from a package alone. Pinned, because the fixtures were recorded
# with it.
VERSION=0.66.1

if [ $# -ne 2 ]; then
    echo "usage: $0 DIR PORT" >&2
    exit 64
fi
mkdir -p "$1"
DIR=$(cd "$1" && pwd)
PORT=$2
cd "$DIR"

installed=$(node -p "require('./node_modules/ipfs/package.json').version" 2>/dev/null || true)
if [ "$installed" != "$VERSION" ]; then
    [ -e package.json ] || echo '{ "name": "test-ipfs-daemon", "private": true }' > package.json
    npm install --save-exact --ignore-scripts --no-audit --no-fund "ipfs@$VERSION" >&2
fi

# A dependency calls Promise.withResolvers, which Node has since version 22.
cat > with-resolvers.cjs <<'JS'
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new this((yes, no) => { resolve = yes; reject = no })
  return { promise, resolve, reject }
}
JS

# Nothing of the user's own is read or written.
export HOME="$DIR/home" IPFS_PATH="$DIR/repo" NODE_OPTIONS="--require $DIR/with-resolvers.cjs"
mkdir -p "$HOME"
ipfs=node_modules/ipfs/src/cli.js
[ -e repo/config ] || node "$ipfs" init --algorithm ed25519 --profile test >&2

# No swarm, no bootstrap, no discovery: the daemon knows what the tests add, and asks nobody else.
PORT="$PORT" node <<'JS'
const fs = require('fs')
const port = Number(process.env.PORT)
const config = JSON.parse(fs.readFileSync('repo/config'))
config.Addresses = {
  ...config.Addresses,
  Swarm: [],
  API: `/ip4/127.0.0.1/tcp/${port}`,
  Gateway: `/ip4/127.0.0.1/tcp/${port + 1}`,
  RPC: `/ip4/127.0.0.1/tcp/${port + 2}`
}
config.Bootstrap = []
config.Discovery = { MDNS: { Enabled: false }, webRTCStar: { Enabled: false } }
config.Pubsub = { Enabled: false }
config.Routing = { Type: 'none' }
fs.writeFileSync('repo/config', JSON.stringify(config, null, 2))
JS

# Left behind by a daemon that was killed.
rm -rf repo/repo.lock repo/api
exec node "$ipfs" daemon --offline --enable-preload=false
