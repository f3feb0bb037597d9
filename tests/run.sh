#!/bin/sh
# Runs every test. Tests that need tools of other languages get them here, below target/: where a tool's
# language is not installed, one line says which test is left out; with WW_TEST_REQUIRE_ALL=1 that is an error.
set -eu
cd "$(dirname "$0")/.."

tools="$PWD/target/test-tools"
mkdir -p "$tools"
daemon=

left_out() {
  echo "left out: $1"
  [ "${WW_TEST_REQUIRE_ALL:-0}" != 1 ] || exit 1
}

stop_daemon() {
  [ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
}
trap stop_daemon EXIT INT TERM

# A real IPFS daemon, offline and on loopback only.
if command -v node >/dev/null && command -v npm >/dev/null; then
  port=$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close() })')
  sh tests/set-up/ipfs-daemon.sh "$tools/ipfs" "$port" >"$tools/ipfs.log" 2>&1 &
  daemon=$!
  waited=0
  until grep -q 'Daemon is ready' "$tools/ipfs.log"; do
    if ! kill -0 "$daemon" 2>/dev/null || [ "$waited" -ge 600 ]; then
      tail -n 20 "$tools/ipfs.log"
      daemon=
      break
    fi
    sleep 1
    waited=$((waited + 1))
  done
  if [ -n "$daemon" ]; then
    WW_TEST_IPFS_API="http://127.0.0.1:$port"
    export WW_TEST_IPFS_API
  else
    left_out "the tests against a real IPFS daemon: it did not start"
  fi
else
  left_out "the tests against a real IPFS daemon: they need node and npm"
fi

# Programs in Go, C and Zig. What cannot be installed is left out; what does not build is a failure.
if command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1; then
  built=0
  sh tests/set-up/recipes.sh "$tools/recipes" >"$tools/recipes.log" 2>&1 || built=$?
  [ "$built" = 0 ] || tail -n 20 "$tools/recipes.log"
  case "$built" in
    0) WW_TEST_RECIPES="$tools/recipes/wasm"; export WW_TEST_RECIPES ;;
    75) left_out "the recipes for other languages: their toolchains cannot be installed" ;;
    *) exit 1 ;;
  esac
else
  left_out "the recipes for other languages: they need python3 and pip"
fi

# A libp2p client that is not ours.
if command -v node >/dev/null && command -v npm >/dev/null; then
  if sh tests/set-up/js-libp2p.sh "$tools/js-libp2p" >"$tools/js-libp2p.log" 2>&1; then
    WW_TEST_JS_LIBP2P="$tools/js-libp2p"
    export WW_TEST_JS_LIBP2P
  else
    tail -n 20 "$tools/js-libp2p.log"
    left_out "the test of a client in JavaScript: it could not be installed"
  fi
else
  left_out "the test of a client in JavaScript: it needs node and npm"
fi

# A Cap'n Proto client that is not ours.
if command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1; then
  if sh tests/set-up/pycapnp.sh "$tools/pycapnp" >"$tools/pycapnp.log" 2>&1; then
    WW_TEST_PYCAPNP=$(echo "$tools"/pycapnp/[0-9]*)
    export WW_TEST_PYCAPNP
  else
    tail -n 20 "$tools/pycapnp.log"
    left_out "the test of a client in Python: pycapnp cannot be installed"
  fi
else
  left_out "the test of a client in Python: it needs python3 and pip"
fi

cargo test --locked --workspace
(cd guests && cargo test --locked --workspace)
