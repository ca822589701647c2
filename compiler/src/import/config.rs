//! `tf2xla.Config`, the text file by which tfcompile is told what to feed, to fetch, and to keep as a variable.

use super::dtype::TfDType;
use super::error::{ImportError, Result};
use super::feeds::{PartialShape, Request, partial_shape};
use super::graph::TensorName;
use super::proto::{TensorShapeProto, XlaConfig, XlaTensorId, schema};
use super::{files, limits, pbtxt};
use std::path::Path;

/// What a configuration asks for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// Inputs, in order.
    pub feeds: Vec<ConfigPort>,
    /// Outputs, in order.
    pub fetches: Vec<ConfigPort>,
    /// Variables.
    pub variables: Vec<ConfigVariable>,
}

/// An input or output.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigPort {
    /// The tensor.
    pub tensor: TensorName,
    /// The name it gets; `None`: the tensor's own.
    pub name: Option<String>,
    /// Its type, if it is given.
    pub dtype: Option<TfDType>,
    /// Its shape, if it is given.
    pub shape: Option<PartialShape>,
}

/// A variable that stays one.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigVariable {
    /// The node of the variable.
    pub node: String,
    /// The name it gets; `None`: the node's.
    pub name: Option<String>,
    /// Its type, if it is given.
    pub dtype: Option<TfDType>,
    /// Its shape, if it is given.
    pub shape: Option<PartialShape>,
    /// Whether the program only reads it.
    pub readonly: bool,
}

impl Config {
    /// Reads a configuration file.
    ///
    /// Errors: text that is not a `tf2xla.Config` (with line and column), a feed or fetch without a node, a
    /// negative output.
    pub fn read(path: &Path) -> Result<Self> {
        let text = files::read(path, limits::MAX_GRAPH_BYTES)?;
        Self::parse(&text).map_err(|e| e.in_file(path))
    }

    /// Parses the text of a configuration.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let config: XlaConfig = pbtxt::decode(&schema::XLA_CONFIG, text)?;
        let mut out = Self::default();
        for (i, feed) in config.feed.iter().enumerate() {
            out.feeds.push(port(&format!("feed {i}"), feed.id.as_ref(), &feed.name, feed.r#type, feed.shape.as_ref())?);
        }
        for (i, fetch) in config.fetch.iter().enumerate() {
            out.fetches.push(port(
                &format!("fetch {i}"),
                fetch.id.as_ref(),
                &fetch.name,
                fetch.r#type,
                fetch.shape.as_ref(),
            )?);
        }
        for (i, v) in config.variable.into_iter().enumerate() {
            let place = format!("variable {i}");
            if v.node_name.is_empty() {
                return Err(ImportError::malformed(place, "it has no node_name"));
            }
            out.variables.push(ConfigVariable {
                dtype: dtype(&place, v.r#type)?,
                shape: v.shape.as_ref().map(partial_shape),
                name: Some(v.name).filter(|n| !n.is_empty()),
                node: v.node_name,
                readonly: v.readonly,
            });
        }
        Ok(out)
    }
}

fn dtype(place: &str, number: i32) -> Result<Option<TfDType>> {
    match number {
        0 => Ok(None),
        n => {
            TfDType::from_number(n).map(Some).ok_or_else(|| ImportError::malformed(place, format!("unknown type {n}")))
        }
    }
}

fn port(
    place: &str,
    id: Option<&XlaTensorId>,
    name: &str,
    number: i32,
    shape: Option<&TensorShapeProto>,
) -> Result<ConfigPort> {
    let id = id
        .filter(|id| !id.node_name.is_empty())
        .ok_or_else(|| ImportError::malformed(place, "it has no id with a node_name"))?;
    let output = u32::try_from(id.output_index)
        .map_err(|_| ImportError::malformed(place, format!("output_index {}", id.output_index)))?;
    Ok(ConfigPort {
        tensor: TensorName { node: id.node_name.clone(), output },
        name: Some(name.to_string()).filter(|n| !n.is_empty()),
        dtype: dtype(place, number)?,
        shape: shape.map(partial_shape),
    })
}

impl From<&ConfigPort> for Request {
    fn from(port: &ConfigPort) -> Self {
        let key = port.name.clone().unwrap_or_else(|| default_key(&port.tensor));
        Self { key, tensor: port.tensor.clone(), dtype: port.dtype, shape: port.shape.clone() }
    }
}

/// The key of a tensor that has no other name: the node's for its first output.
pub(crate) fn default_key(tensor: &TensorName) -> String {
    if tensor.output == 0 { tensor.node.clone() } else { tensor.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_read() {
        let text = br#"
            # as tfcompile takes it
            feed { id { node_name: "x" output_index: 1 } shape { dim { size: 2 } dim { size: -1 } } name: "x_in" type: DT_FLOAT }
            feed < id < node_name: 'y' > >
            fetch { id { node_name: "z" } }
            variable { node_name: "w" readonly: true }
            conversion_options { custom_fake_quant_op_calls: true }"#;
        let config = Config::parse(text).unwrap();
        assert_eq!(config.feeds[0].tensor.to_string(), "x:1");
        assert_eq!(config.feeds[0].shape, Some(Some(vec![Some(2), None])));
        assert_eq!(config.feeds[0].dtype, Some(TfDType::Float));
        assert_eq!(Request::from(&config.feeds[1]).key, "y");
        assert_eq!(config.fetches.len(), 1);
        assert!(config.variables[0].readonly);
        let error = Config::parse(b"feed {\n  idd { } }").unwrap_err().to_string();
        assert_eq!(error, "line 2, column 3: tf2xla.Feed has no field `idd`");
        assert!(Config::parse(b"feed { name: 'a' }").is_err());
        assert!(Config::parse(b"feed { id { node_name: 'a' output_index: -1 } }").is_err());
    }
}
