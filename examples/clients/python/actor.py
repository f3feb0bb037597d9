#!/usr/bin/env python3
"""Starts a cell that serves messages, sends it ten, follows its log, kills it, and prints its status.

usage: actor.py ADDRESS PROGRAM.wasm

ADDRESS is the node's control socket, as `ww id` and the node's log show it: unix:PATH or tcp:127.0.0.1:PORT.
Each message gets a fresh instance of the program, whose `main` has it as its standard input. Needs pycapnp
(`pip install pycapnp`) and the schemas in capnp/ of this repository.
"""

import asyncio
import sys
from pathlib import Path

import capnp

from node import connect, peer

MESSAGES = 10


class Log(peer.ByteStream.Server):
    """What the node writes there is printed; `over` is done at its end."""

    def __init__(self):
        self.over = asyncio.get_running_loop().create_future()

    async def push(self, data, **_):
        sys.stderr.write(data.decode(errors="replace"))

    async def write(self, data, **_):
        sys.stderr.write(data.decode(errors="replace"))

    async def close(self, **_):
        if not self.over.done():
            self.over.set_result(None)


async def main(address, program):
    _connection, node = await connect(address)
    spec = {
        "program": {"wasm": Path(program).read_bytes()},
        # What the child may do: nothing, unless it is named. These are the client's own `Host` and `Executor`.
        "grants": [{"name": "wetware:peer/host"}],
    }
    process = (await node.executor().executor.spawn(spec=spec)).process
    cell = (await process.status()).status.cell

    log = Log()
    # As long as the subscription is held, the log is followed.
    following = (await node.logs(cell=cell, follow=True, sink=log)).subscription
    for number in range(1, MESSAGES + 1):
        # The deadline is in milliseconds.
        reply = (await process.send(message=f"message {number}\n".encode(), deadline=10_000)).reply
        print(reply.decode(), end="")

    await process.kill()
    await asyncio.wait_for(log.over, timeout=10)
    del following
    status = (await process.status()).status
    print(f"cell ended with {status.state.ended.code}: {status.state.ended.text}; {status.messages} messages answered")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    asyncio.run(capnp.run(main(sys.argv[1], sys.argv[2])))
