//! Cap'n Proto schemas of the runtime, and the Rust that the schema compiler made of them.
//!
//! The generated files are committed, so that building needs no schema compiler. After a change to a
//! `.capnp` file run `cargo run -p ww-schema --example generate`; a test fails while they differ.

macro_rules! generated {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used)]
        #[rustfmt::skip]
        pub mod $name;
    )*};
}

generated! {
    /// What the command line needs to know of a node.
    admin_capnp;
    /// Cells: specs, status and exit reasons.
    cell_capnp;
    /// Narrowing and revoking capabilities.
    grant_capnp;
    /// `Host`, `Executor`, `Process`, `ByteStream`: where every client and guest starts.
    peer_capnp;
    /// Supervisors.
    supervision_capnp;
}
