//! Index arithmetic of the nest: collapsed axes, reshapes, and which axes a reduction depends on.

use std::collections::HashSet;
use std::ops::Range;

use kiln_ir::loops::{KernelBuilder, V};
use kiln_ir::lower::{Lower, View, WindowKind};
use kiln_ir::scalar::BinaryOp;
use kiln_ir::{Dim, Function, Value};
use kiln_passes::fusion::{Cluster, Source, merge_sources, operand_sources, reshape_groups};

/// The row-major digits of `linear` over `shape`. The outermost digit has no modulus: `linear` is in range.
pub fn split(b: &mut KernelBuilder, linear: V, shape: &[Dim]) -> Vec<V> {
    let real: Vec<usize> = (0..shape.len()).filter(|&i| !shape[i].is(1)).collect();
    let mut digits = vec![None; shape.len()];
    let mut inner = Dim::from(1);
    for (k, &axis) in real.iter().enumerate().rev() {
        let mut d = linear;
        if !inner.is(1) {
            let by = b.dim(&inner);
            d = b.binary(BinaryOp::Div, d, by);
        }
        if k > 0 {
            let by = b.dim(&shape[axis]);
            d = b.binary(BinaryOp::TruncMod, d, by);
        }
        digits[axis] = Some(d);
        inner = inner * shape[axis].clone();
    }
    digits.into_iter().map(|d| d.unwrap_or_else(|| b.index(0))).collect()
}

/// The row-major number of an index over `shape`.
pub fn linear(b: &mut KernelBuilder, index: &[V], shape: &[Dim]) -> V {
    let mut sum = None;
    let mut stride = Dim::from(1);
    for (&i, d) in index.iter().zip(shape).rev() {
        if d.is(1) {
            continue;
        }
        let term = if stride.is(1) {
            i
        } else {
            let s = b.dim(&stride);
            b.mul(i, s)
        };
        sum = Some(match sum {
            Some(s) => b.add(term, s),
            None => term,
        });
        stride = stride * d.clone();
    }
    sum.unwrap_or_else(|| b.index(0))
}

/// The index into a value of shape `from` that a row-major reinterpretation as `to` has at `index`.
/// Axes are matched in groups of equal size, so that untouched axes keep their index.
pub fn reshape(b: &mut KernelBuilder, index: &[V], to: &[Dim], from: &[Dim]) -> Vec<V> {
    let mut out = vec![None; from.len()];
    for (t, s) in reshape_groups(to, from) {
        match (&t[..], &s[..]) {
            ([a], [c]) => out[*c] = Some(index[*a]),
            _ => {
                let tshape: Vec<Dim> = t.iter().map(|&a| to[a].clone()).collect();
                let sshape: Vec<Dim> = s.iter().map(|&a| from[a].clone()).collect();
                let tindex: Vec<V> = t.iter().map(|&a| index[a]).collect();
                let l = linear(b, &tindex, &tshape);
                for (&axis, d) in s.iter().zip(split(b, l, &sshape)) {
                    out[axis] = Some(d);
                }
            }
        }
    }
    out.into_iter().map(|d| d.unwrap_or_else(|| b.index(0))).collect()
}

/// The reductions of a cluster other than its result, with the source of each of their axes, innermost producers first.
/// Those that feed more than one place with different indices are left out (they are computed where they are needed).
pub fn reductions(f: &Function, cluster: &Cluster) -> Vec<(Value, Vec<Source>)> {
    let rank = f.ty(cluster.output).rank();
    let mut sources: std::collections::HashMap<Value, Option<Vec<Source>>> = Default::default();
    sources.insert(cluster.output, Some((0..rank).map(Source::Axis).collect()));
    let mut found = vec![];
    for &n in cluster.nodes.iter().rev() {
        let node = f.node(n);
        let Some(&out) = node.outputs.first() else { continue };
        let Some(at) = sources.get(&out).cloned() else { continue };
        let operands: Vec<_> = node.inputs.iter().map(|&v| f.ty(v)).collect();
        let family = node.op.lower(&operands);
        if matches!(family, Lower::Reduce { .. })
            && out != cluster.output
            && let Some(at) = &at
        {
            found.push((out, at.clone()));
        }
        for &v in &node.inputs {
            let given = at.as_ref().and_then(|at| operand_sources(&family, &f.ty(v).shape, &f.ty(out).shape, at));
            match sources.entry(v) {
                std::collections::hash_map::Entry::Vacant(e) => drop(e.insert(given)),
                std::collections::hash_map::Entry::Occupied(mut e) => {
                    let both = e.get().as_ref().zip(given).map(|(a, b)| merge_sources(a, &b));
                    e.insert(both);
                }
            }
        }
    }
    found.reverse();
    found.retain(|(v, _)| matches!(sources.get(v), Some(Some(_))));
    found
}

