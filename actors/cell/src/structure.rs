//! What a binary may be built like: checked before anything is compiled, without recursion.
//!
//! Components nest in components, and types in types, as deep as their author likes; a parser that calls itself for each
//! level would take the stack, and with it the process. What a component instantiates is written out by the compiler,
//! so that a few bytes on each of many levels stand for as many instances as there are atoms. All three have limits
//! here. How long the functions of a program take to compile is [bounded elsewhere](crate::compiler) where a process of
//! its own compiles; where this one does, [`Functions`] looks at what is known to take long.

use wasmparser::{
    BinaryReader, BinaryReaderError, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentType, ComponentTypeDeclaration, ComponentTypeRef, Encoding, FunctionBody, Instance, Operator, Parser,
    Payload,
};

use ww_core::Text;

use crate::programs::LoadError;

/// Components within components. Tools nest two or three deep: a component, a composition of some, adapters within.
const MAX_DEPTH: usize = 16;

/// Types of components and instances within such types. Interfaces nest two deep; the specification allows 100.
const MAX_TYPE_DEPTH: usize = 32;

/// Instances, of modules and components, that one instance of the program is made of. A component has some fifty, most
/// of which only gather imports; a composition has that for each of its parts.
const MAX_INSTANCES: u64 = 4_096;

/// Bytes of a function, where this process compiles. The largest of interpreters and of Go have some 200 KiB.
const MAX_FUNCTION: usize = 1 << 20;

/// Variables of a function times its loops, where this process compiles. Cranelift may need a value for each variable at
/// the head of each loop, and takes time that grows faster than their number: one to three seconds for 20,000, 40 s for
/// 100,000. The largest functions of the guests in this repository have 2,500.
const MAX_VALUES: u64 = 20_000;

/// The same for all functions of a program together, and for each so many of its bytes one more. The guests in this
/// repository have one for some 50 bytes.
const MAX_VALUES_OF_ALL: u64 = 50_000;
const BYTES_PER_VALUE: u64 = 8;

/// The bytes that begin a type within a type, and the two types that others are declared in.
const DECLARED_TYPE: u8 = 0x01;
const COMPONENT_TYPE: u8 = 0x41;
const INSTANCE_TYPE: u8 = 0x42;

/// Whether functions are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Functions {
    /// Their compilation is bounded in another way.
    Any,
    /// What is known to take long to compile is refused.
    Modest,
}

/// A component or module that is being read.
struct Level {
    encoding: Encoding,
    /// What one instance of each component that it knows is made of.
    components: Vec<u64>,
    /// What one instance of itself is made of.
    instances: u64,
}

/// Whether a module or component stays within the limits. Takes time that is linear in its length.
///
/// # Errors
///
/// Where it does not, with the limit, or where it cannot be read.
pub(crate) fn check(wasm: &[u8], functions: Functions) -> Result<(), LoadError> {
    // What is being read last, what it is within before it.
    let mut levels: Vec<Level> = Vec::new();
    let mut values = 0_u64;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(invalid)? {
            Payload::Version { encoding, .. } => {
                if levels.len() > MAX_DEPTH {
                    return Err(LoadError::TooComplex(format!("components are nested more than {MAX_DEPTH} deep")));
                }
                levels.push(Level { encoding, components: Vec::new(), instances: 0 });
            }
            Payload::End(_) => {
                if let Some(Level { encoding: Encoding::Component, instances, .. }) = levels.pop()
                    && let Some(around) = levels.last_mut()
                {
                    around.components.push(instances);
                }
            }
            Payload::ComponentTypeSection(section) => {
                let range = section.range();
                check_types(BinaryReader::new(wasm.get(range.clone()).unwrap_or_default(), range.start))?;
            }
            Payload::CodeSectionEntry(body) if functions == Functions::Modest => {
                values = values.saturating_add(check_function(&body)?);
                let most = MAX_VALUES_OF_ALL.saturating_add(wasm.len() as u64 / BYTES_PER_VALUE);
                if values > most {
                    return Err(LoadError::TooComplex(format!(
                        "its functions have too many variables and loops: {most} pairs may be compiled within the node"
                    )));
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    let alias = alias.map_err(invalid)?;
                    let known = aliased(&alias, &levels)?;
                    if let Some(level) = levels.last_mut() {
                        level.components.extend(known);
                    }
                }
            }
            payload => {
                if let Some(level) = levels.last_mut() {
                    level.read(payload)?;
                }
            }
        }
    }
    Ok(())
}

