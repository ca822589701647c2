//! The instruction set: a closed enum, the same for all levels; [`super::verify`] says what each level allows.

use crate::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use crate::{DType, Dim};

use super::BufId;

/// A value: defined once, by a statement's result, a loop's induction variable or a carried value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct V(pub u32);

impl std::fmt::Debug for V {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "%{}", self.0)
    }
}

/// The type of a value: a tile of `rows x lanes` elements.
///
/// L1: 1x1. L2: any; operations broadcast an extent of 1 against the other operand's. L3: rows = 1, lanes as the target
/// has them, no broadcasting. Indices are i64. A bool vector is a mask.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ty {
    /// Element type; plain, not complex.
    pub elem: DType,
    /// Rows of the tile.
    pub rows: u16,
    /// Lanes of each row.
    pub lanes: u16,
}

impl Ty {
    /// A scalar.
    pub const fn scalar(elem: DType) -> Ty {
        Ty { elem, rows: 1, lanes: 1 }
    }

    /// A vector: one row.
    pub const fn vector(elem: DType, lanes: u16) -> Ty {
        Ty { elem, rows: 1, lanes }
    }

    /// A tile.
    pub const fn tile(elem: DType, rows: u16, lanes: u16) -> Ty {
        Ty { elem, rows, lanes }
    }

    /// The type of an index.
    pub const INDEX: Ty = Ty::scalar(DType::I64);

    /// Whether this is a single element.
    pub fn is_scalar(self) -> bool {
        self.rows == 1 && self.lanes == 1
    }

    /// The same extents with another element type.
    pub fn with_elem(self, elem: DType) -> Ty {
        Ty { elem, ..self }
    }
}

impl std::fmt::Display for Ty {
    /// `f32`, `f32x8` (vector), `f32x6x16` (tile: rows x lanes).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.rows, self.lanes) {
            (1, 1) => write!(f, "{}", self.elem),
            (1, l) => write!(f, "{}x{l}", self.elem),
            (r, l) => write!(f, "{}x{r}x{l}", self.elem),
        }
    }
}

impl std::fmt::Debug for Ty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// A sequence of statements; `yields` are the values handed to the enclosing loop or conditional.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    /// Statements in order.
    pub stmts: Vec<Stmt>,
    /// Values for the next iteration (loop) or the results (conditional).
    pub yields: Vec<V>,
}

/// An instruction with the values that it defines.
#[derive(Clone, Debug, PartialEq)]
pub struct Stmt {
    /// Results: none, one, or one for each carried value.
    pub results: Vec<V>,
    /// Instruction.
    pub inst: Inst,
}

/// What a loop's iterations are to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoopKind {
    /// Iterations are independent (race-checked by the interpreter) and carry nothing.
    Parallel,
    /// Iterations combine into the carried values, each with its declared combiner; order is free until scheduled.
    Reduce,
    /// Iterations run in order.
    Serial,
}

/// A value carried by a loop.
#[derive(Clone, Debug, PartialEq)]
pub struct Carried {
    /// The value seen in the body.
    pub inner: V,
    /// The value before the first iteration.
    pub init: V,
    /// For [`LoopKind::Reduce`]: the body combines `inner` with something by this operation and nothing else.
    pub combine: Option<ReduceOp>,
}

/// A counted loop: `for iv = lo, lo + step, .. while iv < hi`. Its statement's results are the carried values after the
/// last iteration.
#[derive(Clone, Debug, PartialEq)]
pub struct For {
    /// What iterations are to each other.
    pub kind: LoopKind,
    /// Induction variable, i64.
    pub iv: V,
    /// First value.
    pub lo: V,
    /// Bound, exclusive.
    pub hi: V,
    /// Step, positive.
    pub step: i64,
    /// Carried values.
    pub carried: Vec<Carried>,
    /// Body; yields the next carried values.
    pub body: Block,
    /// Copies of the body that a printer lays out one after another before it tests the bound; the trip count is a
    /// multiple of it. 1 for none.
    pub unroll: u16,
}

