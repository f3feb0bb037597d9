//! ww.
fn main(){}
