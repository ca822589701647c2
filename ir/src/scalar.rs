//! The closed vocabulary of scalar operations, shared by pointwise graph ops and by the loop IR.
//!
//! Reference semantics of each operation on each dtype are in [`crate::scalar_eval`]; backends print the machine
//! forms, and `codegen/math` expands the rest into polynomials. Numeric edge cases follow the table in
//! `docs/semantics.md` (strict mode is TensorFlow's CPU behaviour).

use crate::DType;

macro_rules! vocabulary {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vmeta])* $variant),* }
        impl $name {
            /// Every operation, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];
            /// The name in both text forms.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text),* }
            }
            /// The operation with this name.
            pub fn from_name(s: &str) -> Option<$name> {
                match s { $($text => Some($name::$variant),)* _ => None }
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.name()) }
        }
    };
}

vocabulary! {
    /// Operations of one operand; the result has the operand's type unless it says otherwise.
    UnaryOp {
        /// Negation; two's complement wrap for integers.
        Neg = "neg",
        /// Absolute value; the magnitude (real) for complex numbers.
        Abs = "abs",
        /// -1, 0, 1; x/|x| for complex; sign(-0.0) = 0, NaN stays NaN.
        Sign = "sign",
        /// Bitwise complement of integers.
        BitNot = "bit_not",
        /// Logical negation of bool.
        Not = "not",
        /// Number of one bits, as u8.
        PopCount = "popcnt",
        /// Largest integer not above.
        Floor = "floor",
        /// Smallest integer not below.
        Ceil = "ceil",
        /// Round half to even.
        Rint = "rint",
        /// Toward zero.
        Trunc = "trunc",
        /// Square root.
        Sqrt = "sqrt",
        /// 1 / sqrt(x).
        Rsqrt = "rsqrt",
        /// 1 / x.
        Reciprocal = "reciprocal",
        /// x * x.
        Square = "square",
        /// e^x.
        Exp = "exp",
        /// e^x - 1 without cancellation.
        Expm1 = "expm1",
        /// Natural logarithm.
        Log = "log",
        /// log(1 + x) without cancellation.
        Log1p = "log1p",
        /// 1 / (1 + e^-x).
        Sigmoid = "sigmoid",
        /// Hyperbolic tangent.
        Tanh = "tanh",
        /// Sine, radians.
        Sin = "sin",
        /// Cosine, radians.
        Cos = "cos",
        /// Tangent, radians.
        Tan = "tan",
        /// Inverse sine.
        Asin = "asin",
        /// Inverse cosine.
        Acos = "acos",
        /// Inverse tangent.
        Atan = "atan",
        /// Hyperbolic sine.
        Sinh = "sinh",
        /// Hyperbolic cosine.
        Cosh = "cosh",
        /// Inverse hyperbolic sine.
        Asinh = "asinh",
        /// Inverse hyperbolic cosine.
        Acosh = "acosh",
        /// Inverse hyperbolic tangent.
        Atanh = "atanh",
        /// Gauss error function.
        Erf = "erf",
        /// 1 - erf(x) without cancellation.
        Erfc = "erfc",
        /// Inverse of erf.
        Erfinv = "erfinv",
        /// Inverse of the normal distribution function.
        Ndtri = "ndtri",
        /// log |gamma(x)|.
        Lgamma = "lgamma",
        /// Derivative of lgamma.
        Digamma = "digamma",
        /// bool: x is NaN.
        IsNan = "is_nan",
        /// bool: x is an infinity.
        IsInf = "is_inf",
        /// bool: x is neither NaN nor an infinity.
        IsFinite = "is_finite",
        /// Real part of a complex number.
        Real = "real",
        /// Imaginary part of a complex number.
        Imag = "imag",
        /// Complex conjugate; the identity on real numbers.
        Conj = "conj",
        /// Phase of a complex number, radians.
        Angle = "angle",
    }
}

vocabulary! {
    /// Operations of two operands of one type; the result has that type.
    BinaryOp {
        /// Sum; integers wrap.
        Add = "add",
        /// Difference; integers wrap.
        Sub = "sub",
        /// Product; integers wrap.
        Mul = "mul",
        /// Quotient; integers truncate toward zero; integer division by zero is an error.
        Div = "div",
        /// Quotient rounded toward minus infinity (TF FloorDiv).
        FloorDiv = "floor_div",
        /// x - y * floor(x / y), the divisor's sign (TF FloorMod).
        FloorMod = "floor_mod",
        /// Remainder with the dividend's sign (TF Mod, TruncateMod; C fmod).
        TruncMod = "trunc_mod",
        /// x / y, 0 where y = 0.
        DivNoNan = "div_no_nan",
        /// x * y, 0 where y = 0 even if x is NaN or infinite.
        MulNoNan = "mul_no_nan",
        /// The larger; NaN if either is NaN.
        Max = "max",
        /// The smaller; NaN if either is NaN.
        Min = "min",
        /// x^y.
        Pow = "pow",
        /// Angle of the point (y, x): first operand y.
        Atan2 = "atan2",
        /// (x - y)^2.
        SquaredDifference = "squared_difference",
        /// x * log(y), 0 where x = 0.
        Xlogy = "xlogy",
        /// x * log1p(y), 0 where x = 0.
        Xlog1py = "xlog1py",
        /// x / y, 0 where x = 0.
        Xdivy = "xdivy",
        /// Next representable value of x toward y.
        NextAfter = "next_after",
        /// Bitwise and of integers.
        BitAnd = "bit_and",
        /// Bitwise or of integers.
        BitOr = "bit_or",
        /// Bitwise exclusive or of integers.
        BitXor = "bit_xor",
        /// Left shift; the amount is clamped to 0..width-1.
        Shl = "shl",
        /// Right shift, arithmetic for signed types; the amount is clamped to 0..width-1.
        Shr = "shr",
        /// Logical and of bool.
        And = "and",
        /// Logical or of bool.
        Or = "or",
        /// Logical exclusive or of bool.
        Xor = "xor",
        /// Regularized lower incomplete gamma P(a, x).
        Igamma = "igamma",
        /// Regularized upper incomplete gamma Q(a, x).
        Igammac = "igammac",
        /// Polygamma of order x at y.
        Polygamma = "polygamma",
        /// Hurwitz zeta(x, q).
        Zeta = "zeta",
    }
}

