//! A rewritten module beside the same one as it was: every trap and every byte must be the same.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use wasmtime::{Config, Engine, Instance, Linker, Module, Store, Trap, UpdateDeadline, Val, component};

use super::*;

/// Bytes of the memories here: five pieces.
const MEMORY: u64 = 20 << 16;

/// Two memories, one of them with 64-bit addresses, a long segment, and each instruction between them.
fn every_instruction() -> Vec<u8> {
    let segment: String = (0..400_000_u32).map(|n| char::from(b'a' + (n % 26).to_le_bytes()[0])).collect();
    let text = format!(
        r#"(module
            (memory $m (export "m") 20) (memory $w (export "w") i64 20)
            (data $d "{segment}")
            (func (export "fill") (param i64 i64 i64)
                (memory.fill $m (i32.wrap_i64 (local.get 0)) (i32.wrap_i64 (local.get 1)) (i32.wrap_i64 (local.get 2))))
            (func (export "fill wide") (param i64 i64 i64)
                (memory.fill $w (local.get 0) (i32.wrap_i64 (local.get 1)) (local.get 2)))
            (func (export "copy") (param i64 i64 i64)
                (memory.copy $m $m (i32.wrap_i64 (local.get 0)) (i32.wrap_i64 (local.get 1)) (i32.wrap_i64 (local.get 2))))
            (func (export "copy wide") (param i64 i64 i64)
                (memory.copy $w $w (local.get 0) (local.get 1) (local.get 2)))
            (func (export "widen") (param i64 i64 i64)
                (memory.copy $w $m (local.get 0) (i32.wrap_i64 (local.get 1)) (i32.wrap_i64 (local.get 2))))
            (func (export "narrow") (param i64 i64 i64)
                (memory.copy $m $w (i32.wrap_i64 (local.get 0)) (local.get 1) (i32.wrap_i64 (local.get 2))))
            (func (export "init") (param i64 i64 i64)
                (memory.init $m $d (i32.wrap_i64 (local.get 0)) (i32.wrap_i64 (local.get 1)) (i32.wrap_i64 (local.get 2))))
            (func (export "init wide") (param i64 i64 i64)
                (memory.init $w $d (local.get 0) (i32.wrap_i64 (local.get 1)) (i32.wrap_i64 (local.get 2))))
            (func (export "drop") (param i64 i64 i64) (data.drop $d)))"#
    );
    wat::parse_str(text).expect("valid text")
}

const INSTRUCTIONS: [&str; 8] = ["fill", "fill wide", "copy", "copy wide", "widen", "narrow", "init", "init wide"];

struct Side {
    store: Store<()>,
    instance: Instance,
}

impl Side {
    fn of(engine: &Engine, wasm: &[u8]) -> Self {
        let module = Module::new(engine, wasm).unwrap_or_else(|error| panic!("{error:?}"));
        let mut store = Store::new(engine, ());
        let instance = Instance::new(&mut store, &module, &[]).expect("an instance");
        Self { store, instance }
    }

    fn call(&mut self, name: &str, arguments: [u64; 3]) -> Option<Trap> {
        let function = self.instance.get_func(&mut self.store, name).expect("a function");
        let arguments = arguments.map(|argument| Val::I64(argument.cast_signed()));
        let error = function.call(&mut self.store, &arguments, &mut []).err()?;
        Some(*error.downcast_ref::<Trap>().expect("a trap"))
    }

    fn memories(&mut self) -> [&[u8]; 2] {
        let [m, w] = ["m", "w"].map(|name| self.instance.get_memory(&mut self.store, name).expect("a memory"));
        [m.data(&self.store), w.data(&self.store)]
    }
}

#[test]
fn a_rewritten_program_does_and_refuses_the_same() {
    let wasm = every_instruction();
    let rewritten = bounded(&wasm, Memories::AsTheyAre).expect("a module");
    assert!(matches!(rewritten, Cow::Owned(_)));
    let engine = Engine::default();
    let (mut old, mut new) = (Side::of(&engine, &wasm), Side::of(&engine, &rewritten));
    let mut random = StdRng::seed_from_u64(18);
    let edges = [0, 1, PIECE - 1, PIECE, PIECE + 1, 400_000, 2 * PIECE, MEMORY - PIECE, MEMORY - 1, MEMORY, MEMORY + 1];
    let far = [u64::from(u32::MAX), u64::from(u32::MAX) - PIECE, u64::MAX, u64::MAX - PIECE, 1 << 63];
    let (mut trapped, mut done) = (0, 0);
    let mut check = |name: &str, arguments: [u64; 3]| {
        let (expected, found) = (old.call(name, arguments), new.call(name, arguments));
        assert_eq!(expected, found, "{name} {arguments:?}");
        assert!(old.memories() == new.memories(), "{name} {arguments:?} left other bytes");
        if expected.is_some() { trapped += 1 } else { done += 1 }
    };
    // Something to copy, then both overlaps, a byte apart and a piece apart.
    check("init", [0, 0, 400_000]);
    check("init wide", [300_000, 0, 400_000]);
    for name in ["copy", "copy wide"] {
        for apart in [1, 4_095, PIECE - 1, PIECE, PIECE + 1] {
            check(name, [apart, 0, MEMORY - apart]);
            check(name, [0, apart, MEMORY - apart]);
        }
    }
    for turn in 0..160 {
        if turn == 120 {
            check("drop", [0; 3]);
        }
        let mut number = |most: u64| match random.random_range(0..10) {
            0 => far[random.random_range(0..far.len())],
            1..4 => edges[random.random_range(0..edges.len())],
            _ => random.random_range(0..most),
        };
        let name = INSTRUCTIONS[turn % INSTRUCTIONS.len()];
        check(name, [number(MEMORY / 3), number(MEMORY / 3), number(MEMORY / 2)]);
    }
    assert!(trapped > 20 && done > 60, "{trapped} traps, {done} done");
}

