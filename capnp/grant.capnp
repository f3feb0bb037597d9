@0xa91be3f5067c4d18;
# Narrowing a capability before it is handed on, and taking it back.

using Cell = import "cell.capnp";

struct Narrowing {
  methods @0 :List(Method);
  # The methods that remain; empty for all. They bind the capability itself, and every interface that they name also where
  # it was reached through the capability: `Host.executor` and `Executor.spawn` leave an executor that only spawns. What is
  # reached of other interfaces can do all that it could.

  limits @1 :Cell.Limits;
  # The most that cells started through it get. `children`, `subtreeCells` and `subtreeMemory` count all of them together.

  expires @2 :UInt64;
  # Milliseconds from now until it revokes itself; 0 for never.

  grants @3 :List(Text);
  # What cells that are started through it may be given, by the reserved names of `Cell.Grant`. Empty for all that the
  # caller has if `methods` is empty as well, else for none but `wetware:peer/host`, which never means more than `methods`.

  struct Method {
    interface @0 :UInt64;
    # Type id of the interface.

    method @1 :UInt16;
    # Ordinal of the method.
  }
}

interface Revoker {
  revoke @0 (reason :Text) -> ();
  # Breaks the capability and all that was reached through it, at once: calls under way fail with the reason, of which 1,024
  # bytes are kept. Cells started through it end with `shutdown`, all at once. Only the first reason counts.
}

interface Neighbour {
  # What a node does for another one, whatever it grants to it: this only takes away.

  membrane @0 (to :Narrowing) -> (membrane :Membrane);
  # For capabilities of this node that were narrowed at the other one. That one sees to their methods, and breaks them; what the
  # cells get that are started through them, and when they end, is up to the node on which they run.
}

interface Membrane {
  # The end of a membrane at the node that owns what is behind it. It is revoked when nobody holds it any more, and expires.

  within @0 (cap :Capability) -> (cap :Capability);
  # The same capability, as one that was reached through what was narrowed: `methods` bind it if they name its interface.
}
