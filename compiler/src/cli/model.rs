//! The flags that name a model and say how to read it, shared by the subcommands.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use kiln_ir::ops::custom::is_c_identifier;
use kiln_ir::{DType, Tensor};

use crate::import::convert::{CustomOp, DimRange, Settings, Shapes};
use crate::import::{Config, OpenOptions};
use crate::jit::Backend;
use crate::npz::{Arrays, as_dtype};

/// A model and how to read it.
#[derive(clap::Args, Clone)]
pub struct ModelArgs {
    /// SavedModel folder, frozen GraphDef (.pb, .pbtxt), or text IR (.kiln)
    pub model: Option<PathBuf>,
    /// The model, as tfcompile names it
    #[arg(long, conflicts_with = "model")]
    pub graph: Option<PathBuf>,
    /// tfcompile's configuration: a tf2xla.Config text proto with feeds and fetches
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Signature of a SavedModel
    #[arg(long = "signature-def-key", alias = "signature")]
    pub signature: Option<String>,
    /// Tags of a SavedModel's graph, separated by commas
    #[arg(long, value_delimiter = ',')]
    pub tag_set: Vec<String>,
    /// Checkpoint to take variables from
    #[arg(long)]
    pub checkpoint_path: Option<PathBuf>,
    /// Tensors to feed (node or node:output), separated by commas
    #[arg(long, value_delimiter = ',')]
    pub feed: Vec<String>,
    /// Tensors to fetch, separated by commas
    #[arg(long, value_delimiter = ',')]
    pub fetch: Vec<String>,
    /// The batch size (N) or its range (1..N): the first axis of every input that leaves it open
    #[arg(long)]
    pub batch: Option<String>,
    /// The size or range of an open dimension: INPUT_AXIS=N or INPUT_AXIS=1..N
    #[arg(long = "dim", value_name = "NAME=RANGE")]
    pub dims: Vec<String>,
    /// A TensorFlow op that a C function computes (docs/custom-ops.md)
    #[arg(long = "custom-op", value_name = "OP=FUNCTION")]
    pub custom_ops: Vec<String>,
    /// The shapes of a custom op's results: iN for that of operand N, or a list over their sizes such as [i0_0,2*i1_1,4]; all like
    /// the first operand by default
    #[arg(long = "custom-shape", value_name = "OP=SHAPE[;SHAPE..]")]
    pub custom_shapes: Vec<String>,
    /// A shared library with functions of custom ops, for commands that run the model
    #[arg(long = "custom-library", value_name = "FILE")]
    pub custom_libraries: Vec<PathBuf>,
}

impl ModelArgs {
    /// The model's path.
    ///
    /// # Errors
    /// If none was given.
    pub fn path(&self) -> Result<&PathBuf> {
        self.model.as_ref().or(self.graph.as_ref()).context("no model was given")
    }

    /// The options for the importer.
    ///
    /// # Errors
    /// If the configuration cannot be read.
    pub fn open_options(&self) -> Result<OpenOptions> {
        Ok(OpenOptions {
            tags: self.tag_set.clone(),
            signature: self.signature.clone(),
            feeds: self.feed.clone(),
            fetches: self.fetch.clone(),
            config: self.config.as_deref().map(Config::read).transpose()?,
            checkpoint_path: self.checkpoint_path.clone(),
        })
    }

    /// What the model is converted for: the ranges of open dimensions.
    ///
    /// # Errors
    /// If a range is malformed.
    pub fn settings(&self) -> Result<Settings> {
        let mut dims = BTreeMap::new();
        if let Some(b) = &self.batch {
            dims.insert("batch".to_string(), range(b)?);
        }
        for d in &self.dims {
            let (name, r) = d.split_once('=').with_context(|| format!("`--dim {d}`: write NAME=N or NAME=1..N"))?;
            dims.insert(name.trim().to_string(), range(r)?);
        }
        let shapes = Shapes { inputs: BTreeMap::new(), dims };
        Ok(Settings { shapes, custom: self.custom()?, ..Settings::default() })
    }