impl Level {
    fn read(&mut self, payload: Payload<'_>) -> Result<(), LoadError> {
        match payload {
            Payload::InstanceSection(section) => {
                for instance in section {
                    if let Instance::Instantiate { .. } = instance.map_err(invalid)? {
                        self.take(1)?;
                    }
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section {
                    if let ComponentInstance::Instantiate { component_index, .. } = instance.map_err(invalid)? {
                        self.take(self.component(component_index)?.saturating_add(1))?;
                    }
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section {
                    if let ComponentTypeRef::Component(_) = import.map_err(invalid)?.ty {
                        return Err(passed_on());
                    }
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    let export = export.map_err(invalid)?;
                    // What is exported has a number of its own from then on.
                    if export.kind == ComponentExternalKind::Component {
                        self.components.push(self.component(export.index)?);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn component(&self, index: u32) -> Result<u64, LoadError> {
        let known = usize::try_from(index).ok().and_then(|index| self.components.get(index)).copied();
        known.ok_or_else(|| LoadError::Invalid(Text::new(format_args!("unknown component {index}"))))
    }

    fn take(&mut self, instances: u64) -> Result<(), LoadError> {
        self.instances = self.instances.saturating_add(instances);
        if self.instances > MAX_INSTANCES {
            return Err(LoadError::TooComplex(format!("it consists of more than {MAX_INSTANCES} instances")));
        }
        Ok(())
    }
}

/// The component that an alias names, if it names one.
fn aliased(alias: &ComponentAlias<'_>, levels: &[Level]) -> Result<Option<u64>, LoadError> {
    match *alias {
        ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => Err(passed_on()),
        ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
            let around = usize::try_from(count).ok().and_then(|count| levels.iter().rev().nth(count));
            let around =
                around.ok_or_else(|| LoadError::Invalid(Text::new(format_args!("unknown outer component {count}"))))?;
            around.component(index).map(Some)
        }
        _ => Ok(None),
    }
}

/// Whether the types of a section are not nested too deep.
fn check_types(mut reader: BinaryReader<'_>) -> Result<(), LoadError> {
    // Types that have yet to be read: of the section, and of each type around the next one.
    let mut open = vec![reader.read_var_u32().map_err(invalid)?];
    while let Some(left) = open.last_mut() {
        if *left == 0 {
            open.pop();
            continue;
        }
        *left -= 1;
        if open.len() > 1 {
            // A declaration within a type, which is a type or something flat.
            if reader.clone().read_u8().map_err(invalid)? != DECLARED_TYPE {
                reader.read::<ComponentTypeDeclaration>().map_err(invalid)?;
                continue;
            }
            reader.read_u8().map_err(invalid)?;
        }
        match reader.clone().read_u8().map_err(invalid)? {
            COMPONENT_TYPE | INSTANCE_TYPE => {
                reader.read_u8().map_err(invalid)?;
                open.push(reader.read_var_u32().map_err(invalid)?);
                // The section is the first.
                if open.len() > MAX_TYPE_DEPTH + 1 {
                    let why = format!("types of components are nested more than {MAX_TYPE_DEPTH} deep");
                    return Err(LoadError::TooComplex(why));
                }
            }
            _ => drop(reader.read::<ComponentType>().map_err(invalid)?),
        }
    }
    Ok(())
}

/// Whether a function is not known to take long to compile, and its variables times its loops.
fn check_function(body: &FunctionBody<'_>) -> Result<u64, LoadError> {
    let size = body.range().len();
    if size > MAX_FUNCTION {
        let why = format!("a function has {size} bytes: at most {MAX_FUNCTION} are compiled within the node");
        return Err(LoadError::TooComplex(why));
    }
    let (mut variables, mut loops) = (0, 0_u64);
    for operator in body.get_operators_reader().map_err(invalid)? {
        match operator.map_err(invalid)? {
            Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                variables = variables.max(u64::from(local_index) + 1);
            }
            Operator::Loop { .. } => loops += 1,
            _ => {}
        }
    }
    let values = variables.saturating_mul(loops);
    if values > MAX_VALUES {
        return Err(LoadError::TooComplex(format!(
            "a function has {variables} variables and {loops} loops: their product may be {MAX_VALUES} where the program \
             is compiled within the node"
        )));
    }
    Ok(values)
}

fn passed_on() -> LoadError {
    LoadError::TooComplex(
        "it imports a component, or takes one from an instance: expected components of its own".into(),
    )
}

fn invalid(error: BinaryReaderError) -> LoadError {
    LoadError::Invalid(Text::new(error))
}

#[cfg(test)]
mod tests;
