//! The array ops against TensorFlow's results (`testdata/ops/array.json`), with fixed and with symbolic shapes; their
//! gradients; and their expansions.

use crate::common::{assert_close, difference, expand, gradient, run, table, weights};
use kiln_ir::{ParamKind, TensorType};

/// Bit-equal, but for the few cases that compute with transcendental functions.
fn tolerance(name: &str) -> f64 {
    if name.starts_with("grad_") { 1e-12 } else { 0.0 }
}

#[test]
fn results_are_tensorflows() {
    for case in table("array.json") {
        for symbolic in [false, true] {
            let name = format!("{}{}", case.name, if symbolic { " (symbolic)" } else { "" });
            let result = case.import(symbolic).and_then(|i| {
                let values = run(&i.b, &i.params, &i.sizes)?;
                Ok(i.outputs.iter().map(|v| values[v].clone()).collect::<Vec<_>>())
            });
            match (result, &case.error) {
                (Ok(got), None) => {
                    assert_eq!(got.len(), case.outputs.len(), "{name}");
                    for (g, w) in got.iter().zip(&case.outputs) {
                        assert_close(&name, g, w, tolerance(&case.name));
                    }
                }
                (Ok(_), Some(e)) => panic!("{name} must fail with `{e}`"),
                (Err(e), None) => panic!("{name}: {e:#}"),
                (Err(_), Some(_)) => {}
            }
        }
    }
}

#[test]
fn failures_name_the_index_or_the_size() {
    let want = [
        ("reshape_bad", "does not divide"),
        ("strided_slice_shrink_outside", "slice index 3 of axis 0 of f32[3, 4] is out of bounds"),
        ("slice_outside", "E3: start 3 of axis 0 is not in [0, 2]"),
        ("gather_outside", "E3: indices[0, 1] = 4 is not in [0, 4)"),
        ("gather_nd_outside", "E3: indices[0] = [2, 4] is not in the shape [3, 4]"),
        ("scatter_nd_outside", "E3: indices[0] = [5] is not in the shape [5, 2]"),
    ];
    for case in table("array.json").into_iter().filter(|c| c.error.is_some()) {
        let (_, want) =
            want.iter().find(|w| w.0 == case.name).unwrap_or_else(|| panic!("no message for {}", case.name));
        let result = case.import(false).and_then(|i| run(&i.b, &i.params, &i.sizes));
        let message = format!("{:#}", result.expect_err(&case.name));
        assert!(message.contains(want), "{}: {message}", case.name);
    }
}

#[test]
fn expansions_compute_the_same() {
    for case in table("array.json").into_iter().filter(|c| c.error.is_none()) {
        for symbolic in [false, true] {
            let i = case.import(symbolic).unwrap_or_else(|e| panic!("{}: {e:#}", case.name));
            let (b, map) = expand(&i.b).unwrap_or_else(|e| panic!("{}: {e:#}", case.name));
            let values = run(&b, &i.params, &i.sizes).unwrap_or_else(|e| panic!("{}: {e:#}", case.name));
            for (v, want) in i.outputs.iter().zip(&case.outputs) {
                assert_close(&case.name, &values[&map[v]], want, tolerance(&case.name));
            }
        }
    }
}

#[test]
fn gradients_are_tensorflows() {
    let (mut tested, mut wrong) = (0, vec![]);
    for case in table("array.json") {
        let Some(grads) = &case.grads else { continue };
        for symbolic in [false, true] {
            let name = format!("gradient of {}{}", case.name, if symbolic { " (symbolic)" } else { "" });
            let mut i = case.import(symbolic).unwrap_or_else(|e| panic!("{name}: {e:#}"));
            let mut seeds = vec![];
            for (k, (&v, t)) in i.outputs.iter().zip(&case.outputs).enumerate() {
                let ty = TensorType::new(t.dtype(), i.b.ty(v).shape.clone());
                seeds.push((v, i.b.param(&format!("w{k}"), ParamKind::Input, ty)));
                i.params.push(weights(t.dtype(), t.shape()));
            }
            let inputs: Vec<_> = i.inputs.clone();
            let got = gradient(&mut i.b, &seeds, &inputs).unwrap_or_else(|e| panic!("{name}: {e:#}"));
            let values = run(&i.b, &i.params, &i.sizes).unwrap_or_else(|e| panic!("{name}: {e:#}"));
            for ((g, want), (x, _)) in got.iter().zip(grads).zip(&case.inputs) {
                match (g, want) {
                    (Some(g), Some(want)) => {
                        let tol = if want.dtype() == kiln_ir::DType::F32 { 1e-6 } else { 1e-12 };
                        wrong.extend(difference(&values[g], want, tol).map(|d| format!("{name}: {d}")));
                        tested += 1;
                    }
                    // TensorFlow gives no gradient where it gives zeros' worth: ours is absent or zero.
                    (None, Some(want)) => assert!(want.to_f64s().iter().flatten().all(|&x| x == 0.0), "{name}: {x:?}"),
                    _ => {}
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tested > 200, "only {tested} gradients were compared");
}