#[test]
fn a_long_instruction_is_interrupted_between_its_pieces() {
    let mut config = Config::new();
    config.epoch_interruption(true);
    let engine = Engine::new(&config).expect("an engine");
    let wasm = every_instruction();
    let looks = |wasm: &[u8]| {
        let mut side = Side::of(&engine, wasm);
        let looks = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&looks);
        // At once again: each look at the clock is one too late.
        side.store.epoch_deadline_callback(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(UpdateDeadline::Continue(0))
        });
        side.store.set_epoch_deadline(0);
        assert_eq!(side.call("fill", [0, 1, MEMORY]), None);
        looks.load(Ordering::Relaxed)
    };
    let pieces = usize::try_from(MEMORY / PIECE).expect("a few");
    let (before, after) = (looks(&wasm), looks(&bounded(&wasm, Memories::AsTheyAre).expect("a module")));
    assert!(before < pieces && after >= before + pieces - 1, "{before} before, {after} after");
}

#[test]
fn programs_without_long_instructions_stay_as_they_are() {
    for text in [
        "(module)",
        r#"(module (memory 1) (data (i32.const 0) "x") (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 128))))"#,
        r#"(module (memory 1) (data $d "x") (func (param i32) (memory.init $d (i32.const 0) (i32.const 0) (local.get 0))))"#,
        "(component (core module (memory 1)) (component))",
    ] {
        let wasm = wat::parse_str(text).expect("valid text");
        assert!(matches!(bounded(&wasm, Memories::AsTheyAre), Ok(Cow::Borrowed(_))), "{text}");
    }
    // What is not there is for the engine to refuse, with its own words.
    let invalid = wat::parse_str("(module (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 0x100000))))");
    assert!(matches!(bounded(&invalid.expect("text that parses"), Memories::AsTheyAre), Ok(Cow::Borrowed(_))));
}

#[test]
fn calls_take_the_place_of_instructions_to_the_byte() {
    let wasm = every_instruction();
    let rewritten = bounded(&wasm, Memories::AsTheyAre).expect("a module");
    let code = |wasm: &[u8]| {
        let sections: Vec<_> = Sections::of(wasm).expect("a header").map(|section| section.expect("valid")).collect();
        sections.iter().find(|section| section.id == 10).map(|section| section.content.to_vec()).expect("code")
    };
    let (old, new) = (code(&wasm), code(&rewritten));
    let (mut reader, mut same) = (BinaryReader::new(&old, 0), BinaryReader::new(&new, 0));
    let functions = reader.read_var_u32().expect("a count");
    assert!(same.read_var_u32().expect("a count") > functions);
    for _ in 0..functions {
        let (old, new) = (reader.read_reader().expect("a body"), same.read_reader().expect("a body"));
        assert_eq!(old.range(), new.range(), "debug information points to these places");
    }
}

#[test]
fn modules_in_components_in_components_are_rewritten() {
    let text = r#"(component (component $inner
        (core module $code (memory 20) (func (export "run") (param i32) (result i32)
            (memory.fill (i32.const 0) (i32.const 7) (local.get 0)) (i32.load8_u (i32.const 1310719))))
        (core instance $live (instantiate $code))
        (func (export "run") (param "bytes" u32) (result u32) (canon lift (core func $live "run"))))
        (instance $inner (instantiate $inner)) (export "inner" (instance $inner)))"#;
    let wasm = wat::parse_str(text).expect("valid text");
    let rewritten = bounded(&wasm, Memories::AsTheyAre).expect("a component");
    assert!(matches!(rewritten, Cow::Owned(_)));
    let engine = Engine::default();
    let component = component::Component::new(&engine, &rewritten).unwrap_or_else(|error| panic!("{error:?}"));
    let mut store = Store::new(&engine, ());
    let instance = component::Linker::new(&engine).instantiate(&mut store, &component).expect("an instance");
    let inner = instance.get_export_index(&mut store, None, "inner").expect("an export");
    let run = instance.get_export_index(&mut store, Some(&inner), "run").expect("an export");
    let run = instance.get_typed_func::<(u32,), (u32,)>(&mut store, run).expect("a function");
    assert_eq!(run.call(&mut store, (20 << 16,)).expect("no trap"), (7,));
}

