@0xa91be3f5067c4d18;
# Narrowing a capability before it is handed on, and taking it back.

using Cell = import "cell.capnp";

struct Narrowing {
  methods @0 :List(Method);
  # The methods that remain; empty for all.

  limits @1 :Cell.Limits;
  # The most that cells started through it get.

  expires @2 :UInt64;
  # Milliseconds from now until it revokes itself; 0 for never.

  struct Method {
    interface @0 :UInt64;
    # Type id of the interface.

    method @1 :UInt16;
    # Ordinal of the method.
  }
}

interface Revoker {
  revoke @0 (reason :Text) -> ();
  # Breaks the capability and all that was reached through it. Cells started through it end with
  # `shutdown`.
}
