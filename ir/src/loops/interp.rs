//! Executes a kernel of any level over host memory: the oracle for lowering and for every backend.
//!
//! Tasks run in order. What compiled code leaves undefined is an error here: an access outside the buffer (at the nest
//! and scheduled levels: outside the shape, axis by axis), a read of memory that nothing has written, two tasks,
//! threads between barriers or iterations of a parallel loop that meet in an element which one of them writes,
//! a barrier or warp exchange that some threads do not reach, a trip count that an unroll factor does not divide.
//!
//! The threads of a GPU block run in lockstep: each statement for all active threads before the next one. Loops and
//! conditionals whose bounds or conditions differ between threads run with the threads that take part.
//!
//! Asynchronous copies read their source where they are issued, make the destination unreadable, and fill it at the
//! wait that completes their group.

mod compile;
mod exec;
mod memory;

use super::verify::{VerifyErrors, verify};
use super::{Kernel, print};
use crate::scalar_eval::Fault;
use crate::tensor::Bytes;
use crate::{DType, Tensor};

/// The memory of a global buffer: the elements from the base pointer on, views and padding included.
#[derive(Clone, Debug, PartialEq)]
pub struct BufferData {
    bytes: Vec<u8>,
    /// Which elements have been written; `None` for all.
    written: Option<Vec<bool>>,
}

impl BufferData {
    /// Memory that holds `bytes`.
    pub fn from_bytes(bytes: Vec<u8>) -> BufferData {
        BufferData { bytes, written: None }
    }

    /// Memory that holds a plain tensor's elements, row-major.
    pub fn of(t: &Tensor) -> BufferData {
        BufferData::from_bytes(t.bytes().to_vec())
    }

    /// Memory for `elements` elements that nothing has written yet.
    pub fn uninitialized(dtype: DType, elements: usize) -> BufferData {
        BufferData { bytes: vec![0; elements.saturating_mul(dtype.size())], written: Some(vec![false; elements]) }
    }

    /// Memory of which only some elements have been written: one flag an element.
    pub fn partly_written(bytes: Vec<u8>, written: Vec<bool>) -> BufferData {
        let all = written.iter().all(|&w| w);
        BufferData { bytes, written: (!all).then_some(written) }
    }

    /// The bytes; elements that nothing has written are zero.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether an element has been written.
    pub fn is_written(&self, element: usize) -> bool {
        self.written.as_ref().is_none_or(|w| w.get(element) == Some(&true))
    }

    /// The memory as a row-major tensor; an error if an element was never written or the size differs.
    pub fn to_tensor(&self, dtype: DType, shape: &[usize]) -> Result<Tensor, String> {
        if let Some(e) = self.written.as_ref().and_then(|w| w.iter().position(|&w| !w)) {
            return Err(format!("element {e} was never written"));
        }
        Tensor::from_bytes(dtype, shape, Bytes::copy_of(&self.bytes))
    }
}

/// What the interpreter checks, and for how long it runs.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// Report accesses by two tasks, threads or iterations that meet in an element. Costs memory and time.
    pub races: bool,
    /// Report an element of a write buffer that one task writes twice (tiles that overlap at the edge do).
    pub write_once: bool,
    /// Statements, iterations and tasks to execute before giving up; each counts once for all threads of a block.
    pub fuel: u64,
}

impl Default for RunOptions {
    fn default() -> RunOptions {
        RunOptions { races: true, write_once: false, fuel: u64::MAX }
    }
}

/// Who met in an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// Tasks of the kernel.
    Task,
    /// Threads of a block, between two barriers.
    Thread,
    /// Iterations of a parallel loop.
    Iteration,
}

impl std::fmt::Display for Party {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Party::Task => "task",
            Party::Thread => "thread",
            Party::Iteration => "iteration",
        })
    }
}

