//! The program `binesh`.
#![forbid(unsafe_code)]
fn main() {}
