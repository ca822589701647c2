//! Graphs that TensorFlow has made and run (`testdata/import/control_flow`, made by `tools/gen_control_flow_cases.py`),
//! small ones written here, broken ones, and long ones.

use super::super::build::build;
use super::super::graph::{Edge, TfGraph};
use super::super::proto::{
    AttrValue, FunctionDef, GraphDef, NodeDef, OpDef, attr_value::Value, op_def::ArgDef, schema,
};
use super::super::{OpenOptions, TfModel, open, saved_model};
use super::evaluate::evaluate;
use super::*;
use proptest::prelude::*;
use prost::Message;
use prost::bytes::Bytes;
use serde_json::Value as Json;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/import/control_flow")
}

fn cases() -> serde_json::Map<String, Json> {
    let text = std::fs::read(dir().join("cases.json")).unwrap();
    serde_json::from_slice::<Json>(&text).unwrap().as_object().unwrap().clone()
}

fn texts(json: &Json) -> Vec<String> {
    json.as_array().unwrap().iter().map(|v| v.as_str().unwrap().into()).collect()
}

fn load(name: &str, about: &Json) -> TfModel {
    let options =
        OpenOptions { feeds: texts(&about["inputs"]), fetches: texts(&about["outputs"]), ..Default::default() };
    open(&dir().join(format!("{name}.pb")), &options).unwrap()
}

/// How many ops of a name there are, stateless ones included.
fn count(graph: &TfGraph, op: &str) -> usize {
    graph.op_counts().iter().filter(|(name, _)| name.strip_prefix("Stateless").unwrap_or(name) == op).map(|c| c.1).sum()
}

fn number(json: &Json) -> Option<f64> {
    json.as_f64().or(json.as_bool().map(|b| f64::from(u8::from(b))))
}

#[test]
fn values_are_tensorflows() {
    let mut compared = 0;
    let mut unknown = Vec::new();
    for (name, about) in &cases() {
        let model = load(name, about);
        for node in model.graph.functions().iter().map(|f| &f.body).chain([&model.graph.main]).flat_map(Body::nodes) {
            assert_eq!(Kind::of(&node.op), Kind::Plain, "{name} {}", node.name);
        }
        let fetches: Vec<Edge> = model.outputs.iter().map(|p| p.edge).collect();
        for run in about["runs"].as_array().unwrap() {
            let feed = run["feed"].as_object().unwrap();
            let inputs: HashMap<String, f64> = feed.iter().filter_map(|(k, v)| Some((k.clone(), number(v)?))).collect();
            match evaluate(&model.graph, &model.graph.main, &inputs, &[], &fetches, &model.init_ops) {
                Err(op) => unknown.push(format!("{name}: {op}")),
                Ok(got) => {
                    for (got, want) in got.iter().zip(run["fetch"].as_array().unwrap()) {
                        let want = number(&want["value"]).unwrap();
                        assert!((got - want).abs() <= 1e-5 * want.abs().max(1.0), "{name} {feed:?}: {got} {want}");
                        compared += 1;
                    }
                }
            }
        }
    }
    // Tensors that are no scalars, and stacks are left to the conversion's own tests.
    unknown.dedup();
    assert!(unknown.len() <= 3, "{unknown:?}");
    assert!(compared > 60, "{compared}");
}

#[test]
fn merges_of_a_decision_share_an_if() {
    let cases = cases();
    for (name, ifs, whiles) in [
        ("cond_many_outputs", 1, 0),
        ("cond_same_predicate", 1, 0),
        ("cond_chain", 3, 0),
        ("cond_nested", 3, 0),
        ("cond_nested_same", 1, 0),
        ("cond_crossed", 3, 0),
        ("merge_of_three", 2, 0),
        ("switch_n", 4, 0),
        ("while_simple", 0, 1),
        ("while_nested", 0, 2),
        ("while_deep", 0, 3),
        ("cond_in_while", 2, 1),
        ("cond_in_condition", 1, 1),
        ("while_in_cond", 1, 3),
        ("tensor_array", 0, 2),
    ] {
        let graph = load(name, &cases[name]).graph;
        assert_eq!((count(&graph, "If"), count(&graph, "While")), (ifs, whiles), "{name}");
    }
    // What both outputs of a branch need is computed once.
    assert_eq!(count(&load("cond_many_outputs", &cases["cond_many_outputs"]).graph, "Exp"), 1);
    // A constant that a loop takes is in its functions, not among its variables.
    let graph = load("while_invariants", &cases["while_invariants"]).graph;
    let body = graph.functions().iter().find(|f| f.name.ends_with("_body")).unwrap();
    assert_eq!(body.args.len(), 5, "counter, value; scale, x and n");
    assert!(body.body.nodes().iter().any(|n| &*n.op == "Const" && &*n.name == "Const"));
}

