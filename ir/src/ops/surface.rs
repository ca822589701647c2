//! What is known of each TensorFlow op beyond its import rule: whether it has a gradient, and where it runs.
//!
//! The table `surface.tsv` is found out, not declared: a test imports the cases of `testdata/ops` (TensorFlow's own results) and
//! looks at what they become. It fails where the table says otherwise, and rewrites it under `KILN_BLESS=1`.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Whether the gradient of an op can be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gradient {
    /// It can.
    Yes,
    /// The op's results are constant almost everywhere or no numbers: its gradient is zero or has no meaning.
    None,
    /// The op has one, which is not built yet.
    Missing,
}

/// Where an op runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In compiled code.
    Compiled,
    /// On the host, between compiled parts.
    Host,
    /// In either, by its types and attributes.
    Both,
}

/// What is known of a TensorFlow op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surface {
    /// Its gradient.
    pub gradient: Gradient,
    /// Where it runs.
    pub place: Place,
}

/// The names of the table's words.
const GRADIENTS: [(&str, Gradient); 3] =
    [("yes", Gradient::Yes), ("none", Gradient::None), ("missing", Gradient::Missing)];
const PLACES: [(&str, Place); 3] = [("compiled", Place::Compiled), ("host", Place::Host), ("both", Place::Both)];

impl Gradient {
    /// The word of the table.
    pub fn name(self) -> &'static str {
        GRADIENTS.iter().find(|g| g.1 == self).map_or("", |g| g.0)
    }
}

impl Place {
    /// The word of the table.
    pub fn name(self) -> &'static str {
        PLACES.iter().find(|p| p.1 == self).map_or("", |p| p.0)
    }
}

static TABLE: LazyLock<HashMap<&'static str, Surface>> = LazyLock::new(|| {
    let line = |line: &'static str| {
        let mut columns = line.split('\t');
        let (op, gradient, place) = (columns.next()?, columns.next()?, columns.next()?);
        let gradient = GRADIENTS.iter().find(|g| g.0 == gradient)?.1;
        Some((op, Surface { gradient, place: PLACES.iter().find(|p| p.0 == place)?.1 }))
    };
    include_str!("surface.tsv").lines().filter_map(line).collect()
});

/// What is known of a TensorFlow op; `None` for ops that no case holds.
pub fn surface(tf_op: &str) -> Option<Surface> {
    TABLE.get(tf_op).copied()
}
