//! From code to a program: what it imports is found among what the node offers.

use wasmtime::{Module, component::Component};
use wasmtime_wasi::I32Exit;
use ww_core::Text;

use crate::{
    actor, core_module,
    engine::{Kind, MEMORIES_PER_CELL, Sandbox, TABLES_PER_PLACE},
    fault,
    guest::Guest,
    loader,
    program::{Code, Exports, Program},
    programs::{Key, LoadError},
    random, rewrite, streams, vectors,
};

/// Programs that are compiled in no time say what is missing when they are linked.
const LONG: usize = 64 << 10;

/// Sections of a module that its imports need: types and imports.
const IMPORTS_OF_MODULE: [u8; 2] = [1, 2];

/// Sections of a component that its imports need: core types, aliases, types and imports. Tools write them first.
const IMPORTS_OF_COMPONENT: [u8; 4] = [3, 6, 7, 10];

/// Compiled code, not yet linked.
pub(crate) enum Artifact {
    Component(Component),
    Module(Module),
}

/// Whether a long program imports nothing but what the node offers, before it is compiled. What cannot be told from its
/// first sections is found out when it is linked.
///
/// # Errors
///
/// Where something is missing.
pub(crate) fn check_imports(engine: &wasmtime::Engine, component: bool, wasm: &[u8]) -> Result<(), LoadError> {
    if wasm.len() < LONG {
        return Ok(());
    }
    let imports = imports_of(component, wasm);
    if component {
        let Ok(imports) = Component::new(engine, imports) else { return Ok(()) };
        component_linker(engine)?.instantiate_pre(&imports).map_err(import).map(drop)
    } else {
        let Ok(imports) = Module::new(engine, imports) else { return Ok(()) };
        module_linker(engine)?.instantiate_pre(&imports).map_err(import).map(drop)
    }
}

/// A program of the imports of another.
fn imports_of(component: bool, wasm: &[u8]) -> Vec<u8> {
    let mut imports = wasm[..rewrite::HEADER.min(wasm.len())].to_vec();
    for section in rewrite::Sections::of(wasm).into_iter().flatten().map_while(Result::ok) {
        if component {
            // Numbers that later sections refer to stay what they are.
            if section.id != rewrite::CUSTOM && !IMPORTS_OF_COMPONENT.contains(&section.id) {
                break;
            }
            imports.extend_from_slice(section.whole);
        } else if IMPORTS_OF_MODULE.contains(&section.id) {
            imports.extend_from_slice(section.whole);
        }
    }
    imports
}

impl Artifact {
    /// # Safety
    ///
    /// `code` must be what [`compile`](crate::compiler::compile) made of `wasm`.
    pub(crate) unsafe fn deserialize(sandbox: &Sandbox, wasm: &[u8], code: &[u8]) -> wasmtime::Result<Self> {
        // SAFETY: the caller's promise.
        Ok(unsafe {
            if wasmparser::Parser::is_component(wasm) {
                Self::Component(Component::deserialize(&sandbox.engine, code)?)
            } else {
                Self::Module(Module::deserialize(&sandbox.engine, code)?)
            }
        })
    }

    /// Of its code and its initial memory.
    fn bytes(&self) -> usize {
        let image = match self {
            Self::Component(component) => component.image_range(),
            Self::Module(module) => module.image_range(),
        };
        (image.end as usize).saturating_sub(image.start as usize)
    }

    /// Places in the pool that an instance takes.
    fn places(&self) -> u32 {
        let required = match self {
            Self::Component(component) => component.resources_required(),
            Self::Module(module) => Some(module.resources_required()),
        };
        // One that imports modules could have any number: nothing offers them.
        let places = required.map_or(MEMORIES_PER_CELL, |required| {
            required.num_memories.max(required.num_tables.div_ceil(TABLES_PER_PLACE))
        });
        places.max(1)
    }

    /// `wasm` is what it was compiled from.
    pub(crate) fn link(self, sandbox: &Sandbox, kind: Kind, key: Key, wasm: &[u8]) -> Result<Program, LoadError> {
        let (bytes, places) = (self.bytes(), self.places());
        let (exports, remedy, code) = match self {
            Self::Component(component) => {
                let (exports, entries) = Exports::of_component(&component);
                let pre = component_linker(&sandbox.engine)?.instantiate_pre(&component).map_err(import)?;
                (exports, None, Code::Component { pre, entries })
            }
            Self::Module(module) => {
                let exports = Exports::of_module(&module);
                let remedy = if exports.poll { core_module::remedy(wasm) } else { None };
                let pre = module_linker(&sandbox.engine)?.instantiate_pre(&module).map_err(import)?;
                (exports, remedy, Code::Module(pre))
            }
        };
        Ok(Program::new(key, exports, remedy, (bytes, places), (kind, code)))
    }
}

