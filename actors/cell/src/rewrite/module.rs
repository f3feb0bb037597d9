//! What changes in one module: instructions become calls, and the functions that are called are appended.
//!
//! Active data segments are such instructions as well, which the engine executes when it instantiates. It maps
//! them instead where it knows all places beforehand. Where it does not, and one is long, they become passive, and
//! a start function does what the engine would have done.

use std::{collections::BTreeMap, ops::Range};

use wasm_encoder::{self as encoder, Encode, Function, TypeSection, ValType};
use wasmparser::{
    BinaryReader, Data, DataKind, DataSectionReader, FunctionBody, ImportSectionReader, MemorySectionReader,
    MemoryType, Operator, TypeRef, TypeSectionReader,
};

use super::{
    CUSTOM, Error, HEADER, HEAP_MAXIMUM, Memories, PIECE, Section, Sections, append_number, append_section, length,
    loops::{Bulk, Memory},
    to_usize,
};

/// Sections by their number.
mod id {
    pub(super) const TYPE: u8 = 1;
    pub(super) const IMPORT: u8 = 2;
    pub(super) const FUNCTION: u8 = 3;
    pub(super) const MEMORY: u8 = 5;
    pub(super) const START: u8 = 8;
    pub(super) const CODE: u8 = 10;
    pub(super) const DATA: u8 = 11;
    pub(super) const DATA_COUNT: u8 = 12;
}

/// The order of sections in a module, which is not that of their numbers: 13 are tags.
const ORDER: [u8; 13] = [1, 2, 3, 4, 5, 13, 6, 7, 8, 9, 12, 10, 11];

/// Most bytes that a number of 32 bits takes.
const MAX_NUMBER: usize = 5;

/// The instruction `call`, and the one that does nothing.
const CALL: u8 = 0x10;
const NOP: u8 = 0x01;

/// Engines map what is no larger than this whatever is in it, and else what is at least half full:
/// `memory_guaranteed_dense_image_size` of the engine's settings.
const DENSE_IMAGE: u64 = 16 << 20;

/// The size of a page where a memory does not say another.
const PAGE_LOG2: u32 = 16;

/// What of a module matters here.
#[derive(Default)]
struct Module<'a> {
    sections: Vec<Section<'a>>,
    types: u32,
    functions: u32,
    memories: Vec<MemoryType>,
    imported_memories: usize,
    data: Vec<Data<'a>>,
    start: Option<u32>,
}

/// The functions to append, by what they stand for.
struct Appended {
    /// The index of the first.
    first: u32,
    functions: Vec<(Vec<ValType>, Function)>,
    known: BTreeMap<(u8, u32, u32), u32>,
}

/// A function of the module in which something changes, by places in the code section.
struct Body {
    /// With its length.
    entry: Range<usize>,
    /// Where it begins, after its length.
    start: usize,
    /// The instructions that change, and the functions that are called instead.
    calls: Vec<(Range<usize>, u32)>,
}

/// The module with bounded steps; `None` where it has none to bound.
pub(super) fn rewrite(wasm: &[u8], memories: Memories) -> Result<Option<Vec<u8>>, Error> {
    let module = Module::read(wasm)?;
    let mut appended = Appended { first: module.functions, functions: Vec::new(), known: BTreeMap::new() };
    let bodies = module.bodies(&mut appended)?;
    let mut new = BTreeMap::new();
    if memories == Memories::BesideAHeap
        && let Some(content) = module.memories_beside_a_heap()
    {
        new.insert(id::MEMORY, content);
    }
    if module.is_filled_by_long_steps() {
        let start = module.start_function(&mut appended);
        new.insert(id::START, encoded(appended.append(Vec::new(), start)));
        new.insert(id::DATA_COUNT, encoded(count(&module.data)));
        new.insert(id::DATA, module.passive_data());
    }
    if !appended.functions.is_empty() {
        new.insert(id::TYPE, extended(module.content(id::TYPE), &appended.types())?);
        new.insert(id::FUNCTION, extended(module.content(id::FUNCTION), &appended.type_indices(module.types))?);
        let code = with_calls(module.content(id::CODE), &bodies)?;
        new.insert(id::CODE, extended(&code, &appended.code())?);
    }
    Ok((!new.is_empty()).then(|| module.with(&wasm[..HEADER], new)))
}

