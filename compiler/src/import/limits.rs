//! Sizes beyond which a file is refused, so that no input can exhaust memory or the stack.
//!
//! They are far above what models hold: TensorFlow's own files stop at 2 GiB, the limit of its encoding.

/// Bytes of a graph file, binary or text.
pub const MAX_GRAPH_BYTES: u64 = (1 << 31) - 1;
/// Bytes of a checkpoint's index file.
pub const MAX_INDEX_BYTES: u64 = 1 << 30;
/// Bytes of one block of an index, after decompression.
pub const MAX_BLOCK_BYTES: usize = 1 << 28;
/// Bytes of a constant that a graph gives by fewer values than it has elements.
pub const MAX_FILLED_BYTES: usize = 1 << 31;
/// Messages nested in one another. The binary decoder stops at 100 too.
pub const MAX_DEPTH: usize = 96;
/// Nodes of a file, functions' bodies included.
pub const MAX_NODES: u64 = 1 << 24;
/// Messages and repeated strings of a file: a bound on the memory that decoding needs.
pub const MAX_MESSAGES: u64 = 1 << 26;
/// Dimensions of a tensor, as in TensorFlow.
pub const MAX_RANK: usize = 254;
