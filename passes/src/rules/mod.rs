//! Rewrite rules: one line each, by theme.
//!
//! ```text
//! neg_neg exact: neg(neg(x)) => x;
//! add_zero_int exact: add(x, 0) => x, if int(x);
//! ```
//!
//! A rule is data: the pattern is matched against operands that are simplified already, and the tests build their inputs
//! from it. In patterns `x y z` stand for any value, `c d` for constants, a number for a constant all of whose elements
//! are that number (`-0.0` only for negative zero), and a repeated name for the same value. Commutative operations match
//! in either order. In replacements `cast`, `reshape` and `broadcast` convert to the replaced value's type.
//!
//! House rules:
//! * A replacement has exactly the type of what it replaces; the engine drops a match where it has not. So `add(x, 0) =>
//!   x` does not fire where the zero's shape broadcasts `x`.
//! * `exact` is bit for bit under the interpreter for every input: NaN, infinities, -0, empty tensors. Only which NaN it
//!   is may change. `x - x`, `0 * x` and `x + 0` are therefore not rules for floats.
//! * `rounding` computes the same real number within the numeric contract's bound for the operation; strict mode has it.
//! * `fast` needs `--math fast`, and still honours NaN and infinities.
//! * A rule never makes more work than there was, whoever else uses the parts of the pattern.

mod engine;
pub mod pattern;
#[cfg(test)]
mod tests;

pub mod arith;
pub mod logic;
pub mod shape;

pub use engine::{Rules, simplify_node};
pub use pattern::{Rule, Site, Tag};

/// Rules, one line each; see the module's documentation.
macro_rules! rules {
    (over $x:ident, $y:ident, $z:ident, $c:ident, $d:ident; $($(#[$meta:meta])* $name:ident $tag:ident: $lhs:expr => $rhs:expr $(, if $cond:expr)?;)*) => {
        /// The rules of this file.
        #[allow(unused_variables)] // every rule sees every variable
        pub fn rules() -> Vec<$crate::rules::Rule> {
            use $crate::rules::pattern::{Pat, Rhs, Rule, Tag};
            let ($x, $y, $z) = (&Pat::Var(0), &Pat::Var(1), &Pat::Var(2));
            let ($c, $d) = (&Pat::Const(3), &Pat::Const(4));
            let mut all: Vec<Rule> = vec![];
            $({
                let rule = Rule::new(
                    stringify!($name),
                    Tag::$tag,
                    concat!(stringify!($lhs), " => ", stringify!($rhs) $(, ", if ", stringify!($cond))?),
                    Pat::from($lhs),
                    Rhs::from($rhs),
                );
                $(let rule = rule.only_if($cond);)?
                all.push(rule);
            })*
            all
        }
    };
}
pub(crate) use rules;