/// A GPU thread's coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ThreadAxis {
    /// Index of the thread in its block: `%tid.x`.
    Thread,
    /// Index within the warp: `%laneid`.
    Lane,
    /// Index of the warp in its block.
    Warp,
}

/// A row of the intrinsic table, [`crate::loops::inst::INTRINSICS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IntrinsicId(pub u8);

/// An instruction.
#[derive(Clone, Debug, PartialEq)]
pub enum Inst {
    // ---- values without operands ----
    /// A number in the result's element type, splat over the result: floats as f64 bits, integers as i64.
    ConstFloat(f64),
    /// See [`Inst::ConstFloat`]; bool is 0 or 1.
    ConstInt(i64),
    /// L3: the symbol in this slot, i64.
    Sym(u32),
    /// L1, L2: a symbolic integer, i64. Expanded into arithmetic on [`Inst::Sym`] for L3.
    Dim(Dim),
    /// The task number, i64.
    Task,
    /// GPU coordinates, i64.
    Thread(ThreadAxis),
    /// 0, 1, 2, .. along the lanes (i64 or i32 elements).
    IotaLanes,
    /// L2: 0, 1, 2, .. along the rows.
    IotaRows,

    // ---- arithmetic ----
    /// One operand.
    Unary(UnaryOp, V),
    /// Two operands of one type (L2: broadcast).
    Binary(BinaryOp, V, V),
    /// Two operands; bool result.
    Compare(CompareOp, V, V),
    /// Mask or bool, value where true, value where false.
    Select(V, V, V),
    /// a * b + c with one rounding.
    Fma(V, V, V),
    /// Conversion to the result's element type with TensorFlow's Cast rules.
    Cast(V),
    /// Same bits as the result's type, of equal width.
    Bitcast(V),

    // ---- shape of tiles ----
    /// The operand in every lane, at L2 also in every row: extents of 1 become the result's. At L3 the only broadcast.
    Splat(V),
    /// One lane as a scalar.
    Extract(V, u16),
    /// The vector with one lane replaced: vector, scalar, lane.
    Insert(V, V, u16),
    /// Lanes `[at, at + result lanes)` of a vector.
    Slice(V, u16),
    /// L2, L3: combination of all lanes of each row by a balanced tree (halves are combined until one lane is left).
    ReduceLanes(ReduceOp, V),

    // ---- memory ----
    /// L1, L2: element of a buffer at one index per axis (tiles broadcast: a row of addresses and iota lanes give a tile).
    /// L3: `index` is one scalar element offset from the base; the result's lanes are contiguous.
    Load {
        /// Buffer.
        buf: BufId,
        /// Indices.
        index: Vec<V>,
    },
    /// The reverse of a load.
    Store {
        /// Buffer.
        buf: BufId,
        /// Indices.
        index: Vec<V>,
        /// Value.
        value: V,
    },
    /// L3: lanes from independent element offsets (i64 vector).
    Gather {
        /// Buffer.
        buf: BufId,
        /// Element offsets.
        offsets: V,
    },
    /// L3: lanes to independent, distinct element offsets.
    Scatter {
        /// Buffer.
        buf: BufId,
        /// Element offsets.
        offsets: V,
        /// Value.
        value: V,
    },
    /// L1: `buf[index] = combine(buf[index], value)`; tasks must not meet in an element.
    ReduceInto {
        /// Combiner.
        op: ReduceOp,
        /// Buffer.
        buf: BufId,
        /// Indices.
        index: Vec<V>,
        /// Value.
        value: V,
    },
    /// A hint to bring the line of this element into the cache: L3 offset.
    Prefetch {
        /// Buffer.
        buf: BufId,
        /// Element offset.
        offset: V,
    },

    // ---- control ----
    /// A loop.
    For(Box<For>),
    /// Condition (bool scalar), taken when true, taken when false.
    If(V, Box<Block>, Box<Block>),

