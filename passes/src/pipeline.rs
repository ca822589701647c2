//! The list of passes: what Kiln does to a graph between import and lowering, in order, and why in that order.

use anyhow::Result;
use kiln_ir::Module;

use crate::batch_norm::BatchNorm;
use crate::canonicalize_pad::CanonicalizePad;
use crate::cse::Cse;
use crate::dce::Dce;
use crate::expand::Expand;
use crate::fold::Fold;
use crate::manager::{self, DumpSink, Options, Pass, Report};
use crate::materialize_pad::MaterializePad;
use crate::simplify::Simplify;
use crate::transpose_into_contract::TransposeIntoContract;

/// The pipeline.
pub fn passes() -> Vec<Box<dyn Pass>> {
    vec![
        // Whatever signatures do not reach is not worth any of the work below; importers leave much of it.
        Box::new(Dce),
        // Composite ops (softmax, layer norm, gelu) have had their gradients taken as a whole. From here on everything
        // matches on elementwise ops, reductions and contractions.
        Box::new(Expand),
        // Constants first: rules look for them.
        Box::new(Fold),
        Box::new(Simplify),
        // What simplification brought together: products of constants, equal expressions.
        Box::new(Fold),
        Box::new(Cse),
        // Needs constants in place and use counts without dead users.
        Box::new(Dce),
        Box::new(BatchNorm),
        // Weights are final now. Explicit paddings and transpositions would each be a trip through memory; the
        // convolution or contraction that reads them takes them over.
        Box::new(CanonicalizePad),
        Box::new(TransposeIntoContract),
        // Transposed and scaled weights, and what the passes above left of chains.
        Box::new(Fold),
        Box::new(Simplify),
        // Kernels want operands without bounds to check. Last, so that rules see paddings in one place only; before the
        // final sharing, so that two convolutions of one operand share its padded copy.
        Box::new(MaterializePad),
        Box::new(Cse),
        Box::new(Dce),
    ]
}

/// The pass with a name, of this pipeline.
pub fn by_name(name: &str) -> Option<Box<dyn Pass>> {
    passes().into_iter().find(|p| p.name() == name)
}

/// Runs the pipeline.
///
/// # Errors
/// As [`manager::run`].
pub fn run(m: &mut Module, options: &Options, dump: DumpSink<'_>) -> Result<Report> {
    manager::run(&passes(), m, options, dump)
}
