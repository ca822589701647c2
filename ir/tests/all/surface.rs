//! The table `ir/src/ops/surface.tsv`: what becomes of each TensorFlow op, found out from the cases of `testdata/ops`.

use std::collections::BTreeMap;

use kiln_ir::lower::Lower;
use kiln_ir::ops::surface::{Gradient, Place};
use kiln_ir::tf::{TfAttr, TfNode};
use kiln_ir::{DType, ParamKind, Tensor, TensorType, ops};

use crate::common::{Case, Imported, expand, gradient, table};

/// The gradient of a case's floating results with respect to all of its operands.
fn gradient_of(case: &Case, mut i: Imported) -> Gradient {
    let real = |d: DType| d.is_float() || d.is_complex();
    let mut seeds = vec![];
    for (k, &v) in i.outputs.clone().iter().enumerate() {
        let ty = i.b.ty(v).clone();
        if real(ty.dtype) {
            seeds.push((v, i.b.param(&format!("w{k}"), ParamKind::Input, ty)));
        }
    }
    let wanted: Vec<_> = i.inputs.iter().copied().filter(|&v| real(i.b.ty(v).dtype)).collect();
    if seeds.is_empty() || wanted.is_empty() {
        return Gradient::None;
    }
    match gradient(&mut i.b, &seeds, &wanted) {
        Ok(g) if g.iter().any(Option::is_some) => Gradient::Yes,
        Ok(_) => Gradient::None,
        Err(e) => {
            // An error of the gradient's own node: the case's op has a gradient that is not built.
            assert!(!case.name.is_empty(), "{e:#}");
            Gradient::Missing
        }
    }
}

/// Whether nodes of a case run on the host, and whether nodes are compiled.
fn places_of(i: &Imported) -> (bool, bool) {
    let (mut host, mut compiled) = (false, false);
    let Ok((b, _)) = expand(&i.b) else { return (true, false) };
    for (_, n) in b.func.nodes() {
        let types: Vec<&TensorType> = n.inputs.iter().map(|&v| b.ty(v)).collect();
        let outside = |t: &TensorType| !t.dtype.is_plain() || t.dtype.is_complex();
        match n.op.lower(&types) {
            Lower::Constant => {}
            Lower::Host => host = true,
            _ if types.iter().any(|t| outside(t)) || n.outputs.iter().any(|&v| outside(b.ty(v))) => host = true,
            _ => compiled = true,
        }
    }
    (host, compiled)
}

/// A node of the op on one to three arrays of one shape, for the first type and number of operands that it takes.
fn plain_case(op: &str) -> Option<Case> {
    for dtype in [DType::F32, DType::I32, DType::Bool, DType::C64] {
        for operands in 1..=3 {
            let attrs = [("T".to_string(), TfAttr::Type(dtype))].into_iter().collect();
            let case = Case {
                name: format!("{op} of {operands} {dtype}"),
                node: TfNode { name: "n".into(), op: op.into(), attrs },
                inputs: vec![(Tensor::zeros(dtype, &[2, 3]), false); operands],
                outputs: vec![],
                grads: None,
                symbolic: vec![],
                error: None,
                tol: None,
            };
            if case.import(false).is_ok_and(|i| !i.outputs.is_empty()) {
                return Some(case);
            }
        }
    }
    None
}

#[test]
fn the_table_says_what_the_cases_become() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/ops");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n.ends_with(".json"))
        .collect();
    files.sort();
    let mut found: BTreeMap<String, (Vec<Gradient>, Vec<Place>)> = BTreeMap::new();
    for case in files.iter().flat_map(|f| table(f)).filter(|c| c.error.is_none()) {
        let Ok(i) = case.import(false) else { continue };
        let entry = found.entry(case.node.op.to_string()).or_default();
        // Any node on the host makes the whole op one that needs a host.
        entry.1.push(match places_of(&i) {
            (true, _) => Place::Host,
            (false, _) => Place::Compiled,
        });
        entry.0.push(gradient_of(&case, i));
    }
    // Ops without a case that take arrays of one shape and no attributes but their type: mostly elementwise ones.
    for op in ops::tf_bindings().map(|b| b.op).filter(|op| !found.contains_key(*op)).collect::<Vec<_>>() {
        if let Some(case) = plain_case(op) {
            let i = case.import(false).expect("it was imported before");
            let place = if places_of(&i).0 { Place::Host } else { Place::Compiled };
            found.insert(op.to_string(), (vec![gradient_of(&case, i)], vec![place]));
        }
    }
    let mut lines = String::new();
    for (op, (gradients, places)) in found {
        let gradient = [Gradient::Yes, Gradient::Missing].into_iter().find(|g| gradients.contains(g));
        let place = match (places.contains(&Place::Compiled), places.contains(&Place::Host)) {
            (true, true) => Place::Both,
            (true, false) => Place::Compiled,
            _ => Place::Host,
        };
        lines += &format!("{op}\t{}\t{}\n", gradient.unwrap_or(Gradient::None).name(), place.name());
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/ops/surface.tsv");
    if std::env::var_os("KILN_BLESS").is_some_and(|v| v == "1") {
        std::fs::write(path, lines).unwrap();
        return;
    }
    let have = std::fs::read_to_string(path).unwrap();
    let changed = lines.lines().filter(|l| !have.lines().any(|h| h == *l)).collect::<Vec<_>>();
    assert!(have == lines, "{path} is out of date (KILN_BLESS=1 rewrites it); new or changed: {changed:#?}");
}