    // ---- matrix intrinsics, asynchrony, exits ----
    /// A row of the intrinsic table: accumulator fragment + A fragment x B fragment. Fragments are lists of values of
    /// the counts that the table gives, in the order accumulators, A, B; results are the new accumulators.
    Mma(IntrinsicId, Vec<V>),
    /// Exchange between lanes of a warp: the value of lane `lane ^ mask`.
    WarpXor(V, u32),
    /// GPU: copies `bytes` (4, 8 or 16) from a global to a shared buffer without waiting: L3 offsets in elements.
    AsyncCopy {
        /// Shared buffer.
        dst: BufId,
        /// Element offset there.
        dst_offset: V,
        /// Global buffer.
        src: BufId,
        /// Element offset there.
        src_offset: V,
        /// Bytes: 4, 8 or 16.
        bytes: u8,
    },
    /// Closes a group of asynchronous copies.
    AsyncCommit,
    /// Waits until at most this many groups are under way.
    AsyncWait(u8),
    /// All threads of the block meet.
    Barrier,
    /// A call of a runtime micro-kernel that computes one register tile:
    /// `out[r * lanes + l] = sum over t < taps, k < depth of a[a_offset[r] + tap_offset[t] + k] * b[b_offset + (t * depth + k) * lanes + l]`
    /// for `r < rows`, added to `out` if `accumulate`. The meaning is this formula; the backend binds the symbol of the
    /// running machine's best kernel with these tile extents.
    CallTile(Box<CallTile>),
    /// Ends the run with a status: the condition (bool; at L2 a tile of them) holds when all is well.
    Check {
        /// Must be true.
        ok: V,
        /// Status reported otherwise (see the runtime's status table).
        status: i32,
    },
}

/// Operands of [`Inst::CallTile`].
#[derive(Clone, Debug, PartialEq)]
pub struct CallTile {
    /// Rows of the tile.
    pub rows: u16,
    /// Lanes of the tile.
    pub lanes: u16,
    /// Left operand.
    pub a: BufId,
    /// Element offset of each row: a private i64 buffer of `rows` elements.
    pub a_offsets: BufId,
    /// Element offset of each tap: a private i64 buffer.
    pub tap_offsets: BufId,
    /// Number of taps.
    pub taps: V,
    /// Contiguous elements summed per tap.
    pub depth: V,
    /// Right operand, packed.
    pub b: BufId,
    /// Its element offset.
    pub b_offset: V,
    /// Result tile: a private f32 buffer of `rows * lanes` elements.
    pub out: BufId,
    /// Whether to add to the result tile.
    pub accumulate: bool,
    /// Rows computed, at most `rows`.
    pub valid_rows: V,
}

/// A matrix intrinsic as data. Its meaning is the plain product of the fragments' elements under the fragment maps.
#[derive(Clone, Copy, Debug)]
pub struct Intrinsic {
    /// Name in the text form.
    pub name: &'static str,
    /// Extents: C[m x n] += A[m x k] B[k x n].
    pub m: u16,
    /// See `m`.
    pub n: u16,
    /// See `m`.
    pub k: u16,
    /// Element type of A and B.
    pub ab: DType,
    /// Element type of C.
    pub c: DType,
    /// Values per thread: accumulators, A, B; and the type of each.
    pub fragments: [(u16, Ty); 3],
    /// Threads that hold the fragments together; 1 on a CPU.
    pub threads: u16,
    /// Feature that the target must have.
    pub feature: &'static str,
    /// Row and column of element `e` of C's fragment in thread `t`.
    pub c_map: fn(t: u16, e: u16) -> (u16, u16),
    /// Row and column of element `e` of A's fragment in thread `t`; elements of packed registers count one by one.
    pub a_map: fn(t: u16, e: u16) -> (u16, u16),
    /// Row and column of element `e` of B's fragment in thread `t`.
    pub b_map: fn(t: u16, e: u16) -> (u16, u16),
}

