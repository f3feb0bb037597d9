//! What programs may do with exceptions.
//!
//! An exception is an object in a heap of a [fixed size](crate::engine::HEAP), which is a part of the cell's memory. Two
//! steps of the engine take longer the more there is. To throw is to walk down the stack, and at each call to compare the
//! clauses around it until one fits: how many that are is bounded here. To collect is to look at all that may refer to an
//! exception: the stack and the heap are bounded as they are, and tables, which may be large, must not.

use wasmparser::{
    AbstractHeapType, Catch, ElementItems, FunctionBody, HeapType, Operator, Parser, Payload, RefType, TypeRef,
};

use crate::programs::LoadError;

/// Clauses around one instruction, from the innermost to the first that catches everything, or to the function's end. What
/// compilers make of C++ has three. A throw through the deepest stack compares so many in two milliseconds.
const MAX_COMPARED: usize = 32;

/// All clauses around one instruction: the engine writes them down for each call. The largest program of C++ that was seen
/// has 128.
const MAX_CLAUSES: usize = 512;

/// Whether a valid program keeps to that. Takes time that is linear in its length.
///
/// # Errors
///
/// Where it does not.
pub(crate) fn check(wasm: &[u8]) -> Result<(), LoadError> {
    // It is valid, so that nothing fails to be read.
    for payload in Parser::new(0).parse_all(wasm).map_while(Result::ok) {
        match payload {
            Payload::ImportSection(section) => {
                for import in section.into_imports().flatten() {
                    if let TypeRef::Table(table) = import.ty {
                        check_table(table.element_type)?;
                    }
                }
            }
            Payload::TableSection(section) => {
                for table in section.into_iter().flatten() {
                    check_table(table.ty.element_type)?;
                }
            }
            Payload::ElementSection(section) => {
                for element in section.into_iter().flatten() {
                    if let ElementItems::Expressions(ty, _) = element.items {
                        check_table(ty)?;
                    }
                }
            }
            Payload::CodeSectionEntry(body) => check_clauses(&body)?,
            _ => {}
        }
    }
    Ok(())
}

fn check_table(ty: RefType) -> Result<(), LoadError> {
    match ty.heap_type() {
        HeapType::Abstract { ty: AbstractHeapType::Exn | AbstractHeapType::NoExn, .. } => Err(LoadError::TooComplex(
            "a table holds references to exceptions: expected them in variables and globals".to_owned(),
        )),
        _ => Ok(()),
    }
}

/// Clauses around an instruction.
#[derive(Clone, Copy, Default)]
struct Clauses {
    all: usize,
    compared: usize,
}

impl Clauses {
    fn within(self, catches: &[Catch]) -> Self {
        let catches_all = catches.iter().any(|catch| matches!(catch, Catch::All { .. } | Catch::AllRef { .. }));
        let outer = if catches_all { 0 } else { self.compared };
        Self { all: self.all + catches.len(), compared: outer + catches.len() }
    }
}

fn check_clauses(body: &FunctionBody<'_>) -> Result<(), LoadError> {
    // Around the next instruction, and around each block that is open.
    let (mut around, mut outer) = (Clauses::default(), Vec::new());
    let Ok(operators) = body.get_operators_reader() else { return Ok(()) };
    for operator in operators.into_iter().flatten() {
        match operator {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => outer.push(around),
            Operator::TryTable { try_table } => {
                outer.push(around);
                around = around.within(&try_table.catches);
            }
            // The last one is that of the function.
            Operator::End => around = outer.pop().unwrap_or_default(),
            _ => {}
        }
        for (found, most, which) in [
            (around.all, MAX_CLAUSES, "catch exceptions"),
            (around.compared, MAX_COMPARED, "catch exceptions by their tags"),
        ] {
            if found > most {
                return Err(LoadError::TooComplex(format!(
                    "more than {most} clauses that {which} are around one instruction"
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