/// A graph of lines `name Op input.. ^control.. attribute=value..`; types are float unless given.
fn parse(text: &str) -> GraphDef {
    let value = |key: &str, text: &str| match (key, text.parse()) {
        (_, Ok(n)) => Value::I(n),
        (_, Err(_)) if text == "bool" => Value::Type(10),
        (_, Err(_)) if text == "true" => Value::B(true),
        _ => Value::S(Bytes::copy_from_slice(text.as_bytes())),
    };
    let node = |line: &str| {
        let mut words = line.split_whitespace();
        let mut node =
            NodeDef { name: words.next().unwrap().into(), op: words.next().unwrap().into(), ..Default::default() };
        if node.op == "Placeholder" {
            node.attr.insert("dtype".into(), AttrValue { value: Some(Value::Type(1)) });
        } else {
            node.attr.insert("T".into(), AttrValue { value: Some(Value::Type(1)) });
        }
        for word in words {
            match word.split_once('=') {
                Some((key, text)) => {
                    node.attr.insert(key.into(), AttrValue { value: Some(value(key, text)) });
                }
                None => node.input.push(word.into()),
            }
        }
        if Kind::of(&node.op) == Kind::Merge {
            let inputs = node.input.iter().filter(|i| !i.starts_with('^')).count();
            node.attr.insert("N".into(), AttrValue { value: Some(Value::I(inputs as i64)) });
        }
        node
    };
    GraphDef { node: text.lines().filter(|l| !l.trim().is_empty()).map(node).collect(), ..Default::default() }
}

fn rewrite_graph(graph: GraphDef, fetch: &str) -> Result<(TfGraph, Asked)> {
    let (body, library) = build(graph, &[])?;
    let inputs = body.iter().filter(|(_, n)| &*n.op == "Placeholder").map(|(id, _)| id).collect();
    let (name, output) = fetch.split_once(':').unwrap_or((fetch, "0"));
    let edge = Edge { node: body.find(name).unwrap(), output: output.parse().unwrap() };
    let mut asked = Asked { inputs, fetches: vec![edge], targets: vec![] };
    let mut graph = library.finish(body)?;
    functionalize(&mut graph, &mut asked)?;
    Ok((graph, asked))
}

const INPUTS: &str = "x Placeholder\np Placeholder dtype=bool\nq Placeholder dtype=bool\n";
const LOOP: &str = "
    enter Enter x frame_name=f
    merge Merge enter next
    cond LoopCond less
    less Less merge x_in
    x_in Enter x frame_name=f is_constant=true
    switch Switch merge cond
    step Add switch:1 switch:1
    next NextIteration step
    exit Exit switch
";

fn value_of(text: &str, fetch: &str, inputs: &[(&str, f64)]) -> f64 {
    let (graph, asked) = rewrite_graph(parse(&format!("{INPUTS}{text}")), fetch).unwrap();
    let inputs = inputs.iter().map(|(k, v)| (k.to_string(), *v)).collect();
    evaluate(&graph, &graph.main, &inputs, &[], &asked.fetches, &asked.targets).unwrap()[0]
}

#[test]
fn reference_forms_are_as_the_plain_ones() {
    let text = "s RefSwitch x p\na Neg s:1\nm RefMerge s a";
    assert_eq!(value_of(text, "m", &[("x", 3.0), ("p", 1.0)]), -3.0);
    assert_eq!(value_of(text, "m", &[("x", 3.0), ("p", 0.0)]), 3.0);
}

#[test]
fn what_is_between_a_variable_and_an_exit_runs_after_the_loop() {
    let text = LOOP.replace("exit Exit switch", "last Mul switch x_in\nexit Exit last");
    // Doubles -1 as long as it is less than that: never; and 1 is not less than 1.
    assert_eq!(value_of(&text, "exit", &[("x", -1.0)]), 1.0);
    assert_eq!(value_of(LOOP, "exit", &[("x", 1.0)]), 1.0);
}