    /// The ops that C functions compute.
    fn custom(&self) -> Result<BTreeMap<String, CustomOp>> {
        let mut ops = BTreeMap::new();
        for text in &self.custom_ops {
            let (op, symbol) =
                text.split_once('=').with_context(|| format!("`--custom-op {text}`: write OP=FUNCTION"))?;
            let (op, symbol) = (op.trim(), symbol.trim());
            if !is_c_identifier(symbol) {
                bail!("`--custom-op {text}`: `{symbol}` is not the name of a C function");
            }
            if ops.insert(op.to_string(), CustomOp { symbol: symbol.into(), shapes: vec![] }).is_some() {
                bail!("`--custom-op {text}`: `{op}` is given twice");
            }
        }
        for text in &self.custom_shapes {
            let (op, shapes) =
                text.split_once('=').with_context(|| format!("`--custom-shape {text}`: write OP=SHAPE"))?;
            let op = ops
                .get_mut(op.trim())
                .with_context(|| format!("`--custom-shape {text}`: `{}` is not given by --custom-op", op.trim()))?;
            op.shapes = shapes.split(';').map(|s| s.trim().to_string()).collect();
        }
        Ok(ops)
    }

    /// Loads the libraries of custom ops into this process.
    ///
    /// # Errors
    /// If one cannot be loaded; the message names it.
    pub fn load_libraries(&self) -> Result<()> {
        self.custom_libraries.iter().try_for_each(|path| crate::jit::custom::load(path))
    }
}

/// `N`, `A..B` or `A..`.
fn range(text: &str) -> Result<DimRange> {
    let number = |s: &str| s.trim().parse::<i64>().ok().filter(|n| *n >= 0);
    let r = match text.split_once("..") {
        None => number(text).map(DimRange::Fixed),
        Some((a, b)) if b.trim().is_empty() => number(a).map(|a| DimRange::Range(a, None)),
        Some((a, b)) => number(a).zip(number(b)).filter(|(a, b)| a <= b).map(|(a, b)| DimRange::Range(a, Some(b))),
    };
    match r {
        Some(r) => Ok(r),
        None => bail!("`{text}` is no size: write N or A..B"),
    }
}

/// The code generator's flags.
#[derive(clap::Args, Clone)]
pub struct CodeArgs {
    /// Code generator; the best of this build by default
    #[arg(long, value_enum)]
    pub backend: Option<Backend>,
    /// `strict`: TensorFlow's results; `fast`: reassociation and approximations too
    #[arg(long, value_enum, default_value = "strict")]
    pub math: MathArg,
    /// Passes to leave out, separated by commas
    #[arg(long, value_delimiter = ',')]
    pub disable: Vec<String>,
    /// Rewrites after which passes stop, to find the one that breaks a model
    #[arg(long)]
    pub bisect_limit: Option<u64>,
}

/// How freely arithmetic may be changed.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq)]
pub enum MathArg {
    /// TensorFlow's results.
    Strict,
    /// Reassociation and approximations too.
    Fast,
}

impl CodeArgs {
    /// The backend.
    ///
    /// # Errors
    /// If the build has none.
    pub fn backend(&self) -> Result<Backend> {
        self.backend.map_or_else(Backend::best, Ok)
    }

    /// The options of the pass manager.
    pub fn passes(&self) -> kiln_passes::manager::Options {
        kiln_passes::manager::Options {
            math: match self.math {
                MathArg::Strict => kiln_passes::manager::Math::Strict,
                MathArg::Fast => kiln_passes::manager::Math::Fast,
            },
            disabled: self.disable.iter().cloned().collect(),
            bisect_limit: self.bisect_limit,
            ..Default::default()
        }
    }
}

/// The arrays of a file by port name: `in:NAME` or `NAME`, where NAME is a port's key, or its node without `:0`.
pub fn pick(arrays: &Arrays, prefix: &str, port: &str) -> Option<Tensor> {
    let bare = port.strip_suffix(":0").unwrap_or(port);
    let names = [
        format!("{prefix}:{port}"),
        port.to_string(),
        format!("{prefix}:{bare}"),
        bare.to_string(),
        format!("{bare}:0"),
    ];
    names.iter().find_map(|n| arrays.iter().find(|a| a.0 == *n)).map(|a| a.1.clone())
}

/// Inputs for ports, in their order. An array of another type is converted if each of its elements stays what it is.
///
/// # Errors
/// If one is missing or cannot be converted; the message names it and what the file holds.
pub fn inputs<'a>(arrays: &Arrays, ports: impl Iterator<Item = (&'a str, DType)>) -> Result<Vec<Tensor>> {
    ports
        .map(|(p, dtype)| {
            let array = pick(arrays, "in", p).with_context(|| {
                let has: Vec<&str> = arrays.iter().map(|a| a.0.as_str()).collect();
                format!("no array for input `{p}`: the file holds {}", has.join(", "))
            })?;
            as_dtype(array, dtype).with_context(|| format!("input `{p}`"))
        })
        .collect()
}
