@0xd0c9d8a7e1b34f52;
# Cells: what they are started with, what they are doing, and why they ended.

using Peer = import "peer.capnp";

interface Program {
  # A compiled program.

  info @0 () -> (info :Info);

  struct Info {
    hash @0 :Data;
    # SHA-256 of the bytes.

    exports @1 :List(Export);
    # What the program can do.
  }

  enum Export {
    run @0;
    # `main`: sync mode and `runBytes`.

    poll @1;
    # `poll`: async mode.

    handle @2;
    # `handle`: the fast form for small messages.
  }
}

struct Spec {
  # What a cell is started with. Whatever is left out takes its default.

  program :union {
    wasm @0 :Data;
    # A component or a core preview 1 module.

    loaded @1 :Program;
    # Returned by `Executor.load`.
  }

  args @2 :List(Text);
  env @3 :List(Text);
  # KEY=VALUE; nothing is inherited.

  async @4 :Bool;
  # One live instance whose `poll` is called per message, instead of a fresh instance per message.

  name @5 :Text;
  # Registered for the cell as long as its slot lives; empty for none. The caller needs the grant `wetware:cell/registry`.

  publish @6 :Bool;
  # Let peers send messages to the cell under its name, until its slot ends. The caller needs the grant
  # `wetware:peer/publish`.

  allow @7 :List(Data);
  # The peers that may call it; empty for all.

  limits @8 :Limits;
  mailbox @9 :Mailbox;
  grants @10 :List(Grant);
  # Exactly what the cell can reach through `Host.grant`.

  restart @11 :Restart;
  # Of no meaning for children, whose `ChildSpec` says it; a cell without a supervisor is `temporary`.

  detached @12 :Bool;
  # Outlives the references to its `Process`, not its owner.

  id @13 :Text;
  # Names the child within its supervisor; empty for a generated one.
}

struct Limits {
  # 0 means the default. A child never gets more than its parent has.

  memory @0 :UInt64;
  # Bytes of linear memory.

  cpu @1 :UInt32;
  # Milliseconds of computing per message.

  deadline @2 :UInt32;
  # Milliseconds per message, from the moment the cell begins it.

  instances @3 :UInt32;
  # Instances at once in sync mode.

  children @4 :UInt32;
  # Cells that it may own at once.

  subtreeCells @5 :UInt32;
  # Cells that it and all below it may own at once.

  subtreeMemory @6 :UInt64;
  # Bytes of linear memory that it and all below it may reserve.

  messageSize @7 :UInt32;
  # Bytes of a message through `handle`, `send` and mail.

  held @8 :UInt64;
  # Bytes that the node holds for it and all below it, besides linear memory: messages that wait, answers that are not read,
  # programs on their way.
}

struct Mailbox {
  capacity @0 :UInt32;
  # Messages that may wait.

  overflow @1 :Overflow;

  enum Overflow {
    wait @0;
    # The sender waits.

    reject @1;
    # The sender is refused.

    dropOldest @2;
    # The oldest waiting message is refused, and counted.
  }
}

struct Grant {
  # A capability that is handed to a child, which gets it from `Host.grant` under this name: the caller's own, another
  # cell's, or one that the caller serves itself.
  #
  # Some names stand for what a cell may import. They come with a null capability, and give the child at most what the
  # caller has; a caller that has nothing of the kind is refused.
  #
  #   wetware:cell/self          its own id and name, and the envelopes of its messages
  #   wetware:cell/mail          messages to the cells that the caller can send to
  #   wetware:cell/mail/<name>   messages to the cell with this name, any number of times
  #   wetware:cell/registry      names, and `Host.registry` if the caller has it
  #   wetware:cell/process       links, monitors, exit signals: of the child itself, of what is below it, and of the
  #                              sender of the message in progress
  #   wetware:cell/process/<name>  the same, and of the cell with this name, which the caller's own grant has to list
  #   wetware:cell/log           the node's log
  #   wetware:loader/loader      the files of the caller's image
  #   wetware:peer/host          the methods of `Host` and `Executor` that the caller has, as the child's own: what it
  #                              starts belongs to the child
  #   wetware:peer/publish       publishing the cells that it spawns

  name @0 :Text;
  cap @1 :Capability;
}

enum Restart {
  temporary @0;
  transient @1;
  permanent @2;
}

