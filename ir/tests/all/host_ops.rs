//! The ops that the host runs, against TensorFlow's results (`testdata/ops/NAME.json`): results, errors, gradients, and
//! the attributes' text form.

use crate::common::{Imported, difference, gradient, table, weights};
use kiln_ir::{Module, ParamKind, Tensor, TensorType, Value, interp};

/// Runs a function to some of its values; symbols are bound from the inputs and from results.
fn run(i: &Imported, wanted: &[Value]) -> anyhow::Result<Vec<Tensor>> {
    let mut f = i.b.func.clone();
    for (k, &v) in wanted.iter().enumerate() {
        f.add_result(&format!("y{k}"), ParamKind::Input, v);
    }
    for (_, n) in f.nodes() {
        let again = interp::with_attrs(&n.op, &n.op.attrs())?;
        assert_eq!(format!("{}", again.attrs()), format!("{}", n.op.attrs()), "{}", n.op.name());
    }
    let mut module = Module::default();
    module.funcs.push(f);
    interp::eval_function(&module, 0, &i.params, &mut |_, _| {})
}

fn check_table(file: &str) {
    let mut wrong = vec![];
    for case in table(file) {
        for symbolic in [false, true] {
            let name = format!("{}{}", case.name, if symbolic { " (symbolic)" } else { "" });
            let result = case.import(symbolic).and_then(|i| run(&i, &i.outputs).map(|got| (i, got)));
            let (mut i, got) = match (result, &case.error) {
                (Ok(r), None) => r,
                (Err(_), Some(_)) => continue,
                (Ok(_), Some(e)) => {
                    wrong.push(format!("{name} must fail with `{e}`"));
                    continue;
                }
                (Err(e), None) => {
                    wrong.push(format!("{name}: {e:#}"));
                    continue;
                }
            };
            if got.len() != case.outputs.len() {
                wrong.push(format!("{name}: {} results, not {}", got.len(), case.outputs.len()));
            }
            let tol = case.tol.unwrap_or(0.0);
            for (k, (g, w)) in got.iter().zip(&case.outputs).enumerate() {
                wrong.extend(difference(g, w, tol).map(|d| format!("{name}, result {k}: {d}")));
            }
            let Some(grads) = &case.grads else { continue };
            let mut seeds = vec![];
            for (k, (&v, t)) in i.outputs.iter().zip(&case.outputs).enumerate() {
                let ty = TensorType::new(t.dtype(), i.b.ty(v).shape.clone());
                seeds.push((v, i.b.param(&format!("w{k}"), ParamKind::Input, ty)));
                i.params.push(weights(t.dtype(), t.shape()));
            }
            let inputs = i.inputs.clone();
            let got = match gradient(&mut i.b, &seeds, &inputs) {
                Ok(g) => g,
                Err(e) => {
                    wrong.push(format!("gradient of {name}: {e:#}"));
                    continue;
                }
            };
            let values: Vec<Value> = got.iter().flatten().copied().collect();
            let mut values = match run(&i, &values) {
                Ok(v) => v.into_iter(),
                Err(e) => {
                    wrong.push(format!("gradient of {name}: {e:#}"));
                    continue;
                }
            };
            for (k, (g, want)) in got.iter().zip(grads).enumerate() {
                let g = g.and_then(|_| values.next());
                match (g, want) {
                    (Some(g), Some(want)) => {
                        let tol = 4.0 * case.tol.unwrap_or(1e-7);
                        wrong.extend(difference(&g, want, tol).map(|d| format!("gradient {k} of {name}: {d}")));
                    }
                    (None, Some(want)) if want.to_f64s().iter().flatten().any(|&x| x != 0.0) => {
                        wrong.push(format!("gradient {k} of {name} is missing"));
                    }
                    _ => {}
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

macro_rules! tables {
    ($($name:ident)*) => { $(
        #[test]
        fn $name() {
            check_table(concat!(stringify!($name), ".json"));
        }
    )* };
}
tables!(
    codecs edges features quantized image select numbers fft random linalg strings sparse audio special xla internal
);
