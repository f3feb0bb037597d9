//! Which proposals to the specification a program uses, and what becomes of it.
//!
//! A program may use what the engine has on by default, which is what its maintainers test, and mend when it is found to
//! be unsafe. Of that, garbage collection and shared memories are left out: nothing in the engine bounds how long one
//! instruction on an array takes, or what threads of one cell would use. [Exceptions](crate::exceptions) have an engine
//! of their own. A program that uses anything else is valid for somebody, and is told what it uses that is not run here.
//! `docs/programs.md` has the list.

use wasmparser::{MemoryType, Parser, Payload, TypeRef, Validator, WasmFeatures};

use crate::{
    engine::{Class, Kind},
    exceptions,
    programs::LoadError,
};

/// What the engines of the classes take.
const PLAIN: WasmFeatures = WasmFeatures::WASM3
    .union(WasmFeatures::COMPONENT_MODEL)
    .difference(WasmFeatures::GC_TYPES)
    .difference(WasmFeatures::EXCEPTIONS);

/// What the engine for exceptions is used for. It takes references to what else may be in its heap as well: they are no
/// part of what is run.
const WITH_EXCEPTIONS: WasmFeatures = PLAIN.union(WasmFeatures::EXCEPTIONS);

/// What a program with the older form of exceptions can do about it.
const LEGACY_EXCEPTIONS: &str = "legacy-exceptions";

/// The engine that a program needs.
///
/// What is not valid for anybody is for the engine to refuse, with its own words. So is everything else that is not run
/// where the node's engines are `customised`, and may take more or less.
///
/// # Errors
///
/// Where it is valid, and uses what no engine here takes.
pub(crate) fn engine_for(wasm: &[u8], class: Class, customised: bool) -> Result<Kind, LoadError> {
    if is_valid(wasm, PLAIN) {
        return refuse_shared_memories(wasm).map(|()| Kind::of(class));
    }
    if is_valid(wasm, WITH_EXCEPTIONS) {
        refuse_shared_memories(wasm)?;
        return exceptions::check(wasm).map(|()| Kind::Exceptions);
    }
    let used = if customised { Vec::new() } else { used_besides(wasm, WITH_EXCEPTIONS) };
    if used.is_empty() { Ok(Kind::of(class)) } else { Err(unsupported(&used)) }
}

fn is_valid(wasm: &[u8], features: WasmFeatures) -> bool {
    Validator::new_with_features(features).validate_all(wasm).is_ok()
}

/// The proposals without which a program is not valid, besides those that are taken; none where nothing makes it valid.
fn used_besides(wasm: &[u8], taken: WasmFeatures) -> Vec<String> {
    let all = WasmFeatures::all();
    if !is_valid(wasm, all) {
        return Vec::new();
    }
    let others = all.difference(taken);
    others.iter_names().filter(|(_, one)| !is_valid(wasm, all.difference(*one))).map(|(flag, _)| name(flag)).collect()
}

/// A proposal as its repository is called.
fn name(flag: &str) -> String {
    match flag {
        "GC_TYPES" => "gc".to_owned(),
        flag => flag.to_lowercase().replace('_', "-").replace("cm-", "component-model-"),
    }
}

fn unsupported(used: &[String]) -> LoadError {
    let mut names: Vec<_> = used.iter().map(|name| format!("`{name}`")).collect();
    names.dedup();
    let hint = if used.iter().any(|name| name == LEGACY_EXCEPTIONS) {
        " (compilers make the newer form of exceptions with -mllvm -wasm-use-legacy-eh=false)"
    } else {
        ""
    };
    LoadError::Unsupported(format!("{}{hint}", names.join(", ")))
}

