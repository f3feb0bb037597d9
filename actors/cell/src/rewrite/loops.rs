//! The functions that do in pieces what one instruction does in one step.
//!
//! Each has the parameters of its instruction. Addresses are computed in 64 bits, whatever the memory has: a sum
//! of two 32-bit numbers does not wrap there, and one of 64 bits is compared before it is made.

use wasm_encoder::{BlockType, Function, InstructionSink, ValType};

use super::PIECE;

/// A memory of a module, as far as this needs to know it.
#[derive(Clone, Copy)]
pub(super) struct Memory {
    pub(super) index: u32,
    /// Whether its addresses have 64 bits.
    pub(super) wide: bool,
    pub(super) page_size_log2: u32,
}

/// An instruction whose length the guest chooses.
#[derive(Clone, Copy)]
pub(super) enum Bulk {
    Fill(Memory),
    Copy { to: Memory, from: Memory },
    Init { to: Memory, segment: u32 },
}

/// Locals, after the three parameters: where to, how many, and where from.
const TO: u32 = 3;
const LENGTH: u32 = 4;
const FROM: u32 = 5;

/// The constant as the instruction set has it.
const PIECE_CONST: i64 = PIECE.cast_signed();

impl Memory {
    fn address(self) -> ValType {
        if self.wide { ValType::I64 } else { ValType::I32 }
    }
}

impl Bulk {
    /// The parameters of the instruction, and of its function.
    pub(super) fn parameters(self) -> [ValType; 3] {
        match self {
            Self::Fill(memory) => [memory.address(), ValType::I32, memory.address()],
            Self::Copy { to, from } => [to.address(), from.address(), self.length()],
            Self::Init { to, .. } => [to.address(), ValType::I32, ValType::I32],
        }
    }

    /// The type of its length.
    fn length(self) -> ValType {
        match self {
            Self::Fill(memory) => memory.address(),
            Self::Copy { to, from } if to.wide && from.wide => ValType::I64,
            Self::Copy { .. } | Self::Init { .. } => ValType::I32,
        }
    }

    fn to(self) -> Memory {
        match self {
            Self::Fill(memory) => memory,
            Self::Copy { to, .. } | Self::Init { to, .. } => to,
        }
    }

    /// The type of its second operand, where that is an address.
    fn from(self) -> Option<ValType> {
        match self {
            Self::Fill(_) => None,
            Self::Copy { from, .. } => Some(from.address()),
            Self::Init { .. } => Some(ValType::I32),
        }
    }

    /// The function that stands for it.
    pub(super) fn function(self) -> Function {
        let mut function = Function::new([(3, ValType::I64)]);
        let code = &mut function.instructions();
        widened(code, 0, self.to().address(), TO);
        widened(code, 2, self.length(), LENGTH);
        if let Some(from) = self.from() {
            widened(code, 1, from, FROM);
        }
        code.block(BlockType::Empty).block(BlockType::Empty);
        more_than_a_piece(code).i32_eqz().br_if(0);
        self.check_bounds(code);
        code.br(1).end();
        // It is short, or out of bounds: then it traps, before it writes.
        code.local_get(0).local_get(1).local_get(2);
        self.instruction(code);
        code.return_().end();
        if let Self::Copy { to, from } = self
            && to.index == from.index
        {
            // What lies behind must be read before it is written: from the end.
            code.local_get(TO).local_get(FROM).i64_gt_u().if_(BlockType::Empty);
            self.backwards(code);
            code.return_().end();
        }
        self.forwards(code);
        code.end();
        function
    }

    /// Leaves the block that it is in where something is out of bounds.
    fn check_bounds(self, code: &mut InstructionSink<'_>) {
        outside(code, TO, self.to()).br_if(0);
        match self {
            Self::Fill(_) => {}
            Self::Copy { from, .. } => {
                outside(code, FROM, from).br_if(0);
            }
            Self::Init { to, .. } => {
                code.local_get(FROM).local_get(LENGTH).i64_add();
                code.i64_const(i64::from(u32::MAX)).i64_gt_u().br_if(0);
                // Nobody but the engine knows whether the segment was dropped: nothing of its end is copied, which
                // traps where there is no such place.
                number(code, 0, to.address());
                code.local_get(FROM).local_get(LENGTH).i64_add().i32_wrap_i64();
                code.i32_const(0);
                self.instruction(code);
            }
        }
    }

