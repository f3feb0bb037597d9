"""A running node, as a client in Python sees it."""

from pathlib import Path

import capnp

SCHEMAS = Path(__file__).resolve().parents[3] / "capnp"

capnp.remove_import_hook()
# pycapnp brings the standard schemas with it.
peer = capnp.load(str(SCHEMAS / "peer.capnp"), imports=[str(Path(capnp.__file__).parents[1])])


async def connect(address):
    """Connects to a node, and returns its bootstrap: `Local`, which is a `Host` and an `Admin`.

    The first of the two values is the connection: what is started over it ends with it.
    """
    kind, _, where = address.partition(":")
    if kind == "unix":
        stream = await capnp.AsyncIoStream.create_unix_connection(path=where)
    else:
        host, _, port = where.rpartition(":")
        stream = await capnp.AsyncIoStream.create_connection(host=host.strip("[]"), port=int(port))
    client = capnp.TwoPartyClient(stream)
    return client, client.bootstrap().cast_as(peer.Local)
