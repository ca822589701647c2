//! The closed families of kernels: what an op tells the lowering about itself.
//!
//! Every family has one lowering file in `codegen/lower`. Index maps are written over loop variables: an axis of the
//! result, or a reduction axis.

use crate::graph::Value;
use crate::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use crate::{Builder, DType, Dim};

/// The scalar function of a pointwise op. Operands broadcast as in NumPy.
#[derive(Clone, Debug, PartialEq)]
pub enum ScalarFn {
    /// One operand.
    Unary(UnaryOp),
    /// Two operands.
    Binary(BinaryOp),
    /// Two operands, bool result.
    Compare(CompareOp),
    /// Operands: condition (bool), value where true, value where false.
    Select,
    /// Conversion to another type with TensorFlow's Cast rules.
    Cast(DType),
    /// The operand's bits as another type of the same width.
    Bitcast(DType),
}

/// How an axis of a view's operand is indexed by the axes of its result.
#[derive(Clone, Debug, PartialEq)]
pub enum View {
    /// Operand axis `i` is result axis `perm^-1(i)`: result axis `j` is operand axis `perm[j]`.
    Transpose(Vec<usize>),
    /// Row-major reinterpretation under another shape.
    Reshape(Vec<Dim>),
    /// NumPy broadcasting to a shape; leading axes are added.
    Broadcast(Vec<Dim>),
    /// Operand index = start + step * result index, per axis; steps may be negative.
    Slice {
        /// First index of each axis.
        start: Vec<Dim>,
        /// Step of each axis, not 0.
        step: Vec<i64>,
    },
    /// Operand index = result index - low; outside the operand the scalar operand 1 gives the value.
    Pad {
        /// Elements added before each axis.
        low: Vec<Dim>,
        /// Elements added after each axis.
        high: Vec<Dim>,
    },
    /// Operands joined along an axis.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// Reversed along the axes.
    Reverse(Vec<usize>),
    /// Operand index = result index mod operand extent (TF Tile).
    Tile,
    /// Mirrored border; operand 0 only.
    MirrorPad {
        /// Elements added before each axis.
        low: Vec<Dim>,
        /// 1 for REFLECT (the border element is not repeated), 0 for SYMMETRIC.
        offset: i64,
    },
}

/// A generalized matrix product: einsum over labelled axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContractSpec {
    /// Label of each axis of the left operand.
    pub lhs: Vec<u8>,
    /// Label of each axis of the right operand.
    pub rhs: Vec<u8>,
    /// Label of each axis of the result; labels missing here are summed over.
    pub out: Vec<u8>,
}

/// One spatial axis of a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowDim {
    /// Window extent.
    pub size: i64,
    /// Distance between windows.
    pub stride: i64,
    /// Distance between taps (atrous rate).
    pub dilation: i64,
    /// Zeros inserted between operand elements plus one (transposed convolution's stride); 1 for none.
    pub base_dilation: i64,
    /// Elements before the first.
    pub pad_low: Dim,
    /// Elements after the last.
    pub pad_high: Dim,
}

/// What a window computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WindowKind {
    /// Operands `[N, spatial.., C]` and filter `[spatial.., C / groups, O]`, as TensorFlow stores them; result
    /// `[N, spatial.., O]`. Depthwise: groups = C with the filter viewed as `[spatial.., 1, C * multiplier]`.
    Conv {
        /// Feature groups.
        groups: i64,
    },
    /// Combines the window's elements; padding is the neutral element. Operand `[N, spatial.., C]`.
    Pool(ReduceOp),
    /// Mean of the window's elements inside the operand (TF AvgPool: padding is not counted).
    AvgPool,
}

/// Builds the subgraph that computes an op on its operands; returns its results.
pub type Expansion = fn(&mut Builder, &dyn crate::Op, &[Value]) -> anyhow::Result<Vec<Value>>;

/// How an op is computed.
pub enum Lower {
    /// Elementwise with broadcasting.
    Pointwise(ScalarFn),
    /// Combination over axes; the reduced axes are dropped, or kept with extent 1.
    Reduce {
        /// Combiner.
        op: ReduceOp,
        /// Axes, ascending.
        axes: Vec<usize>,
        /// Whether reduced axes stay with extent 1.
        keep_dims: bool,
    },
    /// Index of the largest or smallest element along an axis; ties give the lowest index.
    ArgReduce {
        /// Max or Min.
        op: ReduceOp,
        /// The axis, dropped from the result.
        axis: usize,
    },
    /// Generalized matrix product.
    Contract(ContractSpec),
    /// Convolution or pooling.
    Window {
        /// What the window computes.
        kind: WindowKind,
        /// The spatial axes in order.
        dims: Vec<WindowDim>,
    },
    /// Index map.
    View(View),
    /// The element's own index along an axis, times step plus start: iota, range. No operand but for Range.
    Iota {
        /// Axis whose index is the value.
        axis: usize,
    },
    /// The constant of a `const` op: becomes a weight or an immediate.
    Constant,
    /// Values of symbolic dims as integers.
    Dims(Vec<Dim>),
    /// Gather along an axis: `result[.., i.., ..] = operand[.., indices[i..], ..]`, TF GatherV2.
    Gather {
        /// Axis of the operand.
        axis: usize,
        /// Leading axes common to operand and indices.
        batch_dims: usize,
    },
    /// Joins operand 2 into operand 0 at the places that operand 1 holds along its last axis, in row-major order of the
    /// updates (so that sums have one order), TF TensorScatter*.
    Scatter {
        /// Add, Sub, Max or Min; `None` replaces.
        combine: Option<BinaryOp>,
    },
    /// Operand index = result index + operand 1, a vector that holds one index an axis; outside is an error.
    DynamicSlice,
    /// Operand 0 with the box at operand 2 replaced by operand 1; in place where operand 0 dies here.
    DynamicUpdateSlice,
    /// A subgraph of simpler ops that computes the same; built into the function before fusion.
    Expand(Expansion),
    /// Calls, conditionals and loops over functions of the module.
    Control,
    /// Computed by the host runtime, outside kernels (strings, tables, files).
    Host,
}

impl std::fmt::Debug for Lower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Lower::Pointwise(_) => "pointwise",
            Lower::Reduce { .. } => "reduce",
            Lower::ArgReduce { .. } => "arg_reduce",
            Lower::Contract(_) => "contract",
            Lower::Window { .. } => "window",
            Lower::View(_) => "view",
            Lower::Iota { .. } => "iota",
            Lower::Constant => "constant",
            Lower::Dims(_) => "dims",
            Lower::Gather { .. } => "gather",
            Lower::Scatter { .. } => "scatter",
            Lower::DynamicSlice => "dynamic_slice",
            Lower::DynamicUpdateSlice => "dynamic_update_slice",
            Lower::Expand(_) => "expand",
            Lower::Control => "control",
            Lower::Host => "host",
        })
    }
}