impl<'a> Module<'a> {
    fn read(wasm: &'a [u8]) -> Result<Self, Error> {
        let mut module = Self::default();
        for section in Sections::of(wasm)? {
            let section = section?;
            module.sections.push(section);
            let reader = BinaryReader::new(section.content, 0);
            match section.id {
                id::TYPE => {
                    for group in TypeSectionReader::new(reader)? {
                        let types = u32::try_from(group?.types().len()).unwrap_or(u32::MAX);
                        module.types = module.types.saturating_add(types);
                    }
                }
                id::IMPORT => {
                    for import in ImportSectionReader::new(reader)?.into_imports() {
                        match import?.ty {
                            TypeRef::Func(_) | TypeRef::FuncExact(_) => {
                                module.functions = module.functions.saturating_add(1);
                            }
                            TypeRef::Memory(memory) => module.memories.push(memory),
                            _ => {}
                        }
                    }
                    module.imported_memories = module.memories.len();
                }
                id::FUNCTION => {
                    let defined = BinaryReader::new(section.content, 0).read_var_u32()?;
                    module.functions = module.functions.saturating_add(defined);
                }
                id::MEMORY => {
                    for memory in MemorySectionReader::new(reader)? {
                        module.memories.push(memory?);
                    }
                }
                id::START => module.start = Some(BinaryReader::new(section.content, 0).read_var_u32()?),
                id::DATA => module.data = DataSectionReader::new(reader)?.into_iter().collect::<Result<_, _>>()?,
                _ => {}
            }
        }
        Ok(module)
    }