#[test]
fn loops_of_one_name_are_told_apart() {
    let one = LOOP.replace("step Add", "step Sub").replace("less Less merge x_in", "less Less x_in merge");
    let mut text = one.clone();
    for name in ["enter", "merge", "cond", "less", "x_in", "switch", "step", "next", "exit"] {
        text = text.replace(&format!(" {name}"), &format!(" {name}2"));
    }
    let text = format!("{one}{text}both Add exit exit2");
    let (graph, _) = rewrite_graph(parse(&format!("{INPUTS}{text}")), "both").unwrap();
    assert_eq!(count(&graph, "While"), 2);
}

#[test]
fn a_trigger_runs_for_either_branch() {
    let text = "s Switch x p\na Neg s:1\nb Identity s\nt ControlTrigger ^a ^b\ny Neg x ^t";
    assert_eq!(value_of(text, "y", &[("x", 3.0), ("p", 1.0)]), -3.0);
}

#[test]
fn effects_in_a_function_run_in_their_branch() {
    let graph = parse(&format!("{INPUTS}call F p x\ny Neg x"));
    let body =
        parse("s Switch x:0 p:0\nok Less s:output_true:0 x:0\na Assert ok:z:0 s:output_true:0 T=float\nr Neg x:0").node;
    let mut body = body;
    let types = |list: &[i32]| super::flow::types(list);
    body[2].attr.insert("T".into(), types(&[1]));
    let arg = |name: &str, t| ArgDef { name: name.into(), r#type: t, ..Default::default() };
    let signature = OpDef {
        name: "F".into(),
        input_arg: vec![arg("p", 10), arg("x", 1)],
        output_arg: vec![arg("r", 1)],
        ..Default::default()
    };
    let function = FunctionDef {
        signature: Some(signature),
        node_def: body,
        ret: [("r".to_string(), "r:y:0".to_string())].into(),
        ..Default::default()
    };
    let mut graph = graph;
    graph.library.get_or_insert_default().function.push(function);
    let (graph, _) = rewrite_graph(graph, "call").unwrap();
    let function = |name: &str| graph.function(graph.find_function(name).unwrap()).unwrap();
    let own = function("F");
    let node = own.body.nodes().iter().find(|n| &*n.op == "If").unwrap();
    assert_eq!(own.control_rets, [own.body.find(&node.name).unwrap()]);
    let branch = |attr: &str| function(&node.func(attr).unwrap().name);
    let (then, other) = (branch("then_branch"), branch("else_branch"));
    assert_eq!(then.control_rets, [then.body.find("a").unwrap()]);
    assert!(other.control_rets.is_empty() && other.body.nodes().iter().all(|n| &*n.op == super::super::graph::ARG_OP));
}

#[test]
fn broken_control_flow_names_the_node() {
    for (text, fetch, node, what) in [
        ("m Merge x x", "m", "m", "its input `x` is of no branch"),
        ("s Switch x p\nm Merge s x", "m", "m", "its input `x` is of no branch"),
        ("s Switch x p\nt Switch x q\nm Merge s t", "m", "m", "a branch on `p` and one on `q`"),
        ("s Switch x p\nt Switch s:1 q\nm Merge s t:1", "m", "m", "only if `q` is true"),
        ("s Switch x p\ny Neg s:1", "y", "y", "only if `p` is true"),
        ("s Switch x p\nt Switch x q\ny Add s t", "y", "y", "neither inside of the other"),
        ("n NextIteration x", "n", "n", "outside of any loop"),
        ("e Exit x", "e", "e", "outside of any loop"),
        ("l LoopCond p", "l", "l", "outside of any loop"),
        ("s Switch x p\na Add b s\nb Identity a\nc Neg b", "c", "a", "on a cycle"),
        ("e Enter x frame_name=f\ne2 Enter x frame_name=g\na Add e e2\ny Exit a", "y", "a", "a loop beside it"),
        ("e Enter x frame_name=f\ny Exit e", "y", "y", "no LoopCond"),
        (&LOOP.replace("exit Exit switch", "exit Neg switch"), "exit", "exit", "inside of a loop"),
        (&LOOP.replace("exit Exit switch", "exit Exit switch:1"), "exit", "switch", "its output 1"),
        (&LOOP.replace("step Add switch:1", "step Add switch"), "exit", "switch", "its output 0"),
        (&LOOP.replace("merge Merge enter next", "merge Merge x next"), "exit", "merge", "of another loop"),
        (&LOOP.replace("merge Merge enter next", "merge Merge enter next next"), "exit", "merge", "it takes 3"),
        (
            &LOOP.replace("x_in Enter x frame_name=f is_constant=true", "x_in Enter x frame_name=f"),
            "exit",
            "x_in",
            "is_constant",
        ),
        (
            &LOOP.replace(
                "step Add switch:1 switch:1",
                "k Identity switch:1\nc2 LoopCond less\nstep Add k switch:1 ^c2",
            ),
            "exit",
            "c2",
            "another LoopCond",
        ),
        (
            &LOOP.replace("step Add switch:1 switch:1", "i Cast merge:1 SrcT=3 DstT=1\nstep Add i switch:1"),
            "exit",
            "merge",
            "value_index",
        ),
    ] {
        let mut graph = parse(&format!("{INPUTS}{text}"));
        for node in graph.node.iter_mut().filter(|n| n.op == "Cast") {
            for (key, number) in [("SrcT", 3), ("DstT", 1)] {
                node.attr.insert(key.into(), AttrValue { value: Some(Value::Type(number)) });
            }
        }
        let error = rewrite_graph(graph, fetch).map(|_| text).unwrap_err().to_string();
        assert!(error.starts_with(&format!("node `{node}` ")) && error.contains(what), "{text}\n{error}");
    }
}

/// Chains as long as the largest graphs: no recursion, and time that grows with their length.
#[test]
fn long_graphs() {
    const LENGTH: usize = 100_000;
    let chain = |op: &str, from: &str, name: &str| {
        let mut text = format!("{name}0 {op} {from}\n");
        (1..LENGTH).for_each(|i| text += &format!("{name}{i} {op} {name}{}\n", i - 1));
        text
    };
    let last = LENGTH - 1;
    let text = format!("s Switch x p\n{}m Merge s a{last}", chain("Neg", "s:1", "a"));
    assert_eq!(value_of(&text, "m", &[("x", 3.0), ("p", 1.0)]), 3.0);
    let text = format!(
        "{}{}{}",
        chain("Identity", "x", "b"),
        LOOP.replace("step Add switch:1", "step Add a99999"),
        chain("Neg", "switch:1", "a")
    );
    assert_eq!(value_of(&text, "exit", &[("x", 1.0)]), 1.0);
    // Switches one after another, and conditionals one after another.
    let mut text = String::from("s0 Switch x p\n");
    (1..LENGTH).for_each(|i| text += &format!("s{i} Switch s{}:1 p\n", i - 1));
    assert_eq!(value_of(&format!("{text}m Merge s0 s{last}:1"), "m", &[("x", 3.0), ("p", 1.0)]), 3.0);
    let mut text = String::from("m0 Identity x\n");
    for i in 1..20_000 {
        text += &format!("s{i} Switch m{} p\nn{i} Neg s{i}:1\nm{i} Merge s{i} n{i}\n", i - 1);
    }
    assert_eq!(value_of(&text, "m19999", &[("x", 3.0), ("p", 1.0)]), -3.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Graphs in which some edges lead elsewhere, or ops and flags have changed: an error or a result, never a panic.
    #[test]
    fn damaged_graphs_do_not_panic(which in 0usize..1000, changes in prop::collection::vec((0usize..10_000, 0usize..10_000, 0u8..5), 1..4)) {
        let cases = cases();
        let (name, about) = cases.iter().nth(which % cases.len()).unwrap();
        let mut graph: GraphDef = saved_model::read_message(&dir().join(format!("{name}.pb")), &schema::GRAPH_DEF).unwrap();
        let count = graph.node.len();
        for (at, to, how) in changes {
            let other = graph.node[to % count].clone();
            let node = &mut graph.node[at % count];
            let input = to % node.input.len().max(1);
            match how {
                0 | 1 if !node.input.is_empty() && !node.input[input].starts_with('^') => {
                    node.input[input] = if how == 0 { other.name } else { format!("{}:1", other.name) };
                }
                2 if Kind::of(&other.op) != Kind::Plain => (node.op, node.attr) = (other.op, other.attr),
                3 => node.input.push(format!("^{}", other.name)),
                4 => { node.attr.remove("is_constant"); }
                _ => {}
            }
        }
        let bytes = graph.encode_to_vec();
        let graph = GraphDef::decode(&*bytes).unwrap();
        let outputs = texts(&about["outputs"]);
        if let Ok((graph, asked)) = rewrite_graph(graph, &outputs[0]) {
            prop_assert!(graph.main.node(asked.fetches[0].node).is_some());
        }
    }
}
