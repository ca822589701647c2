use std::sync::Arc;

use super::*;
use crate::DType;
use crate::ops::pointwise::Unary;
use crate::scalar::UnaryOp;
use crate::text;

/// The codes that the verifier reports for a text.
fn codes(text: &str) -> Vec<&'static str> {
    let m = text::parse(text).unwrap_or_else(|e| panic!("{e}"));
    verify(&m).map_or_else(|v| v.list.iter().map(|v| v.code).collect(), |()| vec![])
}

fn body(nodes: &str) -> String {
    format!("symbol b: 1..8\nfunc @f(input \"x\" %x: f32[b, 3], var \"v\" %v: f32[3]) {{\n{nodes}\n}}\n")
}

#[test]
fn a_valid_module_passes() {
    let ok = body("%y = binary op=add %x, %v : f32[b, 3]\n return output \"y\" %y, var \"v\" %v");
    assert_eq!(codes(&ok), [""; 0]);
}

#[test]
fn each_constraint_has_its_code() {
    assert_eq!(codes(&body("%y = unary op=neg %x : f32[b, 4]\n return")), ["G02"]);
    assert_eq!(codes(&body("%y = unary op=not %x : f32[b, 3]\n return")), ["G03"]);
    assert_eq!(codes(&body("%y, %z = unary op=neg %x : f32[b, 3], f32[]\n return")), ["G04"]);
    assert_eq!(codes(&body("%y = iota shape=[c], axis=0, dtype=i32 : i32[c]\n return")), ["G05", "G05"]);
    assert_eq!(codes("func @\"\"() { return }"), ["G06"]);
    assert_eq!(codes("func @f(input \"x\" %0: f32[], input \"x\" %1: f32[]) { return }"), ["G07"]);
    assert_eq!(codes(&body("return var \"v\" %v, var \"v\" %v")), ["G07"]);
    assert_eq!(codes(&body("return output \"v\" %v, var \"v\" %v")), [""; 0]);
    assert_eq!(codes(&body("return var \"w\" %v")), ["G08"]);
    assert_eq!(codes(&body("return var \"v\" %x")), ["G08"]);
    assert_eq!(codes("entry @f\nentry @f\nfunc @f() { return }"), ["G10"]);
    assert_eq!(codes("entry @#3\nfunc @f() { return }"), ["G10"]);
    assert_eq!(codes("func @f(input \"x\" %0: f32[-1]) { return }"), ["G12"]);
    assert_eq!(codes("symbol b: 3..2\nfunc @f() { return }"), ["G13"]);
}

#[test]
fn values_out_of_range_are_reported_not_indexed() {
    let mut f = Function::new("f");
    let ty = TensorType::fixed(DType::F32, &[]);
    f.push(Arc::new(Unary { op: UnaryOp::Neg }), vec![Value(9)], vec![ty.clone()], Loc::new("a/b", "Neg"));
    f.push(Arc::new(Unary { op: UnaryOp::Neg }), vec![Value(1)], vec![ty], Loc::default());
    f.add_result("y", ParamKind::Input, Value(77));
    f.params.push(crate::Param { name: "p".into(), kind: ParamKind::Input, value: Value(50) });
    let m = Module { funcs: vec![f], ..Module::default() };
    let all = verify(&m).expect_err("it is wrong").after("fold");
    assert_eq!(all.list.iter().map(|v| v.code).collect::<Vec<_>>(), ["G14", "G01", "G01", "G09"]);
    let text = all.to_string();
    assert!(text.starts_with("the module is not valid after pass `fold`: 4 violations"), "{text}");
    assert!(text.contains("in @f, node 0 (unary), from `a/b` (Neg)"), "{text}");
    // Printing such a module for the report does not fail either.
    assert!(text::print(&m, text::Dump::Elided).contains("%undefined"));
}

#[test]
fn the_number_of_reports_is_bounded() {
    let lines = "%y = unary op=neg %x : f32[b, 4]\n";
    let many: String = (0..200).map(|i| lines.replace("%y", &format!("%y{i}"))).collect();
    assert_eq!(codes(&body(&format!("{many} return"))).len(), MAX_VIOLATIONS);
}
