//! Strings joined: elementwise, along axes, by segments, into a template.

use crate::graph::TensorType;
use crate::ops::host::{INDEX, STRING, extents, host_op, ints, require, string_tensor, strings, typed};
use crate::ops::shape::may_equal;
use crate::tensor::Tensor;
use crate::{DType, Dim};

host_op! {
    /// `string_join x..`: the operands' strings in order; scalars go with every element.
    StringJoin = "string_join" {
        /// Between each two.
        separator: String,
    }
    infer |_, given| {
        let mut shape: Option<&[Dim]> = None;
        for t in given {
            require("string_join", "C2", t.dtype == DType::String, || format!("does not take {t}"))?;
            if t.rank() > 0 {
                let fits = shape.is_none_or(|s| s.len() == t.rank() && s.iter().zip(&t.shape).all(|(a, b)| may_equal(a, b)));
                require("string_join", "C3", fits, || format!("{t} has another shape than {shape:?}"))?;
                shape = Some(&t.shape);
            }
        }
        Ok(vec![TensorType::new(DType::String, shape.unwrap_or(&[]).to_vec())])
    },
    eval |op, x| {
        let shape = x.iter().map(|t| t.shape()).find(|s| !s.is_empty()).unwrap_or(&[]);
        let n = shape.iter().product();
        let one = |i: usize| {
            let parts: Vec<&[u8]> = x.iter().map(|t| &strings(t)[if t.shape().is_empty() { 0 } else { i }][..]).collect();
            parts.join(op.separator.as_bytes())
        };
        Ok(vec![string_tensor("string_join", shape, (0..n).map(one).collect())?])
    },
}

host_op! {
    /// `reduce_join x`: the strings along the axes joined, the axis named first varying fastest.
    ReduceJoin = "reduce_join" {
        /// The axes, in any order.
        axes: Vec<i64>,
        /// Whether joined axes stay with extent 1.
        keep_dims: bool,
        /// Between each two.
        separator: String,
    }
    infer |op, given| {
        let [x] = typed("reduce_join", given, [STRING])?;
        let ok = |(i, &a): (usize, &i64)| (0..x.rank() as i64).contains(&a) && !op.axes[..i].contains(&a);
        require("reduce_join", "C4", op.axes.iter().enumerate().all(ok), || format!("axes {:?} of {x}", op.axes))?;
        let joined = |i: usize| op.axes.contains(&(i as i64));
        let shape = x.shape.iter().enumerate().filter_map(|(i, d)| match (joined(i), op.keep_dims) {
            (false, _) => Some(d.clone()),
            (true, true) => Some(Dim::from(1)),
            (true, false) => None,
        });
        Ok(vec![TensorType::new(DType::String, shape.collect())])
    },
    eval |op, x| {
        let shape = x[0].shape();
        let stride = &crate::ops::shape::strides(shape);
        let axes: Vec<usize> = op.axes.iter().map(|&a| a as usize).collect();
        let kept: Vec<usize> = (0..shape.len()).filter(|i| !axes.contains(i)).collect();
        let places = |axes: &[usize]| {
            let mut at = vec![0];
            for &a in axes {
                at = at.iter().flat_map(|p| (0..shape[a]).map(move |i| p + i * stride[a])).collect();
            }
            at
        };
        let inner = places(&axes.iter().rev().copied().collect::<Vec<_>>());
        let joined = places(&kept).into_iter().map(|at| {
            let parts: Vec<&[u8]> = inner.iter().map(|i| &strings(x[0])[at + i][..]).collect();
            parts.join(op.separator.as_bytes())
        });
        let keep = |i: usize| if axes.contains(&i) { op.keep_dims.then_some(1) } else { Some(shape[i]) };
        let result: Vec<usize> = (0..shape.len()).filter_map(keep).collect();
        Ok(vec![string_tensor("reduce_join", &result, joined.collect())?])
    },
}

