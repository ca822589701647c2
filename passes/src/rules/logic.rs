//! Booleans, comparisons, selection.

use super::pattern::*;
use super::rules;

rules! {
    over x, y, z, c, d;

    not_not exact: not(not(x)) => x;
    and_true exact: and(x, 1) => x;
    and_false exact: and(x, 0) => 0;
    and_self exact: and(x, x) => x;
    or_false exact: or(x, 0) => x;
    or_true exact: or(x, 1) => 1;
    or_self exact: or(x, x) => x;
    xor_false exact: xor(x, 0) => x;
    xor_true exact: xor(x, 1) => not(x);
    not_eq exact: not(eq(x, y)) => ne(x, y);
    not_ne exact: not(ne(x, y)) => eq(x, y);

    // With NaN both an order and its opposite are false.
    not_lt exact: not(lt(x, y)) => ge(x, y), if int(x);
    not_le exact: not(le(x, y)) => gt(x, y), if int(x);
    not_gt exact: not(gt(x, y)) => le(x, y), if int(x);
    not_ge exact: not(ge(x, y)) => lt(x, y), if int(x);
    lt_self exact: lt(x, x) => 0;
    gt_self exact: gt(x, x) => 0;
    eq_self exact: eq(x, x) => 1, if int(x);
    ne_self exact: ne(x, x) => 0, if int(x);
    le_self exact: le(x, x) => 1, if int(x);
    ge_self exact: ge(x, x) => 1, if int(x);
    eq_true exact: eq(x, 1) => x, if is_bool(x);
    ne_false exact: ne(x, 0) => x, if is_bool(x);

    select_same exact: select(y, x, x) => x;
    select_true exact: select(1, x, y) => x;
    select_false exact: select(0, x, y) => y;
    select_not exact: select(not(z), x, y) => select(z, y, x);
    select_bool exact: select(x, 1, 0) => x, if is_bool_site(x);
    select_select_then exact: select(z, select(z, x, y), c) => select(z, x, c);
    select_select_else exact: select(z, c, select(z, x, y)) => select(z, c, y);
}

fn is_bool(x: &Pat) -> impl Fn(&Site<'_>) -> bool + Send + Sync + 'static {
    is(x, |t| t.dtype == kiln_ir::DType::Bool)
}

/// The result holds booleans, too.
fn is_bool_site(_: &Pat) -> impl Fn(&Site<'_>) -> bool + Send + Sync + 'static {
    |s| s.ty.dtype == kiln_ir::DType::Bool
}
