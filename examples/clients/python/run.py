#!/usr/bin/env python3
"""Starts a program on a running node, follows its output, and exits with its code.

usage: run.py ADDRESS PROGRAM.wasm [ARGUMENT...]

ADDRESS is the node's control socket, as `ww id` and the node's log show it: unix:PATH or tcp:127.0.0.1:PORT.
Needs pycapnp (`pip install pycapnp`) and the schemas in capnp/ of this repository.
"""

import asyncio
import sys
from pathlib import Path

import capnp

from node import connect

# Bytes of one read.
CHUNK = 64 * 1024


async def feed(stream, data):
    """Writes the input of the program, which need not read it."""
    try:
        await stream.write(data=data)
        await stream.close()
    except capnp.KjException as error:
        print(f"the program takes no input: {error.description}", file=sys.stderr)


async def follow(stream, out):
    """Copies a stream of the program until its end."""
    while data := (await stream.read(maxBytes=CHUNK)).data:
        out.buffer.write(data)
        out.flush()


async def run(address, program, arguments):
    client, node = await connect(address)
    wasm = Path(program).read_bytes()
    cells = (await node.list()).cells
    print(f"cells before: {len(cells)}", file=sys.stderr)
    # The program lives as long as this reference to it.
    process = (await node.executor().executor.runBytes(wasm=wasm, args=arguments, env=[])).process
    await asyncio.gather(
        feed(process.stdin().stream, b"hello from python\n"),
        follow(process.stdout().stream, sys.stdout),
        follow(process.stderr().stream, sys.stderr),
    )
    code = (await process.wait()).exitCode
    print(f"exit code {code}")
    return code


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(asyncio.run(capnp.run(run(sys.argv[1], sys.argv[2], sys.argv[3:]))))
