//! Bindings that `wit-bindgen` makes of the WIT packages, one module for each world, so that a
//! component is described only by the worlds that it uses.

macro_rules! bindings {
    ($($name:ident { $($option:tt)* })*) => {$(
        #[allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used)]
        pub mod $name {
            wit_bindgen::generate!({ $($option)* });
        }
    )*};
}

bindings! {
    actor {
        inline: "package wetware:guest; world actor-guest { export wetware:cell/actor@0.1.0; }",
        path: ["../../wit/deps/cli.wit", "../../wit/cell.wit"],
        pub_export_macro: true,
        default_bindings_module: "ww_guest::bindings::actor",
    }
    handler {
        inline: "package wetware:guest; world handler-guest { export wetware:cell/handler@0.1.0; }",
        path: ["../../wit/deps/cli.wit", "../../wit/cell.wit"],
        pub_export_macro: true,
        default_bindings_module: "ww_guest::bindings::handler",
    }
    imports {
        inline: "package wetware:guest; world imports-guest { include wetware:cell/actor-imports@0.1.0; }",
        path: ["../../wit/deps/cli.wit", "../../wit/cell.wit"],
        generate_all,
    }
    loader {
        path: "../../wit/loader.wit",
        world: "loader-guest",
    }
    streams {
        path: ["../../wit/deps/io.wit", "../../wit/streams.wit"],
        world: "wetware:streams/streams-world@0.1.0",
        with: {
            "wasi:io/error@0.2.12": wasip2::io::error,
            "wasi:io/poll@0.2.12": wasip2::io::poll,
            "wasi:io/streams@0.2.12": wasip2::io::streams,
        },
    }
}
