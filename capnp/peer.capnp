@0xbf5147b78c0e6a2f;
# The interfaces that every client and guest starts from.
#
# The file id and the ordinals of the first methods are older than the rest: clients and guests that
# were built against them go on working. New methods are appended; new interfaces live in files of
# their own beside this one.
#
# Durations are milliseconds. A duration, size or count of 0 means "the default". Peer ids are bytes
# as libp2p serialises them; addresses are binary multiaddrs.

using Admin = import "admin.capnp";
using Cell = import "cell.capnp";
using Grant = import "grant.capnp";
using Supervision = import "supervision.capnp";

struct PeerInfo {
  # A peer that this node is connected to.

  peerId @0 :Data;
  addrs @1 :List(Data);
  # The remote addresses of the open connections.
}

interface Host {
  # A node, as far as the holder may use it. Methods that were narrowed away answer `denied`.

  id @0 () -> (peerId :Data);
  # The node's own peer id.

  addrs @1 () -> (addrs :List(Data));
  # The addresses on which the node listens.

  peers @2 () -> (peers :List(PeerInfo));
  # The peers that are connected now.

  connect @3 (peerId :Data, addrs :List(Data)) -> ();
  # Connects to a peer through the first of its addresses that answers. Returns at once where a
  # connection is open already; fails where the peer at the address has another id.

  executor @4 () -> (executor :Executor);
  # The executor that starts cells on behalf of the caller.

  grant @5 (name :Text) -> (cap :Capability);
  # A capability that the parent handed over under this name when it spawned the cell.

  registry @6 () -> (registry :Cell.Registry);
  # The names of this node's cells, as far as the holder may see them: those of itself and of the cells below it, those
  # that it can send messages to, and those that its grant `process` lists. A client of the control socket sees all.

  dial @7 (peerId :Data, addrs :List(Data), name :Text, deadline :UInt32) -> (exchange :Cell.Exchange);
  # Opens one message to the cell that a peer publishes under `name`. Without `peerId`, or with that of
  # the node itself, the peer is this node. The deadline is that of the whole exchange, and travels with it.

  nodes @8 () -> (nodes :Nodes);
  # Other nodes, whose executors can be used as this node's own.

  narrow @9 (cap :Capability, to :Grant.Narrowing) -> (cap :Capability, revoker :Grant.Revoker);
  # A capability that can do less than `cap`, to be handed on, and the means to take it back. It lasts until it is revoked or
  # expires. Cells that are started through it belong to it: they end at the latest when nobody holds it any more, nor what
  # was reached through it, nor its revoker.
}

interface Executor {
  # Starts cells. Each ends at the latest when the cell or the connection that holds this ends.

  runBytes @0 (wasm :Data, args :List(Text), env :List(Text), attachment :Cell.Attachment) -> (process :Process);
  # Runs the `main` of a program once. `wasm` is a component or a core preview 1 module, `args` its
  # arguments from the first one after the program's name, `env` entries of the form KEY=VALUE. The
  # child gets the caller's own `Host`.

  echo @1 (message :Text) -> (response :Text);
  # Returns its argument: whoever gets an answer has a working connection.

  load @2 (wasm :Data) -> (program :Cell.Program);
  # Compiles a program, so that many cells can be started without sending it again.

  spawn @3 (spec :Cell.Spec) -> (process :Process);
  # Starts a cell with exactly what its spec names: its mode, limits, names and grants.

  supervisor @4 (options :Supervision.Options) -> (supervisor :Supervision.Supervisor);
  # Starts a supervisor below the caller.
}

interface Process {
  # One incarnation of a cell. The last reference to an unsupervised process ends it, unless its spec
  # says `detached`.

  stdin @0 () -> (stream :ByteStream);
  # The writing end of the cell's standard input.

  stdout @1 () -> (stream :ByteStream);
  # The reading end of its standard output. Output that nobody reads holds the cell up, until the
  # stream is closed.

  stderr @2 () -> (stream :ByteStream);
  # The reading end of its standard error. All of it goes to the log as well; of output that nobody
  # reads, the oldest is dropped here, so that it never holds the cell up, unless the caller of
  # `runBytes` wanted something else.

  wait @3 () -> (exitCode :Int32);
  # Waits for the end. Answers any number of times, also after the end. `status` has the whole reason.

  send @4 (message :Data, deadline :UInt32) -> (reply :Data);
  # Sends one message to the mailbox and waits for the reply.

  open @5 (deadline :UInt32) -> (exchange :Cell.Exchange);
  # Opens one message to the mailbox as a pair of streams.

  kill @6 () -> ();
  # Ends the cell with the reason `killed`; returns when it has ended.

  status @7 () -> (status :Cell.Status);
  # What the cell is doing, or the whole reason of its end.

  monitor @8 (observer :Cell.Observer) -> (monitor :Cell.Monitor);
  # Tells the observer once when this incarnation ends; at once, with `noProcess`, if it has ended.

  link @9 (other :Process) -> ();
  # Links two cells: an abnormal end of one ends the other, unless it traps exits.

  unlink @10 (other :Process) -> ();
  # Removes the link, if there is one.

  lease @11 (signal :Bool) -> (lease :Cell.Lease);
  # Ties the process to the returned capability: when that is dropped, or the connection that holds
  # it breaks, the process ends with `noConnection`; with `signal` it is sent an exit signal with that
  # reason, as by a link.

  exit @12 (reason :Cell.ExitReason) -> ();
  # Sends the process an exit signal of the caller. If it traps exits, it is told of the reason; else it ends with that, unless
  # it is `normal`. Of the reason `code` and `text` are read.
}

interface ByteStream {
  # One end of a stream of bytes.

  read @0 (maxBytes :UInt32) -> (data :Data);
  # At least one byte and at most `maxBytes`, never more than 1 MiB; empty at the end of the stream.

  write @1 (data :Data) -> ();
  # Returns when the bytes are in the stream's buffer, so that awaiting it follows back-pressure.

  close @2 () -> ();
  # Ends the stream. At a writing end: the reader sees its end once it has read what was written. At
  # a reading end: the writer is told that nobody reads any more.

  push @3 (data :Data) -> stream;
  # `write` for bulk data: calls overlap within the flow-control window.

  wanted @4 () -> (bytes :UInt32);
  # At a writing end: returns when the reader waits for bytes and there are none, with the most that it
  # takes. So a caller reads a source of its own when the reader reads, and no further.
}

interface Nodes {
  # Other nodes of the network.

  connect @0 (peerId :Data, addrs :List(Data)) -> (bootstrap :Capability);
  # What the other node's configuration grants to this node's peer id; a `Host` as a rule.
}

interface Local extends(Host, Admin.Admin, Grant.Neighbour) {
  # The bootstrap of the control socket, and of `/ww/0.1.0/rpc`.
}
