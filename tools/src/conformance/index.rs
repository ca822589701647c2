//! Reads `index.json` and the arrays of a case. The format is described in the README of the cases' folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use kiln::npz;
use kiln_ir::{DType, Tensor};

/// A tensor that is fed or fetched.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Port {
    /// `node:output`.
    pub name: String,
    /// NumPy's name of the element type, or `bfloat16`, or `string`.
    pub dtype: String,
    /// The value's shape.
    pub shape: Vec<usize>,
    /// The array's name in the case's values.
    pub key: Option<String>,
    /// The elements of a string tensor, row-major, base64.
    pub strings: Option<Vec<String>>,
}

/// A graph with values for its inputs and TensorFlow's outputs.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Case {
    /// Names the case.
    pub id: String,
    /// The binary GraphDef, relative to the folder.
    pub graph: PathBuf,
    /// The .npz file of values, relative to the folder.
    pub values: Option<PathBuf>,
    /// What is fed.
    pub inputs: Vec<Port>,
    /// What is fetched.
    pub outputs: Vec<Port>,
    /// Relative tolerance of floating and complex outputs.
    pub rtol: f64,
    /// Absolute tolerance of floating and complex outputs.
    pub atol: f64,
    /// The op types in the graph.
    pub ops: Vec<String>,
}

/// A folder of cases.
pub struct Index {
    folder: PathBuf,
    /// The cases in the file's order.
    pub cases: Vec<Case>,
}

impl Index {
    /// Reads a folder's index.
    ///
    /// # Errors
    /// If the index cannot be read, or names a case twice.
    pub fn read(folder: &Path) -> Result<Index> {
        let path = folder.join("index.json");
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let cases: Vec<Case> =
            serde_json::from_str(&text).with_context(|| format!("{} is no index of cases", path.display()))?;
        let mut seen = std::collections::HashSet::new();
        if let Some(twice) = cases.iter().find(|c| !seen.insert(&c.id)) {
            bail!("{} names the case `{}` twice", path.display(), twice.id);
        }
        Ok(Index { folder: folder.to_path_buf(), cases })
    }

    /// The graph's file.
    pub fn graph(&self, case: &Case) -> PathBuf {
        self.folder.join(&case.graph)
    }

    /// The values of a case's inputs and those that its outputs must have, in order.
    ///
    /// # Errors
    /// If an array is missing or is not of the type and shape that the index says.
    pub fn tensors(&self, case: &Case) -> Result<(Vec<Tensor>, Vec<Tensor>)> {
        let arrays: HashMap<String, Tensor> = match &case.values {
            Some(path) => npz::read(&self.folder.join(path))?.into_iter().collect(),
            None => HashMap::new(),
        };
        let read = |ports: &[Port]| {
            ports.iter().map(|p| tensor(p, &arrays).with_context(|| format!("`{}`", p.name))).collect::<Result<_>>()
        };
        Ok((read(&case.inputs)?, read(&case.outputs)?))
    }
}

/// The element type with NumPy's name.
fn dtype(name: &str) -> Result<DType> {
    Ok(match name {
        "bool" => DType::Bool,
        "int8" => DType::I8,
        "int16" => DType::I16,
        "int32" => DType::I32,
        "int64" => DType::I64,
        "uint8" => DType::U8,
        "uint16" => DType::U16,
        "uint32" => DType::U32,
        "uint64" => DType::U64,
        "float16" => DType::F16,
        "bfloat16" => DType::BF16,
        "float32" => DType::F32,
        "float64" => DType::F64,
        "complex64" => DType::C64,
        "complex128" => DType::C128,
        "string" => DType::String,
        other => bail!("the element type `{other}` is not known"),
    })
}

fn tensor(p: &Port, arrays: &HashMap<String, Tensor>) -> Result<Tensor> {
    let dtype = dtype(&p.dtype)?;
    if dtype == DType::String {
        let texts = p.strings.as_ref().context("a string tensor has no `strings`")?;
        let decode = |s: &String| base64::engine::general_purpose::STANDARD.decode(s);
        let items = texts.iter().map(decode).collect::<Result<Vec<_>, _>>().context("`strings` is not base64")?;
        if items.len() != p.shape.iter().product::<usize>() {
            bail!("{} strings for shape {:?}", items.len(), p.shape);
        }
        return Ok(Tensor::of_strings(&p.shape, items));
    }
    let key = p.key.as_deref().context("the value has no key")?;
    let t = arrays.get(key).with_context(|| format!("the values hold no `{key}`"))?;
    // NumPy has no bf16: its bits are stored as u16.
    let t = if dtype == DType::BF16 && t.dtype() == DType::U16 {
        let bits = kiln_ir::tensor::Bytes::copy_of(t.bytes());
        Tensor::from_bytes(DType::BF16, t.shape(), bits).map_err(|e| anyhow!(e))?
    } else {
        t.clone()
    };
    if t.dtype() != dtype || t.shape() != p.shape {
        bail!("`{key}` is {t:?}, not {dtype} {:?}", p.shape);
    }
    Ok(t)
}
