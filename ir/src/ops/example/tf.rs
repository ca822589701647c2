//! TensorFlow's parsers of Examples: their columns, in each version's way of listing them.

use anyhow::{Context, Result, bail};

use super::ParseExample;
use crate::graph::{TensorType, Value};
use crate::ops::host::{strings, tf_ops};
use crate::tensor::Tensor;
use crate::tf::{TfBinding, TfCx};
use crate::{DType, Dim};

/// The columns of one kind: keys, types (with shapes where dense), types of splits where ragged.
struct Group {
    kind: char,
    keys: Vec<Vec<u8>>,
    types: Vec<TensorType>,
    splits: Vec<DType>,
}

impl Group {
    fn plain(kind: char, keys: Vec<Vec<u8>>, types: Vec<DType>, splits: Vec<DType>) -> Group {
        Group { kind, keys, types: types.into_iter().map(|d| TensorType::fixed(d, &[])).collect(), splits }
    }

    fn dense(kind: char, keys: Vec<Vec<u8>>, types: Vec<DType>, shapes: Vec<Shape>) -> Result<Group> {
        if types.len() != shapes.len() {
            bail!("{} shapes for {} dense keys", shapes.len(), types.len());
        }
        // A first extent that is not given varies; its number is of no account.
        let ty = |(d, shape): (DType, Shape)| {
            let shape = shape.context("a dense feature has a shape of unknown rank")?;
            let fixed = |(axis, n): (usize, &Option<i64>)| match n {
                Some(n) => Ok(Dim::from(*n)),
                None if axis == 0 && kind == 'd' => Ok(Dim::from(-1)),
                None => bail!("the shape {shape:?} of a dense feature is not defined"),
            };
            Ok(TensorType::new(d, shape.iter().enumerate().map(fixed).collect::<Result<_>>()?))
        };
        let types = types.into_iter().zip(shapes).map(ty).collect::<Result<_>>()?;
        Ok(Group { kind, keys, types, splits: vec![] })
    }
}

type Shape = Option<Vec<Option<i64>>>;

/// How many results a column of a kind has.
fn width(kind: char) -> usize {
    match kind {
        's' | 'S' | 'R' => 3,
        'r' | 'D' | 'E' => 2,
        _ => 1,
    }
}

/// Builds the op and returns its results in the order of TensorFlow's outputs: a list for each part of each group.
/// `empty` says which of the lists of dense features may be missing.
fn build(
    cx: &mut TfCx<'_>,
    groups: Vec<Group>,
    names: Option<Value>,
    defaults: &[Value],
    empty: &[bool],
) -> Result<Vec<Value>> {
    let (mut keys, mut kinds, mut types, mut splits, mut counts) = (vec![], String::new(), vec![], vec![], vec![]);
    for g in &groups {
        if g.keys.len() != g.types.len() || (matches!(g.kind, 'r' | 'R') && g.splits.len() != g.keys.len()) {
            bail!("{} keys for {} types", g.keys.len(), g.types.len());
        }
        splits.extend(&g.splits);
        for (i, (key, ty)) in g.keys.iter().zip(&g.types).enumerate() {
            let kind = match g.kind {
                'd' if ty.shape.first().is_some_and(|d| d.is(-1)) => 'v',
                'D' if empty.get(i) == Some(&true) => 'E',
                other => other,
            };
            let symbols = match kind {
                'd' => 0,
                'R' => 2,
                _ => 1,
            };
            counts.extend((0..symbols).map(|_| cx.b.fresh_dim("values")));
            kinds.push(kind);
            keys.push(key.clone());
            types.push(ty.clone());
        }
    }
    let names = match names {
        Some(names) => names,
        None => cx.b.constant(Tensor::of_strings(&[0], vec![]))?,
    };
    let keys = Tensor::of_strings(&[keys.len()], keys);
    let inputs = [&[cx.input(0)?, names], defaults].concat();
    let all = cx.b.push_all(ParseExample { keys, kinds, types, splits, counts }, &inputs)?;
    let (mut out, mut at) = (vec![], 0);
    for g in &groups {
        let (n, parts) = (g.keys.len(), width(g.kind));
        for part in 0..parts {
            out.extend((0..n).map(|i| all[at + i * parts + part]));
        }
        at += n * parts;
    }
    Ok(out)
}

fn count(cx: &TfCx<'_>, name: &str) -> Result<usize> {
    Ok(usize::try_from(cx.int(name)?)?)
}

/// The strings of operand `i`, which holds keys.
fn key_vector(cx: &TfCx<'_>, i: usize) -> Result<Vec<Vec<u8>>> {
    Ok(strings(&cx.const_input(i)?).to_vec())
}

/// The keys that `n` operands from `at` on hold.
fn key_list(cx: &TfCx<'_>, at: usize, n: usize) -> Result<Vec<Vec<u8>>> {
    Ok((at..at + n).map(|i| key_vector(cx, i)).collect::<Result<Vec<_>>>()?.concat())
}

/// Operands: messages, names, keys of sparse and of dense features one by one, defaults.
fn example(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (sparse, dense) = (count(cx, "Nsparse")?, count(cx, "Ndense")?);
    let groups = vec![
        Group::plain('s', key_list(cx, 2, sparse)?, cx.dtypes("sparse_types")?, vec![]),
        Group::dense('d', key_list(cx, 2 + sparse, dense)?, cx.dtypes("Tdense")?, cx.shapes("dense_shapes")?)?,
    ];
    let (names, defaults) = (cx.input(1)?, cx.inputs[2 + sparse + dense..].to_vec());
    build(cx, groups, Some(names), &defaults, &[])
}

