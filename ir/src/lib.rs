//! Kiln's two intermediate representations.
//!
//! * The **graph IR** ([`graph`]): modules of functions in SSA form over tensors, with ops defined by one trait
//!   ([`op::Op`]), static or symbolic dimensions ([`Dim`]) and state as values.
//! * The **loop IR** ([`loops`]): one kernel per fused cluster, at three levels, from logical loops to machine vectors.
//!
//! Both have a text form that round-trips, a verifier and a reference interpreter.
#![forbid(unsafe_code)]

pub mod attr;
mod builder;
pub mod dim;
pub mod dim_parse;
mod dtype;
pub mod graph;
pub mod interp;
pub mod loops;
pub mod lower;
pub mod op;
pub mod ops;
pub mod scalar;
pub mod scalar_eval;
pub mod tensor;
pub mod text;
pub mod tf;
pub mod verify;

pub use attr::{Attr, Attrs};
pub use builder::Builder;
pub use dim::{Atom, Dim, Symbol};
pub use dtype::{Class, DType};
pub use graph::{Function, Loc, Module, Node, NodeId, Param, ParamKind, SymbolBounds, TensorType, Value};
pub use op::{DimTensor, Effect, NoGradient, Op, OpDef, OpError, VjpArgs};
pub use tensor::Tensor;
