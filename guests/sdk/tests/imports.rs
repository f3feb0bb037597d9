//! What the finished guests import and export: a guest reaches for nothing that its code does not use.

use std::{collections::BTreeSet, fs, path::Path};

use wasmparser::{Parser, Payload};

const ACTOR: &str = "wetware:cell/actor";
const HANDLER: &str = "wetware:cell/handler";
const MAIL: &str = "wetware:cell/mail";
const IMPORTS: [&str; 6] = [
    "wetware:cell/log",
    "wetware:cell/mail",
    "wetware:cell/process",
    "wetware:cell/registry",
    "wetware:cell/self",
    STREAMS,
];
const LOADER: &str = "wetware:loader/loader";
const SELF: &str = "wetware:cell/self";
const NONSENSE: &str = "wetware:nonsense/nothing";
const RUN: &str = "wasi:cli/run";
const STREAMS: &str = "wetware:streams/streams";

/// Packages of WASI that the standard library may import.
const WASI: [&str; 6] = ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];

/// Names without versions.
struct World {
    imports: BTreeSet<String>,
    exports: BTreeSet<String>,
}

fn world(guest: &str) -> World {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../target/wasm32-wasip2/release/{guest}.wasm"));
    let wasm = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}: run `make guests` first", path.display()));
    let unversioned = |name: &str| name.split('@').next().unwrap_or_default().to_owned();
    let mut world = World { imports: BTreeSet::new(), exports: BTreeSet::new() };
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(&wasm) {
        match payload.expect("a valid component") {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            // The component itself, not what is nested in it.
            Payload::ComponentImportSection(section) if depth == 1 => {
                world.imports.extend(section.into_iter().map(|import| unversioned(import.expect("valid").name.name)));
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                world.exports.extend(section.into_iter().map(|export| unversioned(export.expect("valid").name.name)));
            }
            _ => {}
        }
    }
    world
}

#[test]
fn guests_import_what_they_use_and_export_what_they_can_do() {
    let table: [(&str, &[&str], &[&str]); 15] = [
        ("echo", &[STREAMS], &[RUN, ACTOR, HANDLER]),
        ("child-echo", &[STREAMS], &[RUN]),
        ("pid0", &[STREAMS], &[RUN]),
        ("shell", &[LOADER, STREAMS], &[RUN]),
        ("tree", &[MAIL, LOADER, STREAMS], &[RUN, HANDLER]),
        ("exits", &[], &[RUN]),
        ("outside", &[], &[RUN]),
        ("actor", &[], &[ACTOR, HANDLER]),
        ("mirror", &[], &[RUN, ACTOR]),
        ("mite", &[], &[RUN, HANDLER]),
        ("neighbour", &IMPORTS, &[HANDLER]),
        ("polling", &[STREAMS], &[RUN]),
        ("relay", &[MAIL, SELF], &[HANDLER]),
        ("caller", &[LOADER, STREAMS], &[RUN]),
        ("bad-import", &[NONSENSE], &[RUN]),
    ];
    for (guest, imports, exports) in table {
        let world = world(guest);
        let foreign: BTreeSet<_> =
            world.imports.iter().filter(|name| !WASI.iter().any(|wasi| name.starts_with(wasi))).collect();
        assert!(foreign.into_iter().eq(imports), "{guest} imports {:?}", world.imports);
        let expected: BTreeSet<_> = exports.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(world.exports, expected, "{guest}");
    }
}