struct Attachment {
  # How a caller connects itself with the standard streams of a program that it starts.

  errors @0 :Errors;
  stdinTerminal @1 :Bool;
  # Whether the program is told that its standard input comes from a terminal.

  stdoutTerminal @2 :Bool;
  stderrTerminal @3 :Bool;

  enum Errors {
    # What becomes of standard error, besides that it goes to the log.

    tail @0;
    # Of output that nobody reads the oldest is dropped.

    held @1;
    # Output that nobody reads holds the program up, as that of standard output does.

    merged @2;
    # It is part of standard output, in the order in which the program wrote to both.
  }
}

struct ExitReason {
  # Why an incarnation ended.

  code @0 :UInt8;
  # The exit code that stands for it.

  text @1 :Text;
  # For a person.

  union {
    normal @2 :Void;
    exit @3 :UInt8;
    # Its own exit code.

    trap @4 :Trap;
    limit @5 :Text;
    # Which one: `memory`, `deadline`, `cpu`, …

    killed @6 :Void;
    shutdown @7 :Void;
    startFailed @8 :Text;
    link @9 :Link;
    hostFault @10 :Text;
    noProcess @11 :Void;
    noConnection @12 :Void;
  }

  struct Trap {
    kind @0 :Text;
    message @1 :Text;
    backtrace @2 :Text;
  }

  struct Link {
    cell @0 :UInt64;
    # The linked cell whose end was the cause.

    reason @1 :ExitReason;
  }
}

struct Status {
  cell @0 :UInt64;
  # Id of the cell on its node.

  names @1 :List(Text);
  async @2 :Bool;
  startedAt @3 :UInt64;
  # Milliseconds since the Unix epoch.

  memory @4 :UInt64;
  # Bytes of linear memory in use.

  mailboxDepth @5 :UInt32;
  messages @6 :UInt64;
  # Messages that were answered.

  dropped @7 :UInt64;
  # Messages that the mailbox dropped.

  cpu @8 :UInt64;
  # Microseconds of computing.

  restarts @9 :UInt32;
  # Incarnations of its slot before this one.

  state :union {
    running @10 :Void;
    ended @11 :ExitReason;
  }

  phase @12 :Phase;
  # How far the start is of a cell that has not ended.

  enum Phase {
    running @0;
    compiling @1;
    starting @2;
    # Its program is there, and its instance is not.
  }
}

interface Exchange {
  # One message on its way: its body, its reply and how it ended.

  request @0 () -> (stream :Peer.ByteStream);
  # The writing end of the message's body.

  reply @1 () -> (stream :Peer.ByteStream);
  # The reading end of the reply.

  outcome @2 () -> (outcome :Outcome);
  # Waits until the message was answered, failed or refused.

  struct Outcome {
    union {
      ok @0 :Void;
      failed @1 :Text;
      # The guest returned this error.

      ended @2 :ExitReason;
      # The cell ended before it had answered.

      refused @3 :Text;
      # The message was not begun: `busy`, `denied`, `timeout`, `deadlock`, …
    }
  }
}

interface Observer {
  # What a holder of a monitor is told.

  down @0 (cell :UInt64, reason :ExitReason) -> ();
}

interface Monitor {
  # Dropping it removes the monitor, as `cancel` does.

  cancel @0 () -> ();
}

interface Lease {
  # Whoever holds it keeps a process alive.

  release @0 () -> ();
  # Gives the lease up without ending the process.
}

interface Registry {
  # Names of cells. A name matches `[a-z0-9][a-z0-9._-]{0,62}`; `call` and `rpc` are reserved.

  register @0 (name :Text, process :Peer.Process) -> ();
  # Gives a name to a cell below the holder, for as long as its incarnation lives.

  unregister @1 (name :Text) -> ();
  # Takes back a name that the holder, or a cell below it, was given while it ran. Names of specs stay.

  whereis @2 (name :Text) -> (process :Peer.Process);
  # The cell with a name: null where nobody has it, or the holder may not see it. It does not keep the cell alive. Of a cell
  # that is not below the holder it has `send` and `open` where the holder may send to the name; `wait`, `kill`, `status`,
  # `monitor`, `link`, `unlink` and `exit` where the holder's grant `process` lists it.

  names @3 () -> (names :List(Text));
  # The names that the holder may see, in alphabetical order.
}
