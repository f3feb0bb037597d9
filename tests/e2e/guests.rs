//! Every guest program has a test of its name: without one, this does not compile.

use std::{collections::BTreeSet, fs, path::Path};

use crate::{
    harness::Ww,
    image::{Image, guest, in_repository},
};

/// Calls a macro with every guest program.
macro_rules! for_each_guest {
    ($do:ident) => {
        $do! { actor bad_import caller child_echo echo exits mirror mite neighbour outside pid0 polling preview1 relay shell tree }
    };
}

macro_rules! assert_tests_exist {
    ($($guest:ident)*) => {
        $(#[expect(unused_imports, reason = "here to see that the guest has a test")] use self::$guest as _;)*
    };
}

macro_rules! names {
    ($($guest:ident)*) => { [$(stringify!($guest)),*] };
}

for_each_guest!(assert_tests_exist);

/// Directories of `guests/` that hold no program.
const NO_PROGRAM: [&str; 1] = ["sdk"];

#[test]
fn the_list_of_guests_is_complete() {
    let mut found = BTreeSet::new();
    for parent in ["guests", "guests/test-guests"] {
        for entry in fs::read_dir(in_repository(parent)).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.join("Cargo.toml").is_file() {
                found.insert(
                    path.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8").replace('-', "_"),
                );
            }
        }
    }
    found.retain(|name| !NO_PROGRAM.contains(&name.as_str()));
    let listed: BTreeSet<_> = for_each_guest!(names).map(str::to_owned).into();
    assert_eq!(listed, found, "add a new guest to the list above, and a test of its name");
}

#[test]
fn the_examples_are_the_guests() {
    for name in ["pid0", "child-echo", "shell", "echo", "tree"] {
        let example = in_repository("examples/images").join(name).join("bin/main.wasm");
        let same = fs::read(&example).is_ok_and(|program| program == guest(name));
        assert!(same, "{} is not the guest as it is built now: run `make images`", example.display());
    }
    let hidden = |path: &Path| path.join("bin/child-echo.wasm").is_file();
    assert!(hidden(&in_repository("examples/images/shell")), "run `make images`");
}

#[test]
fn pid0() {
    let lines = "child-echo: hello from pid0\nchild-echo exited with code 0\n";
    Ww::run(&Image::of("pid0")).end().expect(0, lines);
    let without = Image::of("pid0").manifest("[grants]\nexecutor = [\"echo\"]\n");
    Ww::run(&without).end().expect(1, "").expect_stderr(&["denied: Executor.runBytes is not granted to this cell"]);
}

#[test]
fn child_echo() {
    let ended = Ww::run(&Image::of("child-echo")).stdin("one\ntwo").end();
    ended.expect(0, "child-echo: one\nchild-echo: two\n");
    ended.expect_stderr(&["INFO the node echoed: hello from child-echo"]);
}

#[test]
fn echo() {
    for input in ["", "one line\n", "no newline"] {
        Ww::run(&Image::of("echo")).stdin(input).end().expect(0, input);
    }
}

#[test]
fn tree() {
    let without = Image::of("tree").manifest("[grants]\nloader = false\n");
    Ww::run(&without).end().expect(1, "").expect_stderr(&["bin/main.wasm: denied"]);
}

#[test]
fn shell() {
    let ended = Ww::run(&Image::of("shell")).stdin("echo  hello there \n").end();
    ended.expect(0, "This is a cell. Type `help` for what it can do.\nww> hello there\nww> \n");
}