#[test]
fn components_nest_no_deeper_than_tools_make_them() {
    let nested = |depth: usize| {
        let mut wasm = b"\0asm\x0d\0\x01\0".to_vec();
        for _ in 0..depth {
            let mut outer = b"\0asm\x0d\0\x01\0".to_vec();
            append_section(&mut outer, COMPONENT, &wasm);
            wasm = outer;
        }
        wasm
    };
    assert!(bounded(&nested(MAX_NESTING), Memories::AsTheyAre).is_ok());
    assert!(matches!(bounded(&nested(MAX_NESTING + 1), Memories::AsTheyAre), Err(Error::Nesting)));
}

/// What the engine would copy at once when it instantiates is copied by a start function, in order.
#[test]
fn long_segments_at_places_that_are_not_known_are_copied_in_pieces() {
    let long = "b".repeat(300_000);
    let text = format!(
        r#"(module (import "a" "m" (memory 20)) (import "a" "at" (global $at i32))
            (data (i32.const 0) "{long}") (data (global.get $at) "later") (data (i32.const 400000) "{long}")
            (func $start (i32.store8 (i32.const 1) (i32.const 0x78))) (start $start))"#
    );
    let wasm = wat::parse_str(text).expect("valid text");
    let rewritten = bounded(&wasm, Memories::AsTheyAre).expect("a module");
    assert!(matches!(rewritten, Cow::Owned(_)));
    let engine = Engine::default();
    let memory = |wasm: &[u8]| {
        let mut store = Store::new(&engine, ());
        let mut linker = Linker::new(&engine);
        let exporting = r#"(module (memory (export "m") 20) (global (export "at") i32 (i32.const 3)))"#;
        let exporting = Module::new(&engine, wat::parse_str(exporting).expect("valid text")).expect("a module");
        let instance = linker.instantiate(&mut store, &exporting).expect("an instance");
        linker.instance(&mut store, "a", instance).expect("a name");
        let module = Module::new(&engine, wasm).unwrap_or_else(|error| panic!("{error:?}"));
        linker.instantiate(&mut store, &module).expect("an instance");
        instance.get_memory(&mut store, "m").expect("a memory").data(&store).to_vec()
    };
    let (old, new) = (memory(&wasm), memory(&rewritten));
    assert!(old == new && new.starts_with(b"bxblaterb") && new[400_000] == b'b', "{:?}", &new[..16]);
    // Known places in a memory of its own are mapped, and cost nothing.
    let known = format!(r#"(module (memory 20) (data (i32.const 0) "{long}"))"#);
    assert!(matches!(bounded(&wat::parse_str(known).expect("valid text"), Memories::AsTheyAre), Ok(Cow::Borrowed(_))));
    let sparse = format!(r#"(module (memory 1000) (data (i32.const 0) "{long}") (data (i32.const 60000000) "x"))"#);
    assert!(matches!(bounded(&wat::parse_str(sparse).expect("valid text"), Memories::AsTheyAre), Ok(Cow::Owned(_))));
}

/// By its maximum the limiter knows the heap of exceptions: no memory may have the same.
#[test]
fn no_memory_has_the_maximum_of_the_heap() {
    let maxima = |wasm: &[u8]| -> Vec<Option<u64>> {
        let sections = Parser::new(0).parse_all(wasm).filter_map(|payload| match payload.expect("valid") {
            wasmparser::Payload::MemorySection(section) => Some(section),
            _ => None,
        });
        sections.flatten().map(|memory| memory.expect("a memory").maximum).collect()
    };
    let text = r#"(module (memory 1) (memory 1 65536) (memory i64 1 65536) (memory i64 1 65537) (memory 1 2)
        (memory i64 1) (memory 65536) (tag (export "t")))"#;
    let most = Some((HEAP_MAXIMUM >> 16) - 1);
    let expected = [most, most, most, Some(65_537), Some(2), None, None];
    let wasm = wat::parse_str(text).expect("valid text");
    let rewritten = bounded(&wasm, Memories::BesideAHeap).expect("a module");
    assert_eq!(maxima(&rewritten), expected);
    wasmparser::Validator::new().validate_all(&rewritten).expect("valid");
    assert!(matches!(bounded(&wasm, Memories::AsTheyAre), Ok(Cow::Borrowed(_))));

    let component = format!(
        "(component (core module (memory 3) (func (memory.fill {}))) (core module {}",
        "(i32.const 0) (i32.const 0) (memory.size)",
        &text[8..]
    ) + ")";
    let component = wat::parse_str(component).expect("valid text");
    let rewritten = bounded(&component, Memories::BesideAHeap).expect("a component");
    assert_eq!(maxima(&rewritten), [&[most], &expected[..]].concat());
    wasmparser::Validator::new().validate_all(&rewritten).expect("valid");
}
