//! Programs out of any bytes, for the fuzz target and for the test that drives it for a short while on every run.

use std::sync::LazyLock;

use arbitrary::Unstructured;
use wasm_encoder::{Component, ComponentSectionId, RawSection};
use wasm_smith::{Config, Module};
use wasmparser::{Parser, Payload};

/// Most functions, and instructions of one: small programs find as much as large ones, and are tried far more often.
const MAX_FUNCS: usize = 8;
const MAX_INSTRUCTIONS: usize = 80;

/// Some of what a module of preview 1 can import.
const IMPORTS: &str = r#"(module
    (import "wasi_snapshot_preview1" "args_get" (func (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "clock_time_get" (func (param i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_sizes_get" (func (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_close" (func (param i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_fdstat_get" (func (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_seek" (func (param i32 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
    (import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "sched_yield" (func (result i32))))"#;

/// What a module exports that runs once, and one that serves.
const MAIN: &str = r#"(module (memory (export "memory") 1 16) (func (export "_start") unreachable))"#;
const POLL: &str = r#"(module (memory (export "memory") 1 16) (func (export "poll") (result i32) unreachable))"#;

/// A component that answers messages by whatever module stands in the place of its own.
const HANDLER: &str = r#"(component
    (core module $m
        (memory (export "memory") 1 16)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
        (func (export "handle") (param i32 i32) (result i32) unreachable))
    (core instance $i (instantiate $m))
    (func $handle (param "body" (list u8)) (result (result (list u8) (error string)))
        (canon lift (core func $i "handle") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
    (instance $handler (export "handle" (func $handle)))
    (export "wetware:cell/handler@0.1.0" (instance $handler)))"#;

/// What a program is to look like.
struct Shape {
    imports: Option<Vec<u8>>,
    exports: Vec<u8>,
    /// What stands after it in a component, if it is part of one.
    component: Option<Vec<u8>>,
}

static SHAPES: LazyLock<[Shape; 3]> = LazyLock::new(|| {
    let parse = |text| wat::parse_str(text).expect("valid text");
    let module = |exports| Shape { imports: Some(parse(IMPORTS)), exports: parse(exports), component: None };
    let handler = parse(HANDLER);
    let placeholder = Parser::new(0).parse_all(&handler).find_map(|payload| match payload {
        Ok(Payload::ModuleSection { unchecked_range, .. }) => Some(unchecked_range),
        _ => None,
    });
    let placeholder = placeholder.expect("it begins with its module");
    let (exports, rest) = (handler[placeholder.clone()].to_vec(), handler[placeholder.end..].to_vec());
    [module(MAIN), module(POLL), Shape { imports: None, exports, component: Some(rest) }]
});

/// A valid program that these bytes choose, if they are enough for one.
pub(crate) fn program(bytes: &[u8]) -> Option<Vec<u8>> {
    let (shape, bytes) = bytes.split_first()?;
    let Shape { imports, exports, component } = &SHAPES[usize::from(*shape) % SHAPES.len()];
    let config = Config {
        available_imports: imports.clone(),
        exports: Some(exports.clone()),
        max_imports: if imports.is_some() { 12 } else { 0 },
        max_funcs: MAX_FUNCS,
        max_instructions: MAX_INSTRUCTIONS,
        // None but the one that is exported.
        max_memories: 0,
        max_table_elements: 1_000,
        // What the engine does not offer to guests.
        custom_page_sizes_enabled: false,
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        reference_types_enabled: false,
        shared_everything_threads_enabled: false,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
        ..Config::default()
    };
    let module = Module::new(config, &mut Unstructured::new(bytes)).ok()?.to_bytes();
    Some(match component {
        None => module,
        Some(rest) => {
            let mut component = Component::new();
            component.section(&RawSection { id: ComponentSectionId::CoreModule.into(), data: &module });
            [&component.finish()[..], rest].concat()
        }
    })
}
