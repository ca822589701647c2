//! A small evaluator of functional graphs on scalars, for tests: it stands in for TensorFlow, and knows only If and
//! While.

use super::super::graph::{ARG_OP, Body, Edge, NodeId, TfGraph};
use super::super::tensor::{HostTensor, TensorData};
use std::collections::HashMap;

/// The values of `fetches`, with the inputs' by name, or with a function's arguments in order. `Err` has what
/// is not known here.
pub(super) fn evaluate(
    graph: &TfGraph,
    body: &Body,
    inputs: &HashMap<String, f64>,
    args: &[f64],
    fetches: &[Edge],
    targets: &[NodeId],
) -> Result<Vec<f64>, String> {
    let mut values: Vec<Option<Vec<f64>>> = vec![None; body.nodes().len()];
    let roots = fetches.iter().map(|e| e.node).chain(targets.iter().copied());
    let mut stack: Vec<(NodeId, bool)> = roots.map(|id| (id, false)).collect();
    while let Some((id, ready)) = stack.pop() {
        if values[id.index()].is_some() {
            continue;
        }
        let node = body.node(id).unwrap();
        if !ready {
            stack.push((id, true));
            stack.extend(node.inputs.iter().map(|e| e.node).chain(node.control.iter().copied()).map(|n| (n, false)));
            continue;
        }
        let x: Vec<f64> =
            node.inputs.iter().map(|e| values[e.node.index()].as_ref().unwrap()[e.output as usize]).collect();
        let call_function = |name: &str, args: &[f64]| {
            let function = graph.function(graph.find_function(name).unwrap()).unwrap();
            assert_eq!(function.args.len(), args.len(), "{name}");
            let rets: Vec<Edge> = function.rets.iter().map(|r| r.edge).collect();
            evaluate(graph, &function.body, inputs, args, &rets, &function.control_rets)
        };
        let call = |attr: &str, args: &[f64]| call_function(&node.func(attr).unwrap().name, args);
        let flag = |b: bool| vec![f64::from(u8::from(b))];
        values[id.index()] = Some(match &*node.op {
            ARG_OP => vec![args[node.int("index").unwrap() as usize]],
            "Placeholder" => vec![*inputs.get(&*node.name).ok_or("a vector as input")?],
            "Const" => vec![scalar(&HostTensor::from_proto(node.tensor("value").unwrap(), &node.name).unwrap())],
            "Identity" | "Cast" | "All" => vec![x[0]],
            "NoOp" => vec![],
            // The axes of an assertion's All, which are none.
            "Range" => vec![f64::NAN],
            "Add" | "AddV2" => vec![x[0] + x[1]],
            "Sub" => vec![x[0] - x[1]],
            "Mul" => vec![x[0] * x[1]],
            "Neg" => vec![-x[0]],
            "Exp" => vec![x[0].exp()],
            "Tanh" => vec![x[0].tanh()],
            "Less" => flag(x[0] < x[1]),
            "LessEqual" => flag(x[0] <= x[1]),
            "Greater" => flag(x[0] > x[1]),
            "GreaterEqual" => flag(x[0] >= x[1]),
            "LogicalAnd" => flag(x[0] * x[1] != 0.0),
            "SelectV2" => vec![if x[0] != 0.0 { x[1] } else { x[2] }],
            "Assert" if x[0] != 0.0 => vec![],
            "If" | "StatelessIf" => call(if x[0] != 0.0 { "then_branch" } else { "else_branch" }, &x[1..])?,
            "While" | "StatelessWhile" => {
                let mut x = x;
                while call("cond", &x)?[0] != 0.0 {
                    x = call("body", &x)?;
                }
                x
            }
            op if graph.find_function(op).is_some() => call_function(op, &x)?,
            op => return Err(op.into()),
        });
    }
    Ok(fetches.iter().map(|e| values[e.node.index()].as_ref().unwrap()[e.output as usize]).collect())
}

/// The value of a constant; that of a string or of more than one element is not looked at.
fn scalar(tensor: &HostTensor) -> f64 {
    let TensorData::Raw(bytes) = &tensor.data else { return f64::NAN };
    match (tensor.dtype.name(), bytes.len()) {
        ("float", 4) => f64::from(f32::from_le_bytes(bytes[..].try_into().unwrap())),
        ("int32", 4) => f64::from(i32::from_le_bytes(bytes[..].try_into().unwrap())),
        ("bool", 1) => f64::from(bytes[0]),
        _ => f64::NAN,
    }
}