    /// What is in a section; an empty one where there is none.
    fn content(&self, id: u8) -> &'a [u8] {
        self.sections.iter().find(|section| section.id == id).map_or(&[0], |section| section.content)
    }

    fn memory(&self, index: u32) -> Option<Memory> {
        let memory = self.memories.get(to_usize(index))?;
        let page_size_log2 = memory.page_size_log2.unwrap_or(PAGE_LOG2);
        Some(Memory { index, wide: memory.memory64, page_size_log2 })
    }

    /// The memory section, where a maximum has to change: to one page less. A memory that starts beyond that stays, for
    /// the engine to refuse.
    fn memories_beside_a_heap(&self) -> Option<Vec<u8>> {
        let own = self.memories.get(self.imported_memories..)?;
        let (all, most) = (HEAP_MAXIMUM >> PAGE_LOG2, (HEAP_MAXIMUM >> PAGE_LOG2) - 1);
        let (mut section, mut changed) = (encoded(count(own)), false);
        for memory in own {
            let implied = (!memory.memory64).then_some(all);
            let mut maximum = memory.maximum;
            if memory.maximum.or(implied) == Some(all) && memory.initial <= most && memory.page_size_log2.is_none() {
                (maximum, changed) = (Some(most), true);
            }
            let &MemoryType { initial: minimum, memory64, shared, page_size_log2, .. } = memory;
            encoder::MemoryType { minimum, maximum, memory64, shared, page_size_log2 }.encode(&mut section);
        }
        changed.then_some(section)
    }

    /// The functions with instructions whose length nothing bounds.
    fn bodies(&self, appended: &mut Appended) -> Result<Vec<Body>, Error> {
        let mut bodies = Vec::new();
        let mut reader = BinaryReader::new(self.content(id::CODE), 0);
        for _ in 0..reader.read_var_u32()? {
            let entry = reader.current_position();
            let size = reader.read_var_u32()?;
            let start = reader.current_position();
            let body = FunctionBody::new(BinaryReader::new(reader.read_bytes(to_usize(size))?, start));
            let mut calls = Vec::new();
            let (mut operators, mut constant) = (body.get_operators_reader()?, None);
            while !operators.eof() {
                let at = operators.original_position();
                let operator = operators.read()?;
                // The length is the last operand: a constant right before is it.
                if let Some(bulk) = self.bulk(&operator)
                    && constant.is_none_or(|length| length > PIECE)
                {
                    calls.push((at..operators.original_position(), appended.stand_in(bulk)));
                }
                constant = match operator {
                    Operator::I32Const { value } => Some(u64::from(value.cast_unsigned())),
                    Operator::I64Const { value } => Some(value.cast_unsigned()),
                    _ => None,
                };
            }
            if !calls.is_empty() {
                bodies.push(Body { entry: entry..reader.current_position(), start, calls });
            }
        }
        Ok(bodies)
    }

    /// What is not valid is none: it stays as it is, for the engine to refuse.
    fn bulk(&self, operator: &Operator<'_>) -> Option<Bulk> {
        match *operator {
            Operator::MemoryFill { mem } => self.memory(mem).map(Bulk::Fill),
            Operator::MemoryCopy { dst_mem, src_mem } => {
                Some(Bulk::Copy { to: self.memory(dst_mem)?, from: self.memory(src_mem)? })
            }
            Operator::MemoryInit { data_index, mem } => {
                let data = self.data.get(to_usize(data_index))?;
                is_long(data).then(|| self.memory(mem)).flatten().map(|to| Bulk::Init { to, segment: data_index })
            }
            _ => None,
        }
    }

    /// Whether the engine executes a long active segment when it instantiates, rather than to map all of them.
    fn is_filled_by_long_steps(&self) -> bool {
        let is_active = |data: &&Data<'_>| matches!(data.kind, DataKind::Active { .. });
        self.data.iter().filter(is_active).any(is_long) && !self.is_mapped().unwrap_or(false)
    }

    /// Whether all active segments have places that the engine knows when it compiles, and are dense enough to be
    /// mapped: the rules of its `try_static_init`. `None` where one has not.
    fn is_mapped(&self) -> Option<bool> {
        // First place, end, and bytes in between.
        let mut images: BTreeMap<u32, (u64, u64, u64)> = BTreeMap::new();
        for data in &self.data {
            let DataKind::Active { memory_index, offset_expr } = &data.kind else { continue };
            let memory = self.memories.get(to_usize(*memory_index)).filter(|memory| {
                to_usize(*memory_index) >= self.imported_memories && memory.page_size_log2.is_none()
            })?;
            let mut operators = offset_expr.get_operators_reader();
            let start = match (operators.read().ok()?, memory.memory64) {
                (Operator::I32Const { value }, false) => u64::from(value.cast_unsigned()),
                (Operator::I64Const { value }, true) => value.cast_unsigned(),
                _ => return None,
            };
            if !matches!(operators.read(), Ok(Operator::End)) {
                return None;
            }
            let bytes = u64::from(length(data.data));
            let end = start.checked_add(bytes)?;
            if end > memory.initial.checked_shl(PAGE_LOG2)? {
                return None;
            }
            if bytes > 0 {
                let image = images.entry(*memory_index).or_insert((u64::MAX, 0, 0));
                *image = (image.0.min(start), image.1.max(end), image.2 + bytes);
            }
        }
        let is_dense = |(start, end, bytes): &(u64, u64, u64)| end - start < DENSE_IMAGE.max(bytes.saturating_mul(2));
        Some(images.values().all(is_dense))
    }

    /// Does what the engine does with active segments, and what the module did at its start.
    fn start_function(&self, appended: &mut Appended) -> Function {
        let mut function = Function::new([]);
        for (segment, data) in (0..).zip(&self.data) {
            let DataKind::Active { memory_index, offset_expr } = &data.kind else { continue };
            let mut reader = offset_expr.get_binary_reader();
            let expression = reader.read_bytes(reader.bytes_remaining()).unwrap_or_default();
            // Without its end.
            function.raw(expression.split_last().map_or(&[][..], |(_, expression)| expression).iter().copied());
            let mut code = function.instructions();
            code.i32_const(0).i32_const(length(data.data).cast_signed());
            match self.memory(*memory_index).filter(|_| is_long(data)) {
                Some(to) => code.call(appended.stand_in(Bulk::Init { to, segment })),
                None => code.memory_init(*memory_index, segment),
            };
            code.data_drop(segment);
        }
        let mut code = function.instructions();
        if let Some(start) = self.start {
            code.call(start);
        }
        code.end();
        function
    }

    /// The data section with every segment passive.
    fn passive_data(&self) -> Vec<u8> {
        let mut section = encoded(count(&self.data));
        for data in &self.data {
            section.push(1);
            data.data.encode(&mut section);
        }
        section
    }

    /// The module with other sections in place of its own, or between them.
    fn with(&self, header: &[u8], new: BTreeMap<u8, Vec<u8>>) -> Vec<u8> {
        let place = |id: u8| ORDER.iter().position(|other| *other == id);
        let mut new: BTreeMap<_, _> = new.into_iter().map(|(id, content)| (place(id), (id, content))).collect();
        let mut module = header.to_vec();
        for section in &self.sections {
            let here = place(section.id);
            if section.id == CUSTOM || here.is_none() {
                module.extend_from_slice(section.whole);
                continue;
            }
            while let Some(before) = new.first_entry().filter(|entry| *entry.key() < here) {
                let (id, content) = before.remove();
                append_section(&mut module, id, &content);
            }
            match new.remove(&here) {
                Some((id, content)) => append_section(&mut module, id, &content),
                None => module.extend_from_slice(section.whole),
            }
        }
        for (id, content) in new.into_values() {
            append_section(&mut module, id, &content);
        }
        module
    }
}

