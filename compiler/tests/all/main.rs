//! The compiler from the outside. One program: each would link Cranelift and LLVM once more.

mod aot;
mod cli;
mod custom;
mod golden;
mod state;