    fn forwards(self, code: &mut InstructionSink<'_>) {
        code.loop_(BlockType::Empty);
        self.operands(code, |code, local| {
            code.local_get(local);
        });
        number(code, PIECE_CONST, self.length());
        self.instruction(code);
        for local in std::iter::once(TO).chain(self.from().map(|_| FROM)) {
            code.local_get(local).i64_const(PIECE_CONST).i64_add().local_set(local);
        }
        next_piece(code);
        self.rest(code);
    }

    fn backwards(self, code: &mut InstructionSink<'_>) {
        code.loop_(BlockType::Empty);
        self.operands(code, |code, local| {
            code.local_get(local).local_get(LENGTH).i64_add().i64_const(PIECE_CONST).i64_sub();
        });
        number(code, PIECE_CONST, self.length());
        self.instruction(code);
        next_piece(code);
        self.rest(code);
    }

    /// The last piece, or the first one.
    fn rest(self, code: &mut InstructionSink<'_>) {
        self.operands(code, |code, local| {
            code.local_get(local);
        });
        code.local_get(LENGTH);
        narrowed(code, self.length());
        self.instruction(code);
    }

    /// The first two operands, with addresses that `address` puts there.
    fn operands(self, code: &mut InstructionSink<'_>, address: impl Fn(&mut InstructionSink<'_>, u32)) {
        address(code, TO);
        narrowed(code, self.to().address());
        match self.from() {
            None => {
                code.local_get(1);
            }
            Some(from) => {
                address(code, FROM);
                narrowed(code, from);
            }
        }
    }

    fn instruction(self, code: &mut InstructionSink<'_>) {
        match self {
            Self::Fill(memory) => code.memory_fill(memory.index),
            Self::Copy { to, from } => code.memory_copy(to.index, from.index),
            Self::Init { to, segment } => code.memory_init(to.index, segment),
        };
    }
}

/// One piece less. Goes back to the loop where more than one is left, else ends it.
fn next_piece(code: &mut InstructionSink<'_>) {
    code.local_get(LENGTH).i64_const(PIECE_CONST).i64_sub().local_set(LENGTH);
    more_than_a_piece(code).br_if(0).end();
}

fn more_than_a_piece<'a, 'b>(code: &'a mut InstructionSink<'b>) -> &'a mut InstructionSink<'b> {
    code.local_get(LENGTH).i64_const(PIECE_CONST).i64_gt_u()
}

/// Whether the length from `start` on leads out of a memory: `length > size || start > size - length`.
fn outside<'a, 'b>(code: &'a mut InstructionSink<'b>, start: u32, memory: Memory) -> &'a mut InstructionSink<'b> {
    code.local_get(LENGTH);
    size(code, memory);
    code.i64_gt_u().local_get(start);
    size(code, memory);
    code.local_get(LENGTH).i64_sub().i64_gt_u().i32_or()
}

/// Bytes of a memory.
fn size(code: &mut InstructionSink<'_>, memory: Memory) {
    code.memory_size(memory.index);
    if !memory.wide {
        code.i64_extend_i32_u();
    }
    code.i64_const(i64::from(memory.page_size_log2)).i64_shl();
}

fn widened(code: &mut InstructionSink<'_>, parameter: u32, of: ValType, local: u32) {
    code.local_get(parameter);
    if of == ValType::I32 {
        code.i64_extend_i32_u();
    }
    code.local_set(local);
}

fn narrowed(code: &mut InstructionSink<'_>, to: ValType) {
    if to == ValType::I32 {
        code.i32_wrap_i64();
    }
}

fn number(code: &mut InstructionSink<'_>, number: i64, of: ValType) {
    code.i64_const(number);
    narrowed(code, of);
}