/// Instructions for threads are harmless where no memory is shared, and some compilers use them there.
fn refuse_shared_memories(wasm: &[u8]) -> Result<(), LoadError> {
    let is_shared = |memory: MemoryType| memory.shared;
    for payload in Parser::new(0).parse_all(wasm).map_while(Result::ok) {
        let shared = match payload {
            Payload::MemorySection(section) => section.into_iter().flatten().any(is_shared),
            Payload::ImportSection(section) => section
                .into_imports()
                .flatten()
                .any(|import| matches!(import.ty, TypeRef::Memory(memory) if is_shared(memory))),
            _ => false,
        };
        if shared {
            return Err(LoadError::Unsupported("`threads` (a shared memory)".to_owned()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine, fixture::wasm};

    fn engine_for(text: &str) -> Result<Kind, LoadError> {
        super::engine_for(&wasm(text), Class::Standard, false)
    }

    #[test]
    fn a_program_has_the_engine_that_takes_what_it_uses() {
        for (text, kind) in [
            ("(module)", Kind::Standard),
            ("(module (memory 1) (memory 1))", Kind::Standard),
            ("(module (memory i64 1) (table i64 1 funcref))", Kind::Standard),
            ("(module (func $f (return_call $f)))", Kind::Standard),
            ("(module (func (param v128) (result v128) (i32x4.relaxed_trunc_f32x4_s (local.get 0))))", Kind::Standard),
            ("(module (memory 1) (func (result i32) (i32.atomic.load (i32.const 0))))", Kind::Standard),
            ("(module (type $f (func)) (func (param (ref $f)) (call_ref $f (local.get 0))))", Kind::Standard),
            ("(module (global i32 (i32.add (i32.const 1) (i32.const 2))))", Kind::Standard),
            ("(module (tag $t) (func (throw $t)))", Kind::Exceptions),
            ("(module (func (block $b (try_table (catch_all $b)))))", Kind::Exceptions),
            ("(component (core module (tag $t (param i32))))", Kind::Exceptions),
        ] {
            assert_eq!(engine_for(text).ok(), Some(kind), "{text}");
            let (engine, wasm) = (engine::for_compiling(kind, false, None).expect("an engine"), wasm(text));
            let component = Parser::is_component(&wasm);
            let code = if component { engine.precompile_component(&wasm) } else { engine.precompile_module(&wasm) };
            assert!(code.is_ok(), "{text}: {code:?}");
        }
    }

    #[test]
    fn what_is_valid_elsewhere_is_told_by_its_name() {
        for (text, named) in [
            ("(module (type (struct)))", "`gc`"),
            ("(module (type $a (array i8)) (func (drop (array.new_default $a (i32.const 9)))))", "`gc`"),
            ("(module (table 1 externref))", "`gc`"),
            ("(module (memory 1 1 shared))", "`threads` (a shared memory)"),
            (r#"(module (tag) (import "env" "memory" (memory 1 1 shared)))"#, "`threads` (a shared memory)"),
            ("(component (core module (memory 1 1 shared)))", "`threads` (a shared memory)"),
            ("(module (memory 1 (pagesize 1)))", "`custom-page-sizes`"),
            ("(module (func (i64.mul_wide_u (i64.const 1) (i64.const 2)) drop drop))", "`wide-arithmetic`"),
            ("(module (type $f (func)) (type (cont $f)))", "`stack-switching`"),
            ("(module (tag $t) (func try throw $t catch_all end))", "-wasm-use-legacy-eh=false"),
            ("(component (type (stream u8)))", "`component-model-async`"),
        ] {
            match engine_for(text) {
                Err(LoadError::Unsupported(names)) => assert!(names.contains(named), "{text}: {names}"),
                other => panic!("{text}: expected a name, found {other:?}"),
            }
        }
    }

    #[test]
    fn what_customised_engines_take_is_for_them_to_say() {
        let wide = wasm("(module (func (i64.mul_wide_u (i64.const 1) (i64.const 2)) drop drop))");
        assert_eq!(super::engine_for(&wide, Class::Standard, true).ok(), Some(Kind::Standard));
    }

    #[test]
    fn what_is_valid_nowhere_is_for_the_engine_to_refuse() {
        assert_eq!(engine_for("(module (func (result i32) (i64.const 0)))").ok(), Some(Kind::Standard));
        let cut = &wasm("(module (tag $t) (func (throw $t)))")[..20];
        let kind = super::engine_for(cut, Class::Small, false);
        assert_eq!(kind.ok(), Some(Kind::Small));
    }
}