vocabulary! {
    /// Comparisons; the result is bool. All but `ne` are false where an operand is NaN.
    CompareOp {
        /// Equal.
        Eq = "eq",
        /// Not equal.
        Ne = "ne",
        /// Less.
        Lt = "lt",
        /// Less or equal.
        Le = "le",
        /// Greater.
        Gt = "gt",
        /// Greater or equal.
        Ge = "ge",
    }
}

vocabulary! {
    /// Combiners of reductions: associative operations with a neutral element.
    ReduceOp {
        /// Sum, neutral 0.
        Sum = "sum",
        /// Product, neutral 1.
        Prod = "prod",
        /// Maximum, neutral -inf or the lowest integer; NaN wins.
        Max = "max",
        /// Minimum, neutral +inf or the highest integer; NaN wins.
        Min = "min",
        /// Logical and, neutral true.
        All = "all",
        /// Logical or, neutral false.
        Any = "any",
    }
}

impl UnaryOp {
    /// The result's type for an operand of type `x`.
    pub fn result(self, x: DType) -> DType {
        use UnaryOp::*;
        match self {
            IsNan | IsInf | IsFinite => DType::Bool,
            PopCount => DType::U8,
            Abs | Real | Imag | Angle => match x {
                DType::C64 => DType::F32,
                DType::C128 => DType::F64,
                real => real,
            },
            _ => x,
        }
    }

    /// Whether TensorFlow's kernels, and so the operation, take operands of type `x`.
    pub fn accepts(self, x: DType) -> bool {
        use UnaryOp::*;
        let (float, int, complex) = (x.is_float(), x.is_int(), x.is_complex());
        match self {
            Not => x == DType::Bool,
            BitNot | PopCount => int,
            Neg | Abs | Sign | Square => float || int || complex,
            Floor | Ceil | Rint | Trunc | IsNan | IsInf | IsFinite => float,
            Erf | Erfc | Erfinv | Ndtri | Lgamma | Digamma => float,
            Real | Imag | Conj | Angle => float || complex,
            _ => float || complex,
        }
    }
}

impl BinaryOp {
    /// Whether the operation takes operands of type `x`.
    pub fn accepts(self, x: DType) -> bool {
        use BinaryOp::*;
        let (float, int, complex) = (x.is_float(), x.is_int(), x.is_complex());
        match self {
            Add | Sub | Mul | Div | Pow | SquaredDifference => float || int || complex,
            FloorDiv | FloorMod | TruncMod | Max | Min => float || int,
            BitAnd | BitOr | BitXor | Shl | Shr => int,
            And | Or | Xor => x == DType::Bool,
            DivNoNan | MulNoNan | Xlogy | Xlog1py | Xdivy => float || complex,
            Atan2 | NextAfter | Igamma | Igammac | Polygamma | Zeta => float,
        }
    }

    /// op(x, y) = op(y, x), bit for bit.
    pub fn is_commutative(self) -> bool {
        use BinaryOp::*;
        matches!(self, Add | Mul | Max | Min | SquaredDifference | BitAnd | BitOr | BitXor | And | Or | Xor)
    }
}

impl CompareOp {
    /// The comparison with the operands exchanged.
    pub fn swapped(self) -> CompareOp {
        match self {
            CompareOp::Lt => CompareOp::Gt,
            CompareOp::Le => CompareOp::Ge,
            CompareOp::Gt => CompareOp::Lt,
            CompareOp::Ge => CompareOp::Le,
            same => same,
        }
    }

    /// Whether the comparison is defined on operands of type `x`: order needs a total order of the class.
    pub fn accepts(self, x: DType) -> bool {
        match self {
            CompareOp::Eq | CompareOp::Ne => x != DType::Resource && x != DType::Variant,
            _ => x.is_float() || x.is_int(),
        }
    }
}

impl ReduceOp {
    /// The scalar operation that combines two partial results.
    pub fn combiner(self) -> BinaryOp {
        match self {
            ReduceOp::Sum => BinaryOp::Add,
            ReduceOp::Prod => BinaryOp::Mul,
            ReduceOp::Max => BinaryOp::Max,
            ReduceOp::Min => BinaryOp::Min,
            ReduceOp::All => BinaryOp::And,
            ReduceOp::Any => BinaryOp::Or,
        }
    }

    /// Whether the reduction takes elements of type `x`.
    pub fn accepts(self, x: DType) -> bool {
        match self {
            ReduceOp::All | ReduceOp::Any => x == DType::Bool,
            op => op.combiner().accepts(x),
        }
    }
}
