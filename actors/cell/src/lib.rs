//! Cells: WebAssembly instances with limits, stdio and typed exit reasons.
