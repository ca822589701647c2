//! Schedules: how a nest of logical loops is mapped to tasks, register tiles and loops. A schedule is data; [`tile`]
//! applies it, [`choose`] makes one from the target's numbers.

pub mod call;
pub mod choose;
pub mod tile;

use kiln_ir::loops::V;

use call::TileCall;

/// A loop whose iterations are dealt out to tasks in chunks.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskAxis {
    /// The loop, by its induction variable in the nest.
    pub iv: V,
    /// Iterations of one task; a multiple of the tile extent if the loop is also a tile axis.
    pub chunk: i64,
}

/// A loop that becomes a dimension of register tiles.
#[derive(Clone, Debug, PartialEq)]
pub struct TileAxis {
    /// The loop, by its induction variable in the nest.
    pub iv: V,
    /// Tile extents, largest first. A loop of known trip count uses the first and one tile for the rest; another one
    /// works through all of them, so the last must be 1.
    pub sizes: Vec<u16>,
}

/// A mapping of a nest's loops. Loops that it does not name run as they are.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Schedule {
    /// Outermost loops whose chunks are the tasks, outermost first.
    pub tasks: Vec<TaskAxis>,
    /// Rows of the tiles: a parallel loop.
    pub rows: Option<TileAxis>,
    /// Lanes of the tiles: parallel loops over contiguous elements, or reductions, which then combine lanes at their end.
    /// None of them is inside another.
    pub lanes: Vec<TileAxis>,
    /// Loops whose bodies are laid out several times.
    pub unroll: Vec<(V, u16)>,
    /// The reduction that a runtime micro-kernel computes; its loops are in none of the other lists but `tasks`, and for
    /// the lanes' `lanes`.
    pub call: Option<TileCall>,
}

impl std::fmt::Display for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut sep = "";
        for t in &self.tasks {
            write!(f, "{sep}task {:?} by {}", t.iv, t.chunk)?;
            sep = ", ";
        }
        let rows = self.rows.iter().map(|a| ("rows", a));
        for (what, a) in rows.chain(self.lanes.iter().map(|a| ("lanes", a))) {
            write!(f, "{sep}{what} {:?} by {:?}", a.iv, a.sizes)?;
            sep = ", ";
        }
        for (iv, n) in &self.unroll {
            write!(f, "{sep}unroll {iv:?} by {n}")?;
            sep = ", ";
        }
        if let Some(c) = &self.call {
            write!(f, "{sep}{c}")?;
        }
        Ok(())
    }
}