/// Operands: messages, names, keys of sparse, dense and ragged features as vectors, defaults.
fn example_v2(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let ragged = (cx.dtypes("ragged_value_types")?, cx.dtypes("ragged_split_types")?);
    let groups = vec![
        Group::plain('s', key_vector(cx, 2)?, cx.dtypes("sparse_types")?, vec![]),
        Group::dense('d', key_vector(cx, 3)?, cx.dtypes("Tdense")?, cx.shapes("dense_shapes")?)?,
        Group::plain('r', key_vector(cx, 4)?, ragged.0, ragged.1),
    ];
    let (names, defaults) = (cx.input(1)?, cx.inputs[5..].to_vec());
    build(cx, groups, Some(names), &defaults, &[])
}

/// Operands: a message, defaults.
fn single(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let groups = vec![
        Group::plain('s', cx.byte_strings("sparse_keys")?, cx.dtypes("sparse_types")?, vec![]),
        Group::dense('d', cx.byte_strings("dense_keys")?, cx.dtypes("Tdense")?, cx.shapes("dense_shapes")?)?,
    ];
    let defaults = cx.inputs[1..].to_vec();
    build(cx, groups, None, &defaults, &[])
}

/// The groups of a SequenceExample without ragged ones: keys of sparse and dense features, of sparse and dense lists.
fn sequence_groups(cx: &TfCx<'_>, keys: [Vec<Vec<u8>>; 4]) -> Result<Vec<Group>> {
    let [cs, cd, fs, fd] = keys;
    let lists = (cx.dtypes("feature_list_dense_types")?, cx.shapes("feature_list_dense_shapes")?);
    Ok(vec![
        Group::plain('s', cs, cx.dtypes("context_sparse_types")?, vec![]),
        fixed(Group::dense('d', cd, cx.dtypes("Tcontext_dense")?, cx.shapes("context_dense_shapes")?)?)?,
        Group::plain('S', fs, cx.dtypes("feature_list_sparse_types")?, vec![]),
        Group::dense('D', fd, lists.0, lists.1)?,
    ])
}

/// Refuses features of varying length, which contexts do not have.
fn fixed(g: Group) -> Result<Group> {
    match g.types.iter().find(|t| t.shape.iter().any(|d| d.is(-1))) {
        Some(t) => bail!("the shape of a context feature {t} is not defined"),
        None => Ok(g),
    }
}

/// Which of some keys are among those that may be missing.
fn among(keys: &[Vec<u8>], missing: &[Vec<u8>]) -> Vec<bool> {
    keys.iter().map(|k| missing.contains(k)).collect()
}

/// Operands: messages, names, defaults; keys are attributes.
fn sequence(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let keys = ["context_sparse_keys", "context_dense_keys", "feature_list_sparse_keys", "feature_list_dense_keys"];
    let [cs, cd, fs, fd] = keys.map(|name| cx.byte_strings(name));
    let keys = [cs?, cd?, fs?, fd?];
    let empty = among(&keys[3], &cx.byte_strings("feature_list_dense_missing_assumed_empty")?);
    let groups = sequence_groups(cx, keys)?;
    let (names, defaults) = (cx.input(1)?, cx.inputs[2..].to_vec());
    build(cx, groups, Some(names), &defaults, &empty)
}

/// Operands: a message, the keys that may be missing, keys of four kinds one by one, defaults, the name.
fn single_sequence(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let sizes = ["Ncontext_sparse", "Ncontext_dense", "Nfeature_list_sparse", "Nfeature_list_dense"];
    let mut at = 2;
    let mut next = |name: &str| {
        let n = count(cx, name)?;
        at += n;
        key_list(cx, at - n, n)
    };
    let [cs, cd, fs, fd] = sizes.map(&mut next);
    let keys = [cs?, cd?, fs?, fd?];
    let (lists, dense) = (keys[3].len(), keys[1].len());
    let empty = among(&keys[3], &key_vector(cx, 1)?);
    let groups = sequence_groups(cx, keys)?;
    let (names, defaults) = (cx.input(at + dense)?, cx.inputs[at..at + dense].to_vec());
    let mut out = build(cx, groups, Some(names), &defaults, &empty)?;
    // A single message has no lengths but those of its tensors.
    out.truncate(out.len() - lists);
    Ok(out)
}

/// Operands: messages, names, keys of six kinds as vectors, which dense lists may be missing, defaults.
fn sequence_v2(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let keys = |i: usize| key_vector(cx, i);
    let ragged = |kind: char, i: usize, name: &str| {
        let types = cx.dtypes(&format!("{name}_value_types"))?;
        Ok::<_, anyhow::Error>(Group::plain(kind, keys(i)?, types, cx.dtypes(&format!("{name}_split_types"))?))
    };
    let mut groups = sequence_groups(cx, [keys(2)?, keys(3)?, keys(5)?, keys(6)?])?;
    groups.insert(2, ragged('r', 4, "context_ragged")?);
    groups.push(ragged('R', 7, "feature_list_ragged")?);
    let missing = cx.const_input(8)?;
    let empty: Vec<bool> = missing.to_i64s().unwrap_or_default().iter().map(|&b| b != 0).collect();
    let (names, defaults) = (cx.input(1)?, cx.inputs[9..].to_vec());
    build(cx, groups, Some(names), &defaults, &empty)
}

/// Import rules of TensorFlow's parsers.
pub const TF: &[TfBinding] = tf_ops! {
    "ParseExample" => example, "ParseExampleV2" => example_v2, "ParseSingleExample" => single,
    "ParseSequenceExample" => sequence, "ParseSequenceExampleV2" => sequence_v2,
    "ParseSingleSequenceExample" => single_sequence,
};
