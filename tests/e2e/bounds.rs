//! The table of all that a principal can make a node hold or compute: nothing that can be called is missing in it.

use std::{fs, path::Path};

use crate::harness::Ww;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The functions of a WIT file, as `interface.function`, or `resource.function` for those of a resource.
fn functions(wit: &str) -> Vec<String> {
    let (mut interface, mut resource, mut found) = (None, None, Vec::new());
    for line in wit.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("interface ") {
            interface = name.split([' ', '{']).next();
        } else if let Some(name) = line.strip_prefix("resource ") {
            resource = name.split([' ', '{']).next();
        } else if line == "}" {
            if resource.take().is_none() {
                interface = None;
            }
        } else if let Some((name, rest)) = line.split_once(':')
            && rest.trim_start().starts_with("func(")
            && let Some(of) = resource.or(interface)
        {
            found.push(format!("{of}.{name}"));
        }
    }
    found
}

/// The methods of a schema, as `Interface.method`.
fn methods(schema: &str) -> Vec<String> {
    let (mut interface, mut found) = (None, Vec::new());
    for line in schema.lines() {
        if let Some(name) = line.strip_prefix("interface ") {
            interface = name.split([' ', '(']).next();
        } else if line.starts_with('}') {
            interface = None;
        } else if let Some((name, rest)) = line.trim().split_once(" @")
            && rest.split_once(" (").is_some_and(|(ordinal, _)| ordinal.parse::<u16>().is_ok())
            && let Some(of) = interface
        {
            found.push(format!("{of}.{name}"));
        }
    }
    found
}

#[test]
fn every_function_method_protocol_and_verb_has_its_bound() {
    let table = read("docs/bounds.md");
    let mut all = Vec::new();
    for wit in ["cell", "loader", "streams"] {
        let found = functions(&read(&format!("wit/{wit}.wit")));
        assert!(!found.is_empty(), "{wit}: no function was found");
        all.extend(found);
    }
    for schema in ["peer", "cell", "grant", "supervision", "admin"] {
        let found = methods(&read(&format!("capnp/{schema}.capnp")));
        assert!(!found.is_empty(), "{schema}: no method was found");
        all.extend(found);
    }
    all.extend(["/ww/0.1.0/<name>", "/ww/0.1.0/call", "/ww/0.1.0/rpc"].map(str::to_owned));
    let help = Ww::new(["--help"]).end().stdout;
    // What a line begins that is not indented any further.
    let verb = |line: &str| {
        line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?.split(' ').next().map(str::to_owned)
    };
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let verbs: Vec<_> = commands.filter_map(verb).filter(|verb| verb != "help").collect();
    assert!(verbs.len() > 10, "{help}");
    all.extend(verbs.into_iter().map(|verb| format!("ww {verb}")));
    let missing: Vec<_> = all.iter().filter(|what| !table.contains(&format!("`{what}`"))).collect();
    assert!(missing.is_empty(), "docs/bounds.md says nothing about {missing:?}");
}
