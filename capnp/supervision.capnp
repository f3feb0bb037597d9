@0xe7a4c1f08b6d2953;
# Supervision in the sense of OTP's `supervisor`.

using Cell = import "cell.capnp";
using Peer = import "peer.capnp";

struct Options {
  # How a supervisor treats its children.

  strategy @0 :Strategy;
  intensity @1 :UInt32 = 1;
  # Restarts allowed within `period`; one more ends the supervisor.

  period @2 :UInt32 = 5000;
  # Milliseconds of the sliding window.

  autoShutdown @3 :AutoShutdown;
  template @4 :ChildSpec;
  # The one kind of child of `simpleOneForOne`.

  name @5 :Text;
  # What the registry and the log call it; empty for none.

  children @6 :List(ChildSpec);
  # Its first children, started in this order, each complete before the next, whenever it is started.

  enum Strategy {
    oneForOne @0;
    oneForAll @1;
    restForOne @2;
    simpleOneForOne @3;
  }

  enum AutoShutdown {
    never @0;
    anySignificant @1;
    allSignificant @2;
  }
}

struct ChildSpec {
  id @0 :Text;
  # Names the child among its siblings; empty for the id in its cell's spec, or else a generated one.

  child :union {
    cell @1 :Cell.Spec;
    supervisor @2 :Options;
  }
  restart @3 :Cell.Restart = permanent;
  shutdown :union {
    timeout @4 :UInt32 = 5000;
    # Milliseconds until the child is killed.

    brutalKill @5 :Void;
    infinity @6 :Void;
  }
  significant @7 :Bool;
  backoff @8 :Backoff;

  struct Backoff {
    # Waits before a restart: `base`, then `factor` times more each time, up to `cap`.

    base @0 :UInt32;
    factor @1 :Float32 = 2;
    cap @2 :UInt32;
    jitter @3 :Float32;
    # Share of the wait that is random, 0 to 1.
  }
}

interface Supervisor {
  # The calls of OTP's `supervisor`.

  startChild @0 (spec :ChildSpec) -> (child :Child);
  # Adds a child and waits until it has started. Of `simpleOneForOne`: starts an instance of the template; a cell in `spec`
  # whose program is not empty takes the place of the template's.

  terminateChild @1 (id :Text) -> ();
  # Stops a child and waits for its end. Instances of a template have the ids that `startChild` and `whichChildren` tell.

  restartChild @2 (id :Text) -> (child :Child);
  deleteChild @3 (id :Text) -> ();
  whichChildren @4 () -> (children :List(Child));
  countChildren @5 () -> (specs :UInt32, active :UInt32, supervisors :UInt32, workers :UInt32);
  stop @6 () -> ();
  # Ends its children in reverse order, then itself, with `shutdown`.

  wait @7 () -> (reason :Cell.ExitReason);

  struct Child {
    id @0 :Text;
    state :union {
      running @1 :Peer.Process;
      # The incarnation that lives. The reference does not keep it alive.

      supervisor @2 :Supervisor;
      restarting @3 :Void;
      # It waits for its restart, or is being started or stopped.

      stopped @4 :Void;
    }
  }
}
