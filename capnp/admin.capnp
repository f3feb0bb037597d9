@0xc3f60d91a872be4d;
# What the command line needs to know of a node.

using Cell = import "cell.capnp";
using Peer = import "peer.capnp";

interface Admin {
  # Sees and ends every cell of a node.

  list @0 () -> (cells :List(Cell.Status));
  tree @1 () -> (root :TreeNode);
  watch @2 (listener :Listener) -> (subscription :Subscription);
  # Events from now on. A listener that is slow loses events and is told how many.

  logs @3 (cell :UInt64, follow :Bool, sink :Peer.ByteStream) -> (subscription :Subscription);
  # Writes what is kept of a cell's standard error to `sink`, then, with `follow`, what comes.

  inspect @4 (cell :UInt64) -> (status :Cell.Status, limits :Cell.Limits, detail :Text);
  stop @5 () -> ();
  # Stops the node as SIGTERM does.

  process @6 (cell :UInt64) -> (process :Peer.Process);
  # Any cell by its id, without ending it when the reference is dropped.
}

struct TreeNode {
  cell @0 :UInt64;
  label @1 :Text;
  supervisor @2 :Bool;
  status @3 :Cell.Status;
  children @4 :List(TreeNode);
}

struct Event {
  at @0 :UInt64;
  # Milliseconds since the Unix epoch.

  cell @1 :UInt64;
  union {
    started @2 :Void;
    exited @3 :Cell.ExitReason;
    restarted @4 :UInt32;
    # How many times now.

    escalated @5 :Text;
    registered @6 :Text;
    unregistered @7 :Text;
    lost @8 :UInt64;
    # Events that this listener was too slow for.
  }
}

interface Listener {
  event @0 (event :Event) -> stream;
}

interface Subscription {
  # Dropping it ends the subscription, as `cancel` does.

  cancel @0 () -> ();
}
