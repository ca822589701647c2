//! Lowering to nests: what is computed how often.

use std::collections::HashMap;

use kiln_codegen::lower::{LoopRole, Walk, collapse, lower};
use kiln_ir::loops::{Block, Inst};
use kiln_passes::fusion::fuse;

/// The largest number of reduction loops around a statement.
fn depth(b: &Block, reductions: &[kiln_ir::loops::V]) -> usize {
    let of = |i: &Inst| match i {
        Inst::For(l) => usize::from(reductions.contains(&l.iv)) + depth(&l.body, reductions),
        _ => 0,
    };
    b.stmts.iter().map(|s| of(&s.inst)).max().unwrap_or(0)
}

#[test]
fn rows_of_a_batch_of_one_are_reduced_once() {
    // A layer norm's mean and variance. The axis of extent 1 has one index, whichever way it was computed: through the
    // loops, a broadcast, or the reshape that stop_gradient is.
    let text = r#"
entry @f

func @f(input "x" %x: f32[1, 6, 8]) {
  %n = const value=dense<f32[]: 8.0> : f32[]
  %1 = reduce op=sum, axes=[2], keep_dims=true %x : f32[1, 6, 1]
  %2 = binary op=div %1, %n : f32[1, 6, 1]
  %3 = stop_gradient forbid=false %2 : f32[1, 6, 1]
  %4 = binary op=squared_difference %x, %3 : f32[1, 6, 8]
  %5 = reduce op=sum, axes=[2], keep_dims=true %4 : f32[1, 6, 1]
  %6 = unary op=rsqrt %5 : f32[1, 6, 1]
  %7 = binary op=sub %x, %2 : f32[1, 6, 8]
  %8 = binary op=mul %7, %6 : f32[1, 6, 8]
  return output "y" %8
}
"#;
    let module = kiln_ir::text::parse(text).unwrap_or_else(|e| panic!("{e}"));
    let f = &module.funcs[module.entries[0]];
    let clusters = fuse(f);
    let [cluster] = &clusters[..] else { panic!("{} clusters", clusters.len()) };
    let groups = collapse(f, cluster);
    let walk = Walk { order: (0..groups.len()).collect(), groups };
    let nest = lower(f, cluster, &walk, &HashMap::new(), "k").unwrap_or_else(|e| panic!("{e:#}"));
    let reductions: Vec<_> =
        nest.loops.iter().filter(|l| matches!(l.role, LoopRole::Reduce(_))).map(|l| l.iv).collect();
    assert_eq!(reductions.len(), 2, "mean and variance");
    assert_eq!(depth(&nest.kernel.body, &reductions), 1, "neither is computed inside the other");
    let text = kiln_ir::loops::print::print(&nest.kernel).text;
    let outer = nest.kernel.body.stmts.iter().filter(|s| matches!(s.inst, Inst::For(_))).count();
    assert_eq!(outer, 1, "both stand in the loop over rows:\n{text}");
}
