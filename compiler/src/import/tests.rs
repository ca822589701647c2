//! The importer against TensorFlow: files in `testdata/import` (made by `tools/gen_import_cases.py`) and the values that
//! TensorFlow reads from them; then damaged files.

use super::proto::{AttrValue, TensorProto, schema};
use super::*;
use prost::Message;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::fs;

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/import")
}

fn json(name: &str) -> Json {
    serde_json::from_slice(&fs::read(dir().join(name)).unwrap()).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn tensor_of(json: &Json) -> HostTensor {
    let dtype = TfDType::from_name(json["dtype"].as_str().unwrap()).unwrap();
    let shape = json["shape"].as_array().unwrap().iter().map(|d| d.as_i64().unwrap()).collect();
    let data = match json["strings"].as_array() {
        Some(strings) => TensorData::Strings(strings.iter().map(|s| hex(s.as_str().unwrap())).collect()),
        None => TensorData::Raw(hex(json["hex"].as_str().unwrap()).into()),
    };
    HostTensor { dtype, shape, data }
}

fn model(name: &str, signature: &str) -> TfModel {
    open(&dir().join(name), &OpenOptions { signature: Some(signature.into()), ..Default::default() }).unwrap()
}

#[test]
fn checkpoints_read_as_tensorflow_reads_them() {
    let expected = json("checkpoints.json");
    for (name, tensors) in expected.as_object().unwrap() {
        let checkpoint = Checkpoint::open(&dir().join(name)).unwrap();
        for (key, want) in tensors.as_object().unwrap() {
            let (key, slice) = key.split_once('|').unwrap_or((key, ""));
            assert_eq!(checkpoint.read_slice(key, slice).unwrap(), tensor_of(want), "{name} {key} {slice}");
        }
    }
    let sliced = Checkpoint::open(&dir().join("sliced")).unwrap();
    assert_eq!(sliced.keys().collect::<Vec<_>>(), ["grid", "large", "rows", "whole", "words"]);
    assert_eq!(sliced.tensor("grid").unwrap().slices, 3);
    assert!(sliced.read_slice("rows", "10 5 -:-").unwrap_err().to_string().contains("[10, 5]"));
    let missing = sliced.read("none").unwrap_err().to_string();
    assert!(missing.contains("no tensor `none`; there are: `grid`"), "{missing}");
    // A folder with a state file means its latest checkpoint.
    assert_eq!(Checkpoint::open(&dir()).unwrap().prefix().file_name().unwrap(), "shards");
}

#[test]
fn constants_read_as_tensorflow_reads_them() {
    let graph: GraphDef = saved_model::read_message(&dir().join("tensors.pb"), &schema::GRAPH_DEF).unwrap();
    let expected = json("tensors.json");
    assert_eq!(graph.node.len(), expected.as_object().unwrap().len());
    let (body, _) = build::build(graph, &[]).unwrap();
    for node in body.nodes() {
        let got = HostTensor::from_proto(node.tensor("value").unwrap(), &node.name).unwrap();
        assert_eq!(got, tensor_of(&expected[&*node.name]), "{}", node.name);
    }
}

#[test]
fn absent_attributes_become_tensorflows_defaults() {
    let model = open(&dir().join("defaults.pb"), &OpenOptions::default()).unwrap();
    let expected = json("defaults.json");
    let mut compared = 0;
    for node in model.graph.main.nodes() {
        let got: BTreeMap<&String, Vec<u8>> =
            node.attrs.iter().filter(|(k, _)| !k.starts_with('_')).map(|(k, v)| (k, v.encode_to_vec())).collect();
        let want = expected[&*node.name].as_object().unwrap();
        assert_eq!(got.keys().copied().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>(), "{}", node.name);
        for (key, bytes) in got {
            // Decoded again: an empty list may be written in two ways.
            let want = AttrValue::decode(&*hex(want[key].as_str().unwrap())).unwrap();
            assert_eq!(AttrValue::decode(&*bytes).unwrap(), want, "{} {key}", node.name);
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared}");
}

#[test]
fn text_and_binary_forms_agree() {
    fn same<M: Message + Default + PartialEq + std::fmt::Debug>(name: &str, schema: &'static schema::Message) {
        let binary: M = saved_model::read_message(&dir().join(format!("{name}.pb")), schema).unwrap();
        let text: M = saved_model::read_message(&dir().join(format!("{name}.pbtxt")), schema).unwrap();
        assert!(binary.encoded_len() > 20);
        assert!(binary == text, "{name}:\n{binary:#?}\n{text:#?}");
    }
    same::<MetaGraphDef>("text_meta_graph", &schema::META_GRAPH);
    same::<GraphDef>("text_graph", &schema::GRAPH_DEF);
    same::<proto::TrackableObjectGraph>("text_trackable", &schema::TRACKABLE_GRAPH);
    same::<proto::BundleEntryProto>("text_bundle_entry", &schema::BUNDLE_ENTRY);
    same::<proto::VariableDef>("text_variable", &schema::VARIABLE_DEF);
    // NaN is not equal to itself: compared by its bytes.
    let bytes = |name: &str| {
        let graph: GraphDef = saved_model::read_message(&dir().join(name), &schema::GRAPH_DEF).unwrap();
        graph.encode_to_vec()
    };
    assert_eq!(bytes("tricky.pb"), bytes("tricky.pbtxt"));
}

/// What TensorFlow's loader says of a model: variables, ports, and the edges of functions' bodies.
fn check_model(name: &str, signatures: &[&str]) {
    let expected = &json("models.json")[name];
    let mut read = 0;
    for key in signatures {
        let model = model(name, key);
        assert_eq!(model.signature.as_deref(), Some(*key));
        for (side, ports) in [("inputs", &model.inputs), ("outputs", &model.outputs)] {
            let want = expected["signatures"][key][side].as_object().unwrap();
            assert_eq!(ports.len(), want.len());
            for port in ports {
                let want = &want[&port.key];
                assert_eq!(port.tensor.to_string(), want[0].as_str().unwrap());
                assert_eq!(port.dtype.name(), want[1].as_str().unwrap());
                let dims = port.shape.iter().flatten().map(|d| d.unwrap_or(-1)).collect::<Vec<_>>();
                assert_eq!(Json::from(dims), want[2], "{key} {}", port.key);
            }
        }
        for port in &model.inputs {
            assert_eq!(&*model.graph.main.node(port.edge.node).unwrap().op, "Placeholder");
        }
        for (variable, about) in model.variables.variables() {
            if about.dtype == Some(TfDType::String) {
                // The path of an asset, which the initializer assigns.
                assert!(about.location.is_none() && !model.init_ops.is_empty());
                continue;
            }
            let want = &expected["variables"][variable];
            assert_eq!(model.variables.read(variable).unwrap(), tensor_of(want), "{name} {variable}");
            read += 1;
        }
        for function in model.graph.functions() {
            check_edges(function, &expected["edges"][&*function.name]);
        }
    }
    assert!(read > 0);
}

fn check_edges(function: &Function, want: &Json) {
    let mut checked = 0;
    for node in function.body.nodes().iter().filter(|n| &*n.op != graph::ARG_OP) {
        let name = |e: &Edge| format!("{}:{}", function.body.node(e.node).unwrap().name, e.output);
        let got: Vec<String> = node.inputs.iter().map(name).collect();
        assert_eq!(Json::from(got), want[&*node.name], "{} {}", function.name, node.name);
        checked += 1;
    }
    assert!(checked > 0, "{}", function.name);
}

#[test]
fn a_keras_export_with_a_loop() {
    check_model("keras", &["serving_default", "serve"]);
    let model = model("keras", "serving_default");
    // Every weight is stored twice; the signature reaches each once, and no variable of the seed generators.
    assert!(model.graph.functions().iter().any(|f| f.body.nodes().iter().any(|n| &*n.op == "TensorListSetItem")));
    assert!(model.variables.variables().values().all(|v| v.location.is_some()));
    assert!(model.init_ops.is_empty());
    assert!(model.graph.producer > 1000 && model.tensorflow_version.starts_with("2."));
}

#[test]
fn a_module_with_equal_names_and_a_table() {
    check_model("module", &["serving_default", "lookup"]);
    let forward = model("module", "serving_default");
    let names: Vec<&String> = forward.variables.variables().keys().collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(forward.init_ops.is_empty());
    let lookup = model("module", "lookup");
    assert_eq!(lookup.init_ops.len(), 1);
    assert_eq!(fs::read(&lookup.assets[0].path).unwrap(), b"red\ngreen\nblue\n");
    assert!(lookup.assets[0].edge.is_some(), "the initializer reads the asset");
    let error =
        open(&dir().join("module"), &OpenOptions { signature: Some("x".into()), ..Default::default() }).unwrap_err();
    assert!(error.to_string().ends_with("no signature `x`; there are: `lookup`, `serving_default`"), "{error}");
}

#[test]
fn variables_are_found_through_the_objects_alone() {
    let path = dir().join("module/saved_model.pb");
    let expected = &json("models.json")["module"]["variables"];
    let mut meta = saved_model::select_meta_graph(saved_model::read(&path).unwrap(), &[]).unwrap();
    meta.saver_def = None;
    let folder = dir().join("module");
    let source =
        Source { path: &folder, dir: &folder, tag_sets: vec![], checkpoint: Some(folder.join("variables/variables")) };
    let model =
        open_meta(source, meta, &OpenOptions { signature: Some("serving_default".into()), ..Default::default() })
            .unwrap();
    for (name, variable) in model.variables.variables() {
        assert!(variable.location.is_some(), "{name}");
        assert_eq!(model.variables.read(name).unwrap(), tensor_of(&expected[name]), "{name}");
    }
    assert_eq!(model.variables.variables().len(), 3);
}

#[test]
fn a_tensorflow_1_model() {
    check_model("v1", &["scores"]);
    let scores = model("v1", "scores");
    let names: Vec<&str> = scores.variables.variables().keys().map(String::as_str).collect();
    assert_eq!(names, ["net/parts/part_0", "net/parts/part_1", "net/step", "net/w", "res/b"]);
    assert_eq!(scores.variables.variables()["net/parts/part_1"].location.as_ref().unwrap().slice, "5 3 3,2:0,3");
    let ids = model("v1", "ids");
    assert_eq!(ids.init_ops.len(), 1);
    assert_eq!(fs::read(&ids.assets[0].path).unwrap(), b"yes\nno\n");
    let tags = OpenOptions { tags: vec!["train".into()], ..Default::default() };
    let error = open(&dir().join("v1"), &tags).unwrap_err().to_string();
    assert!(error.contains("`train`; there are: `serve`, `serve,gpu`"), "{error}");
    let gpu = OpenOptions {
        tags: vec!["gpu".into(), "serve".into()],
        signature: Some("scores".into()),
        ..Default::default()
    };
    assert_eq!(open(&dir().join("v1"), &gpu).unwrap().variables.variables().len(), 5);
}

#[test]
fn feeds_cut_the_graph() {
    let path = dir().join("v1");
    let options =
        OpenOptions { feeds: vec!["add:0".into()], fetches: vec!["y".into(), "add".into()], ..Default::default() };
    let model = open(&path, &options).unwrap();
    let main = &model.graph.main;
    assert_eq!((model.inputs[0].key.as_str(), model.inputs[0].dtype), ("add:0", TfDType::Float));
    assert_eq!(model.outputs[1].edge, model.inputs[0].edge);
    assert!(main.find("MatMul").is_none() && main.find("x").is_none());
    assert_eq!(model.variables.variables().len(), 2);
    for (feeds, fetches, want) in [
        (&["^x"][..], &["y"][..], "`^x`: not a tensor's name"),
        (&["x"], &["nothing"], "no node `nothing`"),
        (&["x:1"], &["y"], "output 1 is asked for, the node has 1"),
        (&["x", "x:0"], &["y"], "fed twice"),
    ] {
        let text = |t: &[&str]| t.iter().map(|s| s.to_string()).collect();
        let options = OpenOptions { feeds: text(feeds), fetches: text(fetches), ..Default::default() };
        let error = open(&path, &options).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
}

#[test]
fn a_checkpoint_of_elsewhere() {
    // Another checkpoint without the keys: the variables are known to have no value, and say so.
    let checkpoint_path = Some(dir().join("dtypes"));
    let model = open(
        &dir().join("v1"),
        &OpenOptions { signature: Some("scores".into()), checkpoint_path, ..Default::default() },
    )
    .unwrap();
    let error = model.variables.read("net/w").unwrap_err().to_string();
    assert!(error.starts_with("node `net/w` (VariableV2): the checkpoint") && error.contains("no value"), "{error}");
    assert_eq!(model.init_ops.len(), 1, "what no checkpoint holds, an initializer may set");
}

/// A copy of a checkpoint, one byte of its index or shard changed.
#[test]
fn damaged_checkpoints_are_errors_or_right() {
    let folder = tempfile::tempdir().unwrap();
    for (name, step) in [("sliced", 1), ("dtypes", 5)] {
        let expected = json("checkpoints.json");
        let expected: Vec<(String, HostTensor)> =
            expected[name].as_object().unwrap().iter().map(|(k, v)| (k.clone(), tensor_of(v))).collect();
        let data = format!("{name}.data-00000-of-00001");
        let index = fs::read(dir().join(format!("{name}.index"))).unwrap();
        let shard = fs::read(dir().join(&data)).unwrap();
        let shard = if shard.len() > 4000 { shard.iter().copied().chain([0]).collect() } else { shard };
        fs::write(folder.path().join(&data), &shard).unwrap();
        let check = |what: &str| {
            let Ok(checkpoint) = Checkpoint::open(&folder.path().join(name)) else {
                return false;
            };
            let mut all = true;
            for (key, want) in &expected {
                let (key, slice) = key.split_once('|').unwrap_or((key, ""));
                match checkpoint.read_slice(key, slice) {
                    Ok(got) => assert_eq!(got, *want, "{what}: {key}"),
                    Err(_) => all = false,
                }
            }
            all
        };
        let path = folder.path().join(format!("{name}.index"));
        fs::write(&path, &index).unwrap();
        assert!(check("whole"));
        for i in (0..index.len()).step_by(step) {
            let mut damaged = index.clone();
            damaged[i] ^= 1 << (i / step % 8);
            fs::write(&path, &damaged).unwrap();
            check(&format!("index byte {i}"));
            fs::write(&path, &index[..i]).unwrap();
            assert!(!check("cut"), "{name} cut at {i}");
        }
        fs::write(&path, &index).unwrap();
        for i in (0..shard.len()).step_by(29) {
            let mut damaged = shard.clone();
            damaged[i] ^= 0x40;
            fs::write(folder.path().join(&data), &damaged).unwrap();
            check(&format!("shard byte {i}"));
        }
        fs::write(folder.path().join(&data), &shard[..shard.len() / 2]).unwrap();
        assert!(!check("shard cut"));
    }
}

/// Changes in an index whose checksums are right again: what the checksums hide from the test above.
#[test]
fn forged_indices_do_not_panic() {
    use super::sstable::tests::write;
    let index = fs::read(dir().join("sliced.index")).unwrap();
    let mut entries = BTreeMap::new();
    sstable::read(&index.into(), |k, v| {
        entries.insert(k.to_vec(), v.to_vec());
        Ok(())
    })
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::copy(dir().join("sliced.data-00000-of-00001"), folder.path().join("sliced.data-00000-of-00001")).unwrap();
    let keys: Vec<Vec<u8>> = entries.keys().cloned().collect();
    for key in &keys {
        for i in 0..entries[key].len() {
            for bit in [1, 0x40] {
                let mut forged = entries.clone();
                forged.get_mut(key).unwrap()[i] ^= bit;
                fs::write(folder.path().join("sliced.index"), write(&forged, 5, 3, true)).unwrap();
                if let Ok(checkpoint) = Checkpoint::open(&folder.path().join("sliced")) {
                    for key in checkpoint.keys() {
                        let _ = checkpoint.read(key);
                    }
                }
            }
        }
    }
}

#[test]
fn damaged_graphs_do_not_panic() {
    for name in ["defaults.pb", "tricky.pb", "tensors.pb", "text_graph.pb"] {
        let whole = fs::read(dir().join(name)).unwrap();
        for i in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[i] ^= 1 << (i % 8);
            for bytes in [damaged, whole[..i].to_vec()] {
                let Ok(graph) = wire::decode::<GraphDef>(&schema::GRAPH_DEF, bytes.into()) else {
                    continue;
                };
                for tensor in graph.node.iter().filter_map(|n| n.attr.get("value")).filter_map(|a| a.value.as_ref()) {
                    if let proto::attr_value::Value::Tensor(tensor) = tensor
                        && small(tensor)
                    {
                        let _ = HostTensor::from_proto(tensor, "t");
                    }
                }
                let source = Source { path: Path::new("x"), dir: Path::new("."), tag_sets: vec![], checkpoint: None };
                let _ = assemble(source, Parts { graph, ..Parts::default() }, &OpenOptions::default());
            }
        }
    }
}

/// Whether a test can afford to fill the tensor: the limit itself is 2 GiB.
fn small(tensor: &TensorProto) -> bool {
    let dims = tensor.tensor_shape.iter().flat_map(|s| &s.dim);
    dims.fold(1i64, |n, d| n.saturating_mul(d.size.saturating_abs())) < 1 << 20
}

#[test]
fn a_million_nodes_in_one_chain() {
    let count = 1_000_000usize;
    let attr = |dtype| AttrValue { value: Some(proto::attr_value::Value::Type(dtype)) };
    let node = |i: usize| proto::NodeDef {
        name: format!("n{i}"),
        op: if i == 0 { "Placeholder".into() } else { "Identity".into() },
        // In the reverse of the file's order, every second edge a control edge as well.
        input: if i == 0 {
            vec![]
        } else {
            vec![format!("n{}", i - 1)].into_iter().chain(i.is_multiple_of(2).then(|| format!("^n{}", i - 1))).collect()
        },
        attr: [(if i == 0 { "dtype" } else { "T" }.to_string(), attr(1))].into(),
        ..Default::default()
    };
    let graph = GraphDef { node: (0..count).rev().map(node).collect(), ..Default::default() };
    let bytes = graph.encode_to_vec();
    drop(graph);
    let graph = wire::decode(&schema::GRAPH_DEF, bytes.into()).unwrap();
    let source = Source { path: Path::new("x"), dir: Path::new("."), tag_sets: vec![], checkpoint: None };
    let model = assemble(source, Parts { graph, ..Parts::default() }, &OpenOptions::default()).unwrap();
    assert_eq!(model.graph.main.nodes().len(), count);
    assert_eq!((model.inputs[0].key.as_str(), model.outputs[0].key.as_str()), ("n0", "n999999"));
}

#[test]
fn calls_in_calls_do_not_overflow_the_stack() {
    // The restore op takes the result of a call that takes the result of a call, and so on; and functions call themselves.
    let text = |i: usize| {
        let input = if i == 0 { String::new() } else { format!("input: 'c{}'", i - 1) };
        format!("node {{ name: 'c{i}' op: 'f' {input} }}\n")
    };
    let calls: String = (1..20_000).map(text).collect();
    let graph = format!(
        "{calls} node {{ name: 'c0' op: 'Const' attr {{ key: 'dtype' value {{ type: DT_FLOAT }} }} }} \
         node {{ name: 'v' op: 'VarHandleOp' attr {{ key: 'dtype' value {{ type: DT_FLOAT }} }} }} \
         node {{ name: 'a' op: 'AssignVariableOp' input: 'v' input: 'c19999' attr {{ key: 'dtype' value {{ type: DT_FLOAT }} }} }} \
         library {{ function {{ signature {{ name: 'f' input_arg {{ name: 'x' type: DT_FLOAT }} output_arg {{ name: 'y' type: DT_FLOAT }} }} \
         node_def {{ name: 'n' op: 'f' input: 'x' }} ret {{ key: 'y' value: 'n:y:0' }} }} }}"
    );
    let graph: GraphDef = pbtxt::decode(&schema::GRAPH_DEF, graph.as_bytes()).unwrap();
    let (body, library) = build::build(graph, &[]).unwrap();
    assert_eq!(restore::trace(&body, &library, "a").unwrap(), restore::Restores::default());
    assert_eq!(library.finish(body).unwrap().functions().len(), 1);
}

#[test]
fn graphs_that_contradict_themselves_name_the_node() {
    let cases = [
        ("node { name: 'a' op: 'Identity' input: 'b' }", "node `a` (Identity): input `b`: there is no such node"),
        (
            "node { name: 'a' op: 'NoOp' } node { name: 'a' op: 'NoOp' }",
            "node `a` (NoOp): there are two nodes of this name",
        ),
        (
            "node { name: 'a' op: 'Const' attr { key: 'dtype' value { type: DT_FLOAT } } } \
             node { name: 'b' op: 'Relu' input: 'a:1' attr { key: 'T' value { type: DT_FLOAT } } }",
            "node `b` (Relu): input `a:1`: that node has 1 outputs",
        ),
        (
            "node { name: 'b' op: 'Relu' attr { key: 'T' value { type: DT_FLOAT } } }",
            "node `b` (Relu): the op takes 1 inputs, the node has 0",
        ),
        (
            "node { name: 'c' op: 'f' } library { function { signature { name: 'f' output_arg { name: 'y' type: DT_FLOAT } } \
             node_def { name: 'n' op: 'MyOwn' } ret { key: 'y' value: 'n:out:0' } } }",
            "function `f`: result `y`: op `MyOwn` is unknown",
        ),
    ];
    for (text, want) in cases {
        let graph = pbtxt::decode(&schema::GRAPH_DEF, text.as_bytes()).unwrap();
        let source = Source { path: Path::new("x"), dir: Path::new("."), tag_sets: vec![], checkpoint: None };
        let error =
            assemble(source, Parts { graph, ..Parts::default() }, &OpenOptions::default()).unwrap_err().to_string();
        assert!(error.starts_with(want), "{error}");
    }
}

/// A folder with large test data: `KILN_SHARED`, or `../shared` beside the repository; `None` (and a word about it) if
/// there is none.
fn shared(folder: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let path = std::env::var_os("KILN_SHARED").map_or_else(beside, PathBuf::from).join(folder);
    if !path.is_dir() {
        eprintln!("skipped: no folder {}", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn real_models_open() {
    let Some(models) = shared("models") else {
        return;
    };
    let mut opened = 0;
    for folder in fs::read_dir(models).unwrap().map(|f| f.unwrap().path()).filter(|f| f.is_dir()) {
        let meta: Json = serde_json::from_slice(&fs::read(folder.join("meta.json")).unwrap()).unwrap();
        for path in [folder.join("model.pb"), folder.join("saved_model")].into_iter().filter(|p| p.exists()) {
            let model = open(&path, &OpenOptions::default()).unwrap();
            assert!(!model.outputs.is_empty());
            for variable in model.variables.variables().keys() {
                model.variables.read(variable).unwrap();
            }
            if path.ends_with("model.pb") {
                let ports = |side: &str| meta[side].as_object().unwrap().values().cloned().collect::<Vec<_>>();
                let names =
                    |side: &str| ports(side).iter().map(|p| p["tensor"].as_str().unwrap().to_string()).collect();
                let options = OpenOptions { feeds: names("inputs"), fetches: names("outputs"), ..Default::default() };
                check_ports(&open(&path, &options).unwrap(), |side, key| {
                    let port = ports(side).into_iter().find(|p| p["tensor"] == key)?;
                    Some(port["dtype"].as_str()?.to_string())
                });
            }
            opened += 1;
        }
    }
    assert!(opened > 0);
}

/// The types of ports against numpy's names of them.
fn check_ports(model: &TfModel, want: impl Fn(&str, &str) -> Option<String>) {
    for (side, ports) in [("inputs", &model.inputs), ("outputs", &model.outputs)] {
        for port in ports {
            let name = match port.dtype {
                TfDType::Float => "float32",
                TfDType::Double => "float64",
                TfDType::Half => "float16",
                other => other.name(),
            };
            let want = want(side, &port.key).unwrap();
            assert!(want == name || want.starts_with(name), "{side} {}: {name}, want {want}", port.key);
        }
    }
}

#[test]
fn conformance_graphs_open() {
    let Some(folder) = shared("conformance") else {
        return;
    };
    let cases: Json = serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
    for case in cases.as_array().unwrap() {
        let ports = |side: &str| case[side].as_array().unwrap().clone();
        let names = |side: &str| ports(side).iter().map(|p| p["name"].as_str().unwrap().to_string()).collect();
        let path = folder.join(case["graph"].as_str().unwrap());
        let options = OpenOptions { feeds: names("inputs"), fetches: names("outputs"), ..Default::default() };
        let model = open(&path, &options).unwrap_or_else(|e| panic!("{e}"));
        let dtype = |side: &str, key: &str| {
            let port = ports(side).into_iter().find(|p| p["name"] == key)?;
            Some(port["dtype"].as_str()?.to_string())
        };
        check_ports(&model, dtype);
        // The index names the ops of the whole file: none may come from elsewhere, but the placeholder of a feed and
        // what has taken the place of old control flow, of which nothing is left.
        let in_file = |op: &str| case["ops"].as_array().unwrap().iter().any(|o| o == op);
        for op in model.graph.op_counts().keys().filter(|op| &***op != "Placeholder") {
            let functional = ["If", "While"].contains(&op.strip_prefix("Stateless").unwrap_or(op)) && in_file("Merge");
            assert!(in_file(op) || functional || model.graph.find_function(op).is_some(), "{}: {op}", case["id"]);
            let old = ["Switch", "Merge", "Enter", "Exit", "NextIteration", "LoopCond"].contains(&&**op);
            assert!(!old, "{}: {op}", case["id"]);
        }
        for node in model.graph.main.nodes().iter().filter(|n| &*n.op == "Const") {
            HostTensor::from_proto(node.tensor("value").unwrap(), &node.name).unwrap();
        }
    }
}

mod text_properties {
    use super::*;
    use proptest::prelude::*;

    /// Bytes as a string of the text form, every byte as an octal escape or itself.
    fn quoted(bytes: &[u8]) -> String {
        let one = |b: &u8| {
            if b.is_ascii_alphanumeric() { char::from(*b).to_string() } else { format!("\\{b:03o}") }
        };
        format!("\"{}\"", bytes.iter().map(one).collect::<String>())
    }

    proptest! {
        #[test]
        fn values_survive(s in proptest::collection::vec(any::<u8>(), 0..30), i: i64, f: f32, ints in proptest::collection::vec(any::<i64>(), 0..5)) {
            let text = format!("list {{ s: {} i: {i} f: {f:e} i: {ints:?} }}", quoted(&s));
            let value: AttrValue = pbtxt::decode(&schema::ATTR_VALUE, text.as_bytes()).unwrap();
            let Some(proto::attr_value::Value::List(list)) = value.value else { panic!() };
            prop_assert_eq!(&list.s[0][..], &s[..]);
            prop_assert_eq!(list.i, [&[i][..], &ints].concat());
            prop_assert!(list.f[0].to_bits() == f.to_bits() || f.is_nan());
        }

        #[test]
        fn noise_does_not_panic(noise in "[a-z{}<>:\\[\\],;\"'\\\\0-9x.#\n -]{0,80}", name in 0usize..4) {
            let start = ["", "node { name: ", "node { attr { key: 'k' value { tensor { ", "versions { producer: "][name];
            let _ = pbtxt::to_binary(&schema::GRAPH_DEF, format!("{start}{noise}").as_bytes());
        }

        #[test]
        fn bytes_do_not_panic(noise in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = pbtxt::to_binary(&schema::GRAPH_DEF, &noise);
            let _ = wire::decode::<GraphDef>(&schema::GRAPH_DEF, noise.clone().into());
            let _ = wire::decode::<proto::SavedModel>(&schema::SAVED_MODEL, noise.into());
        }
    }

    #[test]
    fn nesting_is_limited() {
        let text = "list { func { attr { value { ".repeat(10_000);
        let error = pbtxt::to_binary(&schema::ATTR_VALUE, text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("nested deeper"), "{error}");
        let ignored = format!("node {{ experimental_type {}", "{ a ".repeat(100_000));
        assert!(pbtxt::to_binary(&schema::GRAPH_DEF, ignored.as_bytes()).is_err());
    }

    #[test]
    fn errors_have_a_line_and_a_column() {
        let cases = [
            ("node {\n  nam: 'a' }", "line 2, column 3: NodeDef has no field `nam`"),
            ("node { name: 'a' name: 'b' }", "line 1, column 18: field `name` of NodeDef is given twice"),
            ("node { name: 'a", "line 1, column 14: a string is not closed"),
            (
                "versions { producer: 99999999999 }",
                "line 1, column 22: field `producer` needs an integer of 32 bits, found `99999999999`",
            ),
            (
                "node { attr { value { type: DT_FLAOT } } }",
                "line 1, column 29: `DT_FLAOT` is not a value of field `type`",
            ),
            ("node { name: '\\q' }", "line 1, column 14: `\\q` is not an escape"),
            ("node {", "line 1, column 7: the text ends inside of a message"),
            ("node { > }", "line 1, column 8: expected a field's name, found `>`"),
        ];
        for (text, want) in cases {
            assert_eq!(pbtxt::to_binary(&schema::GRAPH_DEF, text.as_bytes()).unwrap_err().to_string(), want);
        }
    }
}