impl Appended {
    /// The function that stands for an instruction.
    fn stand_in(&mut self, bulk: Bulk) -> u32 {
        let key = match bulk {
            Bulk::Fill(memory) => (0, memory.index, 0),
            Bulk::Copy { to, from } => (1, to.index, from.index),
            Bulk::Init { to, segment } => (2, to.index, segment),
        };
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let index = self.append(bulk.parameters().to_vec(), bulk.function());
        self.known.insert(key, index);
        index
    }

    fn append(&mut self, parameters: Vec<ValType>, function: Function) -> u32 {
        let index = self.first.saturating_add(count(&self.functions));
        self.functions.push((parameters, function));
        index
    }

    /// Their types, as items of a section.
    fn types(&self) -> Vec<Vec<u8>> {
        let encoded = |(parameters, _): &(Vec<ValType>, Function)| {
            let mut types = TypeSection::new();
            types.ty().function(parameters.iter().copied(), []);
            let mut section = Vec::new();
            types.encode(&mut section);
            // Without the length of the section, and the number of its items: a byte each.
            section.split_off(2)
        };
        self.functions.iter().map(encoded).collect()
    }

    fn type_indices(&self, first: u32) -> Vec<Vec<u8>> {
        (first..).take(self.functions.len()).map(encoded).collect()
    }

    fn code(&self) -> Vec<Vec<u8>> {
        let encoded = |(_, function): &(Vec<ValType>, Function)| {
            let mut entry = Vec::new();
            function.encode(&mut entry);
            entry
        };
        self.functions.iter().map(encoded).collect()
    }
}

/// A section of counted items, with more of them. The count takes as many bytes as before where they suffice.
fn extended(content: &[u8], items: &[Vec<u8>]) -> Result<Vec<u8>, Error> {
    let mut reader = BinaryReader::new(content, 0);
    let total = reader.read_var_u32()?.saturating_add(count(items));
    let counted = reader.current_position();
    let mut section = Vec::with_capacity(content.len() + items.iter().map(Vec::len).sum::<usize>());
    append_number(&mut section, total, counted);
    section.extend_from_slice(&content[counted..]);
    section.extend(items.iter().flatten());
    Ok(section)
}

/// The code section with calls in place of instructions.
fn with_calls(code: &[u8], bodies: &[Body]) -> Result<Vec<u8>, Error> {
    let mut section = Vec::with_capacity(code.len());
    let mut copied = 0;
    for Body { entry, start, calls } in bodies {
        section.extend_from_slice(&code[copied..entry.start]);
        copied = entry.end;
        let (mut body, mut next) = (Vec::with_capacity(entry.end - start), *start);
        for (instruction, function) in calls {
            body.extend_from_slice(&code[next..instruction.start]);
            let room = instruction.len();
            body.push(CALL);
            append_number(&mut body, *function, MAX_NUMBER.min(room - 1));
            body.extend(std::iter::repeat_n(NOP, room.saturating_sub(1 + MAX_NUMBER)));
            next = instruction.end;
        }
        body.extend_from_slice(&code[next..entry.end]);
        append_number(&mut section, length(&body), start - entry.start);
        section.extend_from_slice(&body);
    }
    section.extend_from_slice(&code[copied..]);
    Ok(section)
}

fn is_long(data: &Data<'_>) -> bool {
    u64::from(length(data.data)) > PIECE
}

fn encoded(number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    append_number(&mut bytes, number, 1);
    bytes
}

/// More than 32 bits can count are no module: the engine refuses it.
fn count<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}