#[test]
fn exits() {
    let image = Image::of("exits");
    for (args, input, code, output) in [
        (&["args", "one", "two words"][..], "", 0, "one\ntwo words\n"),
        (&["upper"], "one\ntwo\n", 0, "ONE\nTWO\n"),
        (&["first-line"], "one\ntwo\n", 0, "one\n"),
        (&["count-stdin"], "12345", 0, "5\n"),
        (&["ignore-stdin"], "12345", 0, "done\n"),
        (&["sleep", "1"], "", 0, "sleeping\nslept\n"),
        (&["flood", "2000"], "", 0, &format!("{}\n{}", "x".repeat(1023), "x".repeat(976))),
        (&["unflushed"], "", 0, "unflushed"),
        (&["unflushed-exit", "3"], "", 3, "unflushed"),
        (&["no-such-test"], "", 1, ""),
    ] {
        Ww::run(&image).stdin(input).guest_args(args).end().expect(code, output);
    }
    let ended = Ww::run(&image).guest_args(&["log"]).end();
    ended.expect(0, "").expect_stderr(&["ERROR 1", "WARN 2", "INFO 3"]).expect_not_in_stderr(&["DEBUG", "TRACE"]);
    let ended = Ww::run(&image).args(["--env", "WW_LOG=trace"]).guest_args(&["log"]).end();
    ended.expect(0, "").expect_stderr(&["DEBUG 4", "TRACE 5"]);
}

#[test]
fn caller() {
    let image = Image::of("caller");
    for (args, output) in [
        (&["unconnected"][..], "done\n"),
        (&["idle", "1"], "awake\n"),
        (&["echo", "1000000"], "ok\n"),
        (&["echo-at-once", "100"], "ok 100\n"),
        (&["load", "bin/main.wasm"], &format!("{} bytes\n", guest("caller").len())),
    ] {
        Ww::run(&image).guest_args(args).end().expect(0, output);
    }
    Ww::run(&image).guest_args(&["echoes"]).stdin("2\n1\n").end().expect(0, "done\ndone\n");
    let ended = Ww::run(&image).guest_args(&["second-connection"]).end();
    ended.expect(134, "").expect_stderr(&["trap(host-call)", "this cell has used its one connection to the node"]);
}

#[test]
fn actor() {
    let ended = Ww::run(&Image::of("actor")).end();
    ended
        .expect(126, "")
        .expect_stderr(&["exports no main", "poll (wetware:cell/actor), handle (wetware:cell/handler)"]);
}

#[test]
fn mirror() {
    Ww::run(&Image::of("mirror")).stdin("itself").end().expect(0, "itself");
}

#[test]
fn mite() {
    let small = Image::of("mite").manifest("[limits]\nmemory = \"1MiB\"\n");
    Ww::run(&small).stdin("itself").end().expect(0, "itself");
}

#[test]
fn neighbour() {
    let ended = Ww::run(&Image::of("neighbour")).end();
    ended.expect(126, "").expect_stderr(&["exports no main", "handle (wetware:cell/handler)"]);
}

#[test]
fn outside() {
    let ended = Ww::run(&Image::of("outside")).end();
    ended.expect(1, "").expect_stderr(&["expected a port"]);
}

#[test]
fn polling() {
    let image = Image::of("polling");
    for form in ["pollables", "numbers"] {
        Ww::run(&image).guest_args(&[form]).end().expect(0, "code 0\n");
    }
}

#[test]
fn relay() {
    let ended = Ww::run(&Image::of("relay")).end();
    ended.expect(126, "").expect_stderr(&["exports no main", "handle (wetware:cell/handler)"]);
}

#[test]
fn bad_import() {
    let ended = Ww::run(&Image::of("bad-import")).end();
    ended.expect(126, "").expect_stderr(&["wetware:nonsense/nothing@0.1.0", "A node offers"]);
}

#[test]
fn preview1() {
    let image = Image::of("preview1");
    for (args, code, output) in [
        (&[][..], 0, "input"),
        (&["cat"], 0, "input"),
        (&["args", "one", "two"], 0, "one\ntwo\n"),
        (&["env"], 0, "A=1\n"),
        (&["exit", "0"], 0, ""),
        (&["exit", "7"], 7, ""),
        (&["exit", "200"], 200, ""),
        (&["no-such-test"], 1, ""),
        (&["panic"], 134, ""),
    ] {
        Ww::run(&image).args(["--env", "A=1"]).stdin("input").guest_args(args).end().expect(code, output);
    }
}
