//! Images that cannot be run: each time the code is 66, and a person reads what was expected, what was found and what
//! to do.

use std::{ffi::OsStr, fs};

use crate::{
    harness::{Ended, Ww},
    image::{Image, guest},
};

/// What every text about a missing or damaged image ends with.
const LAYOUT: &str = "An image is a directory with the program, a WebAssembly component or core preview 1 module, in \
                      bin/main.wasm, and optionally etc/ww.toml.";

#[track_caller]
fn refuse(image: &(impl AsRef<OsStr> + ?Sized), parts: &[&str]) -> Ended {
    let ended = Ww::run(image).end();
    ended.expect(66, "").expect_stderr(parts).expect_stderr(&["ww: cannot "]);
    // A person made a mistake: nothing of the node's insides helps.
    ended.expect_not_in_stderr(&["panicked", "backtrace", "src/", "Some(", "Error {"]);
    ended
}

#[test]
fn there_is_no_image() {
    refuse("/nowhere/image", &["\"/nowhere/image\"", "file system: there is no such directory", LAYOUT]);
}

#[test]
fn an_image_is_a_directory() {
    let image = Image::of("echo");
    let file = image.path().join("bin/main.wasm");
    refuse(&file, &["main.wasm\"", "expected a directory, found a file", LAYOUT]);
}

#[test]
fn there_is_no_program() {
    refuse(&Image::empty(), &["the directory has no bin/main.wasm", LAYOUT]);
    refuse(&Image::empty().file("main.wasm", guest("echo")), &["the directory has no bin/main.wasm", LAYOUT]);
}

#[test]
fn the_program_is_a_directory() {
    let image = Image::empty();
    fs::create_dir_all(image.path().join("bin/main.wasm")).expect("a directory");
    refuse(&image, &["bin/main.wasm", "expected a regular file, found a directory"]);
}

#[test]
fn the_program_is_none() {
    for (bytes, found) in [
        (&b""[..], "found an empty file"),
        (b"\x7fELF\x02\x01\x01\0\0\0", "found something that starts with \"\\x7fELF"),
        (b"(module)", "found something that starts with \"(module)\""),
        (b"\0asm", "found only its first 4 bytes"),
    ] {
        let expected = "bin/main.wasm: expected a WebAssembly component or core module";
        refuse(&Image::new(bytes), &[expected, found, LAYOUT]);
    }
}

#[test]
fn the_program_is_damaged() {
    let whole = guest("pid0");
    let cut = &whole[..whole.len() / 2];
    let mut scratched = whole.clone();
    scratched[8..72].fill(0xff);
    let wrong_type = wat::parse_str(r#"(module (func (export "_start") (result i32) i64.const 0))"#);
    for program in [cut, &scratched, &wrong_type.expect("a module that is not valid")] {
        let parts = ["not a valid WebAssembly program", "Is the file complete, and built for WASI 0.2 or preview 1?"];
        refuse(&Image::new(program), &parts);
    }
}

#[test]
fn the_program_uses_what_is_not_run() {
    for (text, parts) in [
        ("(module (memory 1 1 shared))", ["`threads`", "docs/programs.md"]),
        ("(module (tag $t) (func try throw $t catch_all end))", ["`legacy-exceptions`", "-wasm-use-legacy-eh=false"]),
    ] {
        refuse(&Image::of_text(text), &["what this node does not run", parts[0], parts[1]]);
    }
}

#[test]
fn the_manifest_is_not_valid() {
    for (text, parts) in [
        ("[cell]\nnam = \"x\"\n", &["line 2", "unknown key", "`nam`", "`name`"][..]),
        ("[limits]\nmemory = \"1MiB\"\nmemroy = \"2MiB\"\n", &["line 3", "unknown key", "`memroy`", "`memory`"]),
        ("[limit]\nmemory = 1\n", &["line 1", "unknown key", "`limit`", "`limits`"]),
        ("[limits]\nmemory = \"64MB\"\n", &["line 2", "64MB", "a whole number with a unit, like \"64MiB\""]),
        ("[limits]\ndeadline = 0\n", &["line 2", "a time above 0"]),
        ("[cell]\nname = \"No Name\"\n", &["line 2", "No Name"]),
        ("[env]\nA = 1\n", &["line 2"]),
        ("[grants]\nhost = [\"fly\"]\n", &["line 2", "`fly`", "`connect`"]),
        ("[cell\n", &["line 1"]),
    ] {
        let ended = refuse(&Image::of("echo").manifest(text), parts);
        ended.expect_stderr(&["etc/ww.toml, line "]);
    }
    refuse(&Image::of("echo").file("etc/ww.toml", b"\xff\xfe"), &["etc/ww.toml: expected a text in UTF-8"]);
}

#[test]
fn the_image_asks_for_too_much() {
    let image = Image::of("echo").manifest("[limits]\nmemory = \"2GiB\"\n");
    refuse(&image, &["etc/ww.toml", "`memory` is 2147483648", "at most 1073741824"]);
    let image = Image::of("echo").manifest("[limits]\nchildren = 100000\n");
    refuse(&image, &["etc/ww.toml", "`children` is 100000", "at most 1024"]);
}
