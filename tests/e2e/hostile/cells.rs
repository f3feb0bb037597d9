//! What cells do without any capability: programs of a few lines, most of them for preview 1.

/// Bytes that the node may hold for a hostile cell.
pub(super) const HELD: u64 = 16 << 20;

/// Bytes of linear memory of one.
pub(super) const MEMORY: u64 = 4 << 20;

/// Computes for ever.
pub(super) const SPIN: &str = r#"(module (memory (export "memory") 1) (func (export "_start") (loop (br 0))))"#;

/// A program with functions of preview 1, so many pages of memory, and this as its `_start`.
fn program(imports: &[(&str, &str)], pages: u32, start: &str) -> Vec<u8> {
    let imports: String = imports
        .iter()
        .map(|(name, params)| {
            format!(r#"(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {params}) (result i32)))"#)
        })
        .collect();
    let text = format!(r#"(module {imports} (memory (export "memory") {pages}) {start})"#);
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The same, for ever.
fn again(imports: &[(&str, &str)], pages: u32, what: &str) -> Vec<u8> {
    program(imports, pages, &format!(r#"(func (export "_start") (loop $again {what} (br $again)))"#))
}

/// Writes 64 KiB at once to one of its standard streams.
fn writing(stream: u32, byte: u8) -> Vec<u8> {
    let write = [("fd_write", "i32 i32 i32 i32")];
    let start = format!(
        r#"(func (export "_start")
            (memory.fill (i32.const 64) (i32.const {byte}) (i32.const 65536))
            (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 65536))
            (loop $again (drop (call $fd_write (i32.const {stream}) (i32.const 0) (i32.const 1) (i32.const 16))) (br $again)))"#
    );
    program(&write, 2, &start)
}

/// Waits for one clock that is due, and names it as often in one list as there is room for it.
fn pollables() -> Vec<u8> {
    let text = r#"(component
        (import "wasi:io/poll@0.2.12" (instance $poll
            (export "pollable" (type $pollable (sub resource)))
            (export "poll" (func (param "in" (list (borrow $pollable))) (result (list u32))))))
        (alias export $poll "pollable" (type $pollable))
        (import "wasi:clocks/monotonic-clock@0.2.12" (instance $clock
            (alias outer 1 $pollable (type $outer))
            (export "pollable" (type $own (eq $outer)))
            (export "subscribe-duration" (func (param "when" u64) (result (own $own))))))
        (core module $libc (memory (export "memory") 60)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 2097152)))
        (core instance $libc (instantiate $libc))
        (core func $subscribe (canon lower (func $clock "subscribe-duration")))
        (core func $poll (canon lower (func $poll "poll")
            (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
        (core module $main
            (import "libc" "memory" (memory 1))
            (import "host" "subscribe" (func $subscribe (param i64) (result i32)))
            (import "host" "poll" (func $poll (param i32 i32 i32)))
            (func (export "run") (result i32) (local $pollable i32) (local $at i32)
                (local.set $pollable (call $subscribe (i64.const 0)))
                (local.set $at (i32.const 65536))
                (loop $more
                    (i32.store (local.get $at) (local.get $pollable))
                    (local.set $at (i32.add (local.get $at) (i32.const 4)))
                    (br_if $more (i32.lt_u (local.get $at) (i32.const 1665536))))
                (loop $again (call $poll (i32.const 65536) (i32.const 400000) (i32.const 8)) (br $again))
                (unreachable)))
        (core instance $main (instantiate $main (with "libc" (instance $libc)) (with "host" (instance
            (export "subscribe" (func $subscribe)) (export "poll" (func $poll))))))
        (func $run (result (result)) (canon lift (core func $main "run")))
        (instance $cli (export "run" (func $run)))
        (export "wasi:cli/run@0.2.12" (instance $cli)))"#;
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

/// Every program, by what it does.
pub(super) fn programs() -> Vec<(&'static str, Vec<u8>)> {
    // As much as a cell gets here, and as much as the rest of a program needs.
    let (pages, most) = (48, 48 << 16);
    let fill = format!("(memory.fill (i32.const 0) (i32.const 1) (i32.const {most}))");
    let copy = format!("(memory.copy (i32.const 0) (i32.const 8) (i32.const {}))", most - 8);
    let random = format!("(drop (call $random_get (i32.const 0) (i32.const {most})))");
    // Each buffer is the whole of its memory, as often as a number says.
    let buffers = "(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 0x0fffffff) (i32.const 16)))";
    let polls = "(drop (call $poll_oneoff (i32.const 0) (i32.const 65536) (i32.const 40000) (i32.const 16)))";
    vec![
        ("computing", wat::parse_str(SPIN).expect("a program")),
        ("memory.fill", again(&[], pages, &fill)),
        ("memory.copy", again(&[], pages, &copy)),
        (
            "memory that grows",
            program(&[], 1, r#"(func (export "_start") (loop $again (drop (memory.grow (i32.const 1))) (br $again)))"#),
        ),
        (
            "tables that grow",
            program(
                &[],
                1,
                r#"(table 1 funcref) (func (export "_start") (loop $again (drop (table.grow (ref.null func) (i32.const 1000))) (br $again)))"#,
            ),
        ),
        (
            "a table that is filled",
            program(
                &[],
                1,
                r#"(table 90000 funcref) (func (export "_start") (loop $again (table.fill (i32.const 0) (ref.null func) (i32.const 90000)) (br $again)))"#,
            ),
        ),
        ("calls without end", program(&[], 1, r#"(func $deep (export "_start") (call $deep))"#)),
        ("traps", program(&[], 1, r#"(func (export "_start") unreachable)"#)),
        ("random bytes without end", again(&[("random_get", "i32 i32")], pages, &random)),
        ("lists of buffers without end", again(&[("fd_write", "i32 i32 i32 i32")], 1, buffers)),
        ("lists of clocks without end", again(&[("poll_oneoff", "i32 i32 i32 i32")], pages, polls)),
        ("lists of pollables without end", pollables()),
        ("output that nobody reads", writing(1, b'o')),
        ("errors without end", writing(2, b'e')),
        ("lines of errors without end", writing(2, b'\n')),
    ]
}