fn component_linker(engine: &wasmtime::Engine) -> Result<wasmtime::component::Linker<Guest>, LoadError> {
    let mut linker = wasmtime::component::Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(host)?;
    streams::add_to_linker(&mut linker).map_err(host)?;
    loader::add_to_linker(&mut linker).map_err(host)?;
    actor::add_to_linker(&mut linker).map_err(host)?;
    random::add_to_component_linker(&mut linker).map_err(host)?;
    vectors::add_to_component_linker(&mut linker).map_err(host)?;
    Ok(linker)
}

fn module_linker(engine: &wasmtime::Engine) -> Result<wasmtime::Linker<Guest>, LoadError> {
    let mut linker = wasmtime::Linker::new(engine);
    wasmtime_wasi::p1::add_to_linker_async(&mut linker, Guest::p1).map_err(host)?;
    // The library's own takes codes from 126 on for a trap; here every code is the program's to choose.
    linker.allow_shadowing(true);
    random::add_to_module_linker(&mut linker).map_err(host)?;
    vectors::add_to_module_linker(&mut linker).map_err(host)?;
    linker
        .func_wrap("wasi_snapshot_preview1", "proc_exit", |code: i32| Err::<(), _>(I32Exit(code).into()))
        .map_err(host)?;
    Ok(linker)
}

fn host(error: wasmtime::Error) -> LoadError {
    LoadError::Host(Text::new(format_args!("{error:#}")))
}

fn import(error: wasmtime::Error) -> LoadError {
    let text = Text::new(format_args!("{error:#}"));
    if fault::is_shortage(&error) { LoadError::Host(text) } else { LoadError::Import(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::Class,
        fixture::{runtime, wasm},
    };

    #[tokio::test]
    async fn an_instance_takes_a_place_for_each_memory_and_two_tables() {
        for (text, places) in [
            ("(module)", 1),
            ("(module (memory 1) (table 1 funcref))", 1),
            ("(module (memory 1) (memory 1) (memory 1))", 3),
            ("(module (table 1 funcref) (table 1 funcref) (table 1 funcref))", 2),
            (
                "(component (core module $m (memory 1)) (core instance (instantiate $m)) (core instance (instantiate $m)))",
                2,
            ),
        ] {
            let program = runtime().load(wasm(text), Class::Standard).await.expect("valid");
            assert_eq!(program.places(), places, "{text}");
        }
    }

    #[tokio::test]
    async fn what_the_pool_has_no_room_for_is_told() {
        for (of, most) in [("(memory 1)", 4), ("(table 1 funcref)", 8)] {
            let text = format!("(module {})", of.repeat(most + 1));
            match runtime().load(wasm(&text), Class::Standard).await {
                Err(LoadError::TooComplex(why)) => assert!(why.contains(&format!("limit of {most}")), "{why}"),
                other => panic!("{of}: expected a limit, found {other:?}"),
            }
        }
    }

    /// What is missing is told of a program whose only function is not even valid.
    #[test]
    fn what_is_missing_is_told_before_a_long_program_is_compiled() {
        let engine = wasmtime::Engine::default();
        let padding = " (nop)".repeat(LONG);
        let module = |import: &str| {
            format!(
                r#"(module (type (func)) (import "wasi_snapshot_preview1" "{import}" (func (param i32)))
                (func (result i32) {padding}))"#
            )
        };
        let component = |import: &str| {
            // An instance of nothing may be missing.
            let instance = r#"(export "get-environment" (func (result (list (tuple string string)))))"#;
            format!(
                r#"(component (import "{import}" (instance {instance})) (core module (func (result i32) {padding})))"#
            )
        };
        for (component, text, missing) in [
            (false, module("proc_exit"), None),
            (false, module("sock_listen"), Some("sock_listen")),
            (true, component("wasi:cli/environment@0.2.0"), None),
            (true, component("wasi:http/types@0.2.0"), Some("wasi:http/types@0.2.0")),
        ] {
            let wasm = wat::parse_str(&text).expect("text that parses");
            let found = check_imports(&engine, component, &wasm);
            match missing {
                None => assert!(found.is_ok(), "{found:?}"),
                Some(missing) => {
                    let Err(LoadError::Import(found)) = found else { panic!("{missing}: {found:?}") };
                    assert!(found.contains(missing), "{found}");
                }
            }
        }
    }
}