/// Why a kernel cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // the messages say what the fields are
pub enum ErrorKind {
    #[error("{0}")]
    Invalid(VerifyErrors),
    #[error("{0}")]
    Arguments(String),
    #[error("index {index:?} of @{buffer} is outside its shape {shape:?} on axis {axis}")]
    OutOfShape { buffer: String, index: Vec<i64>, shape: Vec<i64>, axis: usize },
    #[error("element offset {offset} of @{buffer} is outside its {size} elements")]
    OutOfBuffer { buffer: String, offset: i64, size: usize },
    #[error("element {offset} of @{buffer} is read, but nothing has written it")]
    Uninitialized { buffer: String, offset: usize },
    #[error("{party} {second} {action} element {offset} of @{buffer}, which {party} {first} {earlier}")]
    Race {
        buffer: String,
        offset: usize,
        party: Party,
        first: u64,
        second: u64,
        earlier: &'static str,
        action: &'static str,
    },
    #[error("element {offset} of @{buffer} is written a second time by one task")]
    WrittenTwice { buffer: String, offset: usize },
    #[error("two lanes of a scatter go to element {offset} of @{buffer}")]
    SameLane { buffer: String, offset: i64 },
    #[error("{0}")]
    Fault(Fault),
    #[error("not all threads of the {0} reach this")]
    Divergent(&'static str),
    #[error("{trips} iterations are not a multiple of the unroll factor {unroll}")]
    Unroll { trips: u64, unroll: u16 },
    #[error("an asynchronous copy of {bytes} bytes is not aligned: offsets {dst} and {src}")]
    Misaligned { bytes: u8, dst: i64, src: i64 },
    #[error("{valid} valid rows of a tile with {rows}")]
    ValidRows { valid: i64, rows: u16 },
    #[error("out of fuel")]
    OutOfFuel,
}

/// An [`ErrorKind`] with its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("kernel @{kernel}, task {task}, thread {thread}: {kind}\n  | {statement}")]
pub struct InterpError {
    /// Name of the kernel.
    pub kernel: String,
    /// The task that ran.
    pub task: i64,
    /// The thread of its block.
    pub thread: u32,
    /// The statement in the text form; empty before the first.
    pub statement: String,
    /// What is wrong.
    pub kind: Box<ErrorKind>,
}

/// Runs all tasks of a kernel. `buffers` are its global buffers in order, `symbols` the values of its symbols in order.
/// The result is 0, or the status of the first [`super::Inst::Check`] that failed, which ends the run.
pub fn run_kernel(
    kernel: &Kernel,
    buffers: &mut [BufferData],
    symbols: &[i64],
    options: &RunOptions,
) -> Result<i32, InterpError> {
    let fail = |kind| InterpError {
        kernel: kernel.name.clone(),
        task: 0,
        thread: 0,
        statement: String::new(),
        kind: Box::new(kind),
    };
    verify(kernel, None).map_err(|e| fail(ErrorKind::Invalid(e)))?;
    let program = compile::compile(kernel, symbols).map_err(|m| fail(ErrorKind::Arguments(m)))?;
    check_arguments(kernel, &program, buffers).map_err(|m| fail(ErrorKind::Arguments(m)))?;

    let mut machine = exec::Machine::new(kernel, &program, buffers, options);
    let outcome = machine.run();
    machine.give_back(buffers);
    outcome.map_err(|e| {
        let printed = print::print(kernel);
        let line = e.stmt.and_then(|s| printed.stmt_lines.get(s as usize));
        InterpError {
            kernel: kernel.name.clone(),
            task: e.task,
            thread: e.thread,
            statement: line.map_or("", |&l| printed.line(l)).to_string(),
            kind: e.kind,
        }
    })
}

fn check_arguments(kernel: &Kernel, program: &compile::Program, buffers: &[BufferData]) -> Result<(), String> {
    let params: Vec<_> = kernel.params().collect();
    if params.len() != buffers.len() {
        return Err(format!("{} buffers are given for {} parameters", buffers.len(), params.len()));
    }
    for ((id, b), data) in params.into_iter().zip(buffers) {
        let elements = program.buffers[id.0 as usize].size;
        let whole = data.bytes.len() % b.dtype.size() == 0;
        if !whole || data.bytes.len() / b.dtype.size() < elements {
            return Err(format!(
                "@{} needs {elements} elements of {}, {} bytes are given",
                b.name,
                b.dtype,
                data.bytes.len()
            ));
        }
    }
    Ok(())
}
