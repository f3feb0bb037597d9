//! A script as a program: what a cell says over its connection to the node.

use super::script::Script;

/// Where the bytes that are said once lie in its memory.
const ONCE: usize = 128 << 10;

impl Script {
    /// A program that says it over its connection to the node, until that ends.
    pub(super) fn component(&self) -> Vec<u8> {
        let again = ONCE + self.once.len();
        let pages = (again + self.again.len()) / (64 << 10) + 2;
        let data = |bytes: &[u8]| bytes.iter().map(|byte| format!("\\{byte:02x}")).collect::<String>();
        let numbers: String =
            self.numbers.iter().map(|at| format!("(i32.store (i32.const {}) (local.get $turn))", again + at)).collect();
        let read = "(call $read (local.get $in) (i32.const 65536) (i32.const 32))
            (if (i32.load8_u (i32.const 32)) (then (return (i32.const 0))))
            (if (i32.eqz (i32.load (i32.const 40))) (then (return (i32.const 0))))";
        let (times, meanwhile) = (self.times.saturating_add(2), if self.reads { read } else { "" });
        let write = |at: usize, len: usize| {
            format!(
                "(call $write (local.get $out) (i32.const {at}) (i32.const {len}) (i32.const 16))
                (if (i32.load8_u (i32.const 16)) (then (return (i32.const 0))))"
            )
        };
        let (first, next) = (write(ONCE, self.once.len()), write(again, self.again.len()));
        let text = format!(
            r#"(component
            (import "wetware:streams/streams@0.1.0" (instance $streams
                (export "connection" (type $connection (sub resource)))
                (export "create-connection" (func (result (own $connection))))
                (export "[method]connection.get-input-stream-handle" (func (param "self" (borrow $connection)) (result u32)))
                (export "[method]connection.get-output-stream-handle" (func (param "self" (borrow $connection)) (result u32)))
                (export "read" (func (param "handle" u32) (param "max" u32) (result (result (list u8) (error string)))))
                (export "write" (func (param "handle" u32) (param "bytes" (list u8)) (result (result (error string)))))))
            (core module $libc (memory (export "memory") {pages})
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
            (core instance $libc (instantiate $libc))
            (core func $create (canon lower (func $streams "create-connection")))
            (core func $get-in (canon lower (func $streams "[method]connection.get-input-stream-handle")))
            (core func $get-out (canon lower (func $streams "[method]connection.get-output-stream-handle")))
            (core func $read (canon lower (func $streams "read")
                (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
            (core func $write (canon lower (func $streams "write")
                (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
            (core module $main
                (import "libc" "memory" (memory 1))
                (import "host" "create" (func $create (result i32)))
                (import "host" "get-in" (func $get-in (param i32) (result i32)))
                (import "host" "get-out" (func $get-out (param i32) (result i32)))
                (import "host" "read" (func $read (param i32 i32 i32)))
                (import "host" "write" (func $write (param i32 i32 i32 i32)))
                (data (i32.const {ONCE}) "{}") (data (i32.const {again}) "{}")
                (func (export "run") (result i32)
                    (local $connection i32) (local $in i32) (local $out i32) (local $turn i32)
                    (local.set $connection (call $create))
                    (local.set $in (call $get-in (local.get $connection)))
                    (local.set $out (call $get-out (local.get $connection)))
                    {first}
                    (local.set $turn (i32.const 2))
                    (block $said (loop $more
                        (br_if $said (i32.ge_u (local.get $turn) (i32.const {times})))
                        {numbers} {next} {meanwhile}
                        (local.set $turn (i32.add (local.get $turn) (i32.const 1)))
                        (br $more)))
                    (loop $listen {read} (br $listen))
                    (i32.const 0)))
            (core instance $main (instantiate $main (with "libc" (instance $libc)) (with "host" (instance
                (export "create" (func $create)) (export "get-in" (func $get-in)) (export "get-out" (func $get-out))
                (export "read" (func $read)) (export "write" (func $write))))))
            (func $run (result (result)) (canon lift (core func $main "run")))
            (instance $cli (export "run" (func $run)))
            (export "wasi:cli/run@0.2.12" (instance $cli)))"#,
            data(&self.once),
            data(&self.again),
        );
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
    }
}