/// The intrinsics. Fragment maps of mma.sync follow the PTX ISA, section "Matrix Fragments for mma".
pub const INTRINSICS: &[Intrinsic] = &[
    Intrinsic {
        name: "mma.m16n8k8.tf32",
        m: 16,
        n: 8,
        k: 8,
        ab: DType::F32,
        c: DType::F32,
        fragments: [(4, Ty::scalar(DType::F32)), (4, Ty::scalar(DType::F32)), (2, Ty::scalar(DType::F32))],
        threads: 32,
        feature: "sm_80",
        c_map: |t, e| (t / 4 + 8 * (e / 2), (t % 4) * 2 + e % 2),
        a_map: |t, e| (t / 4 + 8 * (e % 2), t % 4 + 4 * (e / 2)),
        b_map: |t, e| (t % 4 + 4 * e, t / 4),
    },
    Intrinsic {
        name: "mma.m16n8k16.bf16",
        m: 16,
        n: 8,
        k: 16,
        ab: DType::BF16,
        c: DType::F32,
        fragments: [(4, Ty::scalar(DType::F32)), (4, Ty::vector(DType::BF16, 2)), (2, Ty::vector(DType::BF16, 2))],
        threads: 32,
        feature: "sm_80",
        c_map: |t, e| (t / 4 + 8 * (e / 2), (t % 4) * 2 + e % 2),
        a_map: |t, e| (t / 4 + 8 * ((e / 2) % 2), (t % 4) * 2 + e % 2 + 8 * (e / 4)),
        b_map: |t, e| ((t % 4) * 2 + e % 2 + 8 * (e / 2), t / 4),
    },
];

impl IntrinsicId {
    /// The intrinsic's row.
    pub fn row(self) -> Option<&'static Intrinsic> {
        INTRINSICS.get(self.0 as usize)
    }

    /// The intrinsic with a name.
    pub fn from_name(name: &str) -> Option<IntrinsicId> {
        INTRINSICS.iter().position(|r| r.name == name).map(|i| IntrinsicId(i as u8))
    }
}

impl Inst {
    /// Calls `f` with every value that the instruction itself reads (not those read inside nested blocks).
    pub fn for_each_operand(&self, mut f: impl FnMut(V)) {
        self.clone().map_operands(|v| {
            f(v);
            v
        });
    }

    /// Replaces every value that the instruction itself reads.
    pub fn map_operands(&mut self, mut f: impl FnMut(V) -> V) {
        use Inst::*;
        match self {
            ConstFloat(_) | ConstInt(_) | Sym(_) | Dim(_) | Task | Thread(_) | IotaLanes | IotaRows => {}
            AsyncCommit | AsyncWait(_) | Barrier => {}
            Unary(_, x) | Cast(x) | Bitcast(x) | Splat(x) | Extract(x, _) | Slice(x, _) | ReduceLanes(_, x) => {
                *x = f(*x)
            }
            WarpXor(x, _) => *x = f(*x),
            Binary(_, x, y) | Compare(_, x, y) | Insert(x, y, _) => {
                *x = f(*x);
                *y = f(*y);
            }
            Select(a, b, c) | Fma(a, b, c) => {
                *a = f(*a);
                *b = f(*b);
                *c = f(*c);
            }
            Load { index, .. } => index.iter_mut().for_each(|i| *i = f(*i)),
            Store { index, value, .. } | ReduceInto { index, value, .. } => {
                index.iter_mut().for_each(|i| *i = f(*i));
                *value = f(*value);
            }
            Gather { offsets, .. } => *offsets = f(*offsets),
            Scatter { offsets, value, .. } => {
                *offsets = f(*offsets);
                *value = f(*value);
            }
            Prefetch { offset, .. } => *offset = f(*offset),
            For(l) => {
                l.lo = f(l.lo);
                l.hi = f(l.hi);
                l.carried.iter_mut().for_each(|c| c.init = f(c.init));
            }
            If(c, _, _) => *c = f(*c),
            Mma(_, vs) => vs.iter_mut().for_each(|v| *v = f(*v)),
            AsyncCopy { dst_offset, src_offset, .. } => {
                *dst_offset = f(*dst_offset);
                *src_offset = f(*src_offset);
            }
            CallTile(c) => {
                c.taps = f(c.taps);
                c.depth = f(c.depth);
                c.b_offset = f(c.b_offset);
                c.valid_rows = f(c.valid_rows);
            }
            Check { ok, .. } => *ok = f(*ok),
        }
    }
}