/// The coarsest useful partition of the result's axes: neighbours are merged where every access of the cluster stays
/// linear in the merged index, and over batch and spatial axes of a convolution, whose rows form one long axis for
/// register tiles (its input index is then decoded).
pub fn collapse(f: &Function, cluster: &Cluster) -> Vec<Range<usize>> {
    let rank = f.ty(cluster.output).rank();
    let mut glue = vec![true; rank.saturating_sub(1)];
    let mut seen = HashSet::new();
    visit(f, cluster, cluster.output, &(0..rank).map(Some).collect::<Vec<_>>(), &mut glue, &mut seen);
    let mut groups: Vec<Range<usize>> = vec![];
    for axis in 0..rank {
        match groups.last_mut() {
            Some(g) if glue[axis - 1] => g.end = axis + 1,
            _ => groups.push(axis..axis + 1),
        }
    }
    groups
}

/// Values already visited, with the axes for which they were.
type Seen = HashSet<(Value, Vec<Option<usize>>)>;

/// Clears `glue[i]` where the access of `v`, whose axes stand for the result's axes `map`, keeps axes i, i+1 apart.
fn visit(f: &Function, cluster: &Cluster, v: Value, map: &[Option<usize>], glue: &mut [bool], seen: &mut Seen) {
    if !seen.insert((v, map.to_vec())) {
        return;
    }
    // A pair of result axes stays glued if the value has both, next to each other, or neither.
    for (i, g) in glue.iter_mut().enumerate() {
        let at = |axis: usize| map.iter().position(|m| *m == Some(axis));
        *g &= match (at(i), at(i + 1)) {
            (Some(a), Some(b)) => b == a + 1,
            (None, None) => true,
            _ => false,
        };
    }
    let Some(node) = f.def_node(v).filter(|_| match f.def(v) {
        kiln_ir::graph::Def::Node(n, _) => cluster.nodes.contains(&n),
        kiln_ir::graph::Def::Param(_) => false,
    }) else {
        return;
    };
    let operands: Vec<_> = node.inputs.iter().map(|&x| f.ty(x)).collect();
    let to = &f.ty(v).shape;
    let separate = |glue: &mut [bool], map: &[Option<usize>]| {
        for m in map.iter().flatten() {
            if *m < glue.len() {
                glue[*m] = false;
            }
            if *m > 0 {
                glue[*m - 1] = false;
            }
        }
    };
    match node.op.lower(&operands) {
        Lower::Pointwise(_) | Lower::View(View::Broadcast(_)) => {
            for &x in &node.inputs {
                let from = &f.ty(x).shape;
                let m: Vec<_> = (0..from.len())
                    .map(|i| {
                        if from[i].is(1) && !to[i + to.len() - from.len()].is(1) {
                            None
                        } else {
                            map[i + to.len() - from.len()]
                        }
                    })
                    .collect();
                visit(f, cluster, x, &m, glue, seen);
            }
        }
        Lower::Contract(spec) => {
            for (labels, &x) in [&spec.lhs, &spec.rhs].into_iter().zip(&node.inputs) {
                let m: Vec<_> =
                    labels.iter().map(|l| spec.out.iter().position(|o| o == l).and_then(|p| map[p])).collect();
                // Axes that an operand lacks altogether do not keep others apart; those that it has must be adjacent.
                let mut own = vec![true; glue.len()];
                visit(f, cluster, x, &m, &mut own, &mut HashSet::new());
                for (i, g) in glue.iter_mut().enumerate() {
                    let has = |axis: usize| m.contains(&Some(axis));
                    if has(i) || has(i + 1) {
                        *g &= own[i];
                    }
                }
            }
        }
        Lower::Window { kind: WindowKind::Conv { groups: 1 }, .. } => {
            // Batch and spatial axes merge; the channel axis stays apart.
            if let Some(c) = map.last().copied().flatten()
                && c > 0
            {
                glue[c - 1] = false;
            }
        }
        Lower::Iota { .. } | Lower::Dims(_) | Lower::Constant => separate(glue, map),
        _ => separate(glue, map),
    }
}