host_op! {
    /// `segment_join x, ids`: the strings of each segment in order. E1 for an id outside of the segments.
    SegmentJoin = "segment_join" {
        /// How many segments.
        segments: Dim,
        /// Between each two.
        separator: String,
    }
    infer |op, given| {
        let [x, ids] = typed("segment_join", given, [STRING, INDEX])?;
        let leads = ids.rank() <= x.rank() && ids.shape.iter().zip(&x.shape).all(|(a, b)| may_equal(a, b));
        require("segment_join", "C3", leads, || format!("{ids} does not lead {x}"))?;
        let inner = x.shape[ids.rank()..].iter();
        Ok(vec![TensorType::new(DType::String, [&op.segments].into_iter().chain(inner).cloned().collect())])
    },
    eval |op, x| {
        let n = extents("segment_join", std::slice::from_ref(&op.segments))?[0];
        let inner = &x[0].shape()[x[1].shape().len()..];
        let row: usize = inner.iter().product();
        let mut out: Vec<Option<Vec<u8>>> = vec![None; n * row];
        for (i, id) in ints(x[1]).into_iter().enumerate() {
            require("segment_join", "E1", (0..n as i64).contains(&id), || format!("segment {id} of {n}"))?;
            for k in 0..row {
                let s = &strings(x[0])[i * row + k];
                let to = &mut out[id as usize * row + k];
                *to = Some(match to.take() {
                    Some(have) => [&have, op.separator.as_bytes(), s].concat(),
                    None => s.clone(),
                });
            }
        }
        let shape: Vec<usize> = [n].iter().chain(inner).copied().collect();
        Ok(vec![string_tensor("segment_join", &shape, out.into_iter().map(Option::unwrap_or_default).collect())?])
    },
}

host_op! {
    /// `string_format x..`: the template with each operand in place of a placeholder.
    StringFormat = "string_format" {
        /// The text.
        template: String,
        /// What stands for an operand.
        placeholder: String,
        /// How many elements at each end of an axis are shown; -1 shows all.
        summarize: i64,
    }
    infer |op, given| {
        let places = op.template.matches(&op.placeholder).count();
        let fits = !op.placeholder.is_empty() && places == given.len();
        require("string_format", "C4", fits, || format!("{places} placeholders for {} operands", given.len()))?;
        Ok(vec![TensorType::fixed(DType::String, &[])])
    },
    eval |op, x| {
        let mut out = Vec::new();
        for (i, part) in op.template.split(&op.placeholder).enumerate() {
            if i > 0 {
                show(&mut out, x[i - 1], 0, 0, op.summarize);
            }
            out.extend_from_slice(part.as_bytes());
        }
        Ok(vec![Tensor::of_strings(&[], vec![out])])
    },
}

/// As TensorFlow prints tensors: nested brackets, a line for each row.
fn show(out: &mut Vec<u8>, t: &Tensor, axis: usize, at: usize, summarize: i64) {
    let Some(&n) = t.shape().get(axis) else { return out.extend(element(t, at)) };
    let row: usize = t.shape()[axis + 1..].iter().product();
    let edge = if summarize < 0 || n as i64 <= 2 * summarize { n } else { summarize as usize };
    let last = axis + 1 == t.shape().len();
    let gap =
        if last { " ".into() } else { format!("{}{}", "\n".repeat(t.shape().len() - axis - 1), " ".repeat(axis + 1)) };
    out.push(b'[');
    for i in 0..n {
        if i >= edge && i < n - edge {
            if i == edge {
                out.extend_from_slice(gap.as_bytes());
                out.extend_from_slice(b"...");
            }
            continue;
        }
        if i > 0 {
            out.extend_from_slice(gap.as_bytes());
        }
        show(out, t, axis + 1, at + i * row, summarize);
    }
    out.push(b']');
}

fn element(t: &Tensor, at: usize) -> Vec<u8> {
    if let Some(s) = t.strings() {
        return [b"\"", &s[at][..], b"\""].concat();
    }
    let short = |x: f64| super::number::general(x, 6);
    match t.to_f64s() {
        Some(v) => short(v[at]).into_bytes(),
        None if t.dtype().is_complex() => {
            let z = crate::ops::host::complexes(t)[at];
            format!("({},{})", short(z.re), short(z.im)).into_bytes()
        }
        None if t.dtype() == DType::U64 => (ints(t)[at] as u64).to_string().into_bytes(),
        None => ints(t)[at].to_string().into_bytes(),
    }
}
