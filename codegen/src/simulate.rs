//! Runs a planned program on the loop interpreter, at any level of its kernels: the oracle between the graph interpreter
//! and compiled code.
//!
//! Memory is what the plan says: one workspace, outputs, weights. On top of the interpreter's own checks of each kernel
//! (bounds, races, reads of what nothing wrote), a call fails here if a buffer that it writes shares an element with
//! another of its buffers: kernels may assume that it does not.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail, ensure};
use kiln_ir::loops::interp::{BufferData, RunOptions, run_kernel};
use kiln_ir::loops::{Access, Buffer, Kernel};
use kiln_ir::tensor::Bytes;
use kiln_ir::{DType, Dim, Symbol, Tensor};

use crate::program::{Place, Program, Step, Weights};

/// Bytes with a note of which have been written.
struct Memory {
    bytes: Vec<u8>,
    written: Vec<bool>,
}

impl Memory {
    fn of(bytes: &[u8]) -> Memory {
        Memory { bytes: bytes.to_vec(), written: vec![true; bytes.len()] }
    }

    fn fresh(size: usize) -> Memory {
        Memory { bytes: vec![0; size], written: vec![false; size] }
    }
}

/// A region of memory: which one, and the first byte.
type At = (Region, usize);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Region {
    Input(usize),
    Output(usize),
    Workspace,
    Weights,
}

/// Runs a program whose kernels are `kernels` (the program's own, or another level of each) on tensors for its inputs,
/// with a value for each symbol that they bind. `weights` are those of the plan.
///
/// # Errors
/// What the interpreter reports; a call whose buffers overlap or leave their memory; a check that fails.
pub fn run(
    program: &Program,
    kernels: &[&Kernel],
    weights: &[u8],
    inputs: &[Tensor],
    symbols: &BTreeMap<Symbol, i64>,
) -> Result<Vec<Tensor>> {
    ensure!(kernels.len() == program.kernels.len(), "{} kernels for {}", kernels.len(), program.kernels.len());
    let bind = |s: &Symbol| symbols.get(s).copied();
    let number = |d: &Dim| d.eval(&bind).with_context(|| format!("`{d}` has no value"));
    let size = |d: &Dim| Ok::<usize, anyhow::Error>(usize::try_from(number(d)?)?);
    let mut memory: BTreeMap<Region, Memory> = BTreeMap::new();
    for (i, t) in inputs.iter().enumerate() {
        memory.insert(Region::Input(i), Memory::of(t.bytes()));
    }
    for (i, p) in program.outputs.iter().enumerate() {
        memory.insert(Region::Output(i), Memory::fresh(size(&p.bytes())?));
    }
    memory.insert(Region::Workspace, Memory::fresh(size(&program.workspace)?));
    let embedded = match &program.weights {
        Weights::Embedded(w) => &w[..],
        Weights::Argument => weights,
    };
    memory.insert(Region::Weights, Memory::of(embedded));

    Simulation { kernels, symbols, memory: &mut memory }.steps(&program.steps)?;

    let mut results = vec![];
    for (i, p) in program.outputs.iter().enumerate() {
        let shape = p.shape.iter().map(size).collect::<Result<Vec<usize>>>()?;
        let m = memory.get(&Region::Output(i)).context("every output has memory")?;
        if let Some(byte) = m.written.iter().position(|w| !w) {
            bail!("element {} of output `{}` was never written", byte / p.dtype.size().max(1), p.name);
        }
        results.push(Tensor::from_bytes(p.dtype, &shape, Bytes::copy_of(&m.bytes)).map_err(|e| anyhow!(e))?);
    }
    Ok(results)
}

/// A run under way.
struct Simulation<'a> {
    kernels: &'a [&'a Kernel],
    symbols: &'a BTreeMap<Symbol, i64>,
    memory: &'a mut BTreeMap<Region, Memory>,
}

impl Simulation<'_> {
    fn number(&self, d: &Dim) -> Result<i64> {
        d.eval(&|s| self.symbols.get(s).copied()).with_context(|| format!("`{d}` has no value"))
    }

    fn at(&self, place: &Place) -> Result<At> {
        Ok(match place {
            Place::Input(i) => (Region::Input(*i), 0),
            Place::Output(i) => (Region::Output(*i), 0),
            Place::Workspace(offset) => (Region::Workspace, usize::try_from(self.number(offset)?)?),
            Place::Weights(offset) => (Region::Weights, usize::try_from(*offset)?),
        })
    }

    /// The integer at a place: a bool or an i32.
    fn read(&self, place: &Place, dtype: DType) -> Result<i64> {
        let (region, at) = self.at(place)?;
        let m = self.memory.get(&region).context("the program names memory that it has")?;
        let range = at..at + dtype.size();
        ensure!(m.written.get(range.clone()).is_some_and(|w| w.iter().all(|&w| w)), "a selector was never written");
        Ok(match m.bytes[range] {
            [byte] => i64::from(byte),
            [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
            _ => bail!("a selector is a bool or an i32"),
        })
    }

    fn steps(&mut self, steps: &[Step]) -> Result<()> {
        for (n, step) in steps.iter().enumerate() {
            match step {
                Step::Launch { kernel, buffers, symbols: given, .. } => {
                    let kernel =
                        *self.kernels.get(*kernel).with_context(|| format!("step {n} names kernel {kernel}"))?;
                    let values = given.iter().map(|d| self.number(d)).collect::<Result<Vec<i64>>>()?;
                    let at = buffers.iter().map(|p| self.at(p)).collect::<Result<Vec<At>>>()?;
                    step_on(kernel, &at, &values, self.memory)
                        .with_context(|| format!("step {n}, kernel @{}", kernel.name))?;
                }
                Step::Case { selector, dtype, branches } => {
                    let last = branches.len().saturating_sub(1);
                    let i = usize::try_from(self.read(selector, *dtype)?).map_or(last, |i| i.min(last));
                    self.steps(branches.get(i).context("a case has branches")?)?;
                }
                Step::Extern { .. } => bail!("step {n} calls a C function, which the loop interpreter cannot"),
                Step::Loop { test, goes_on, body } => loop {
                    self.steps(test)?;
                    if self.read(goes_on, DType::Bool)? == 0 {
                        break;
                    }
                    self.steps(body)?;
                },
            }
        }
        Ok(())
    }
}

/// One kernel over its buffers' part of the memory.
fn step_on(kernel: &Kernel, at: &[At], symbols: &[i64], memory: &mut BTreeMap<Region, Memory>) -> Result<()> {
    let params: Vec<&Buffer> = kernel.params().map(|p| p.1).collect();
    ensure!(params.len() == at.len(), "{} buffers for {} parameters", at.len(), params.len());
    let bind = |s: &Symbol| kernel.symbols.iter().position(|k| k == s).and_then(|i| symbols.get(i)).copied();
    for (i, b) in params.iter().enumerate().filter(|p| p.1.access != Access::Read) {
        for (j, other) in params.iter().enumerate() {
            if i != j && at[i].0 == at[j].0 {
                apart(b, at[i].1, other, at[j].1, &bind)?;
            }
        }
    }
    let mut data = vec![];
    for (b, &(region, first)) in params.iter().zip(at) {
        let elem = b.dtype.size();
        let bytes = b.layout.size.eval(&bind).and_then(|n| usize::try_from(n).ok()).map(|n| n * elem);
        let m = memory.get(&region).context("the program names memory that it has")?;
        let range = bytes.map(|n| first..first + n).filter(|r| r.end <= m.bytes.len());
        let Some(range) = range else { bail!("@{} leaves its memory of {} bytes", b.name, m.bytes.len()) };
        let written = m.written[range.clone()].chunks_exact(elem).map(|e| e.iter().all(|&w| w)).collect();
        data.push(BufferData::partly_written(m.bytes[range].to_vec(), written));
    }
    let status = run_kernel(kernel, &mut data, symbols, &RunOptions::default())?;
    ensure!(status == 0, "a check failed with status {status}");
    for ((b, &(region, first)), data) in params.iter().zip(at).zip(&data).filter(|p| p.0.0.access != Access::Read) {
        let elem = b.dtype.size();
        let m = memory.get_mut(&region).context("the program names memory that it has")?;
        for (e, bytes) in data.bytes().chunks_exact(elem).enumerate().filter(|e| data.is_written(e.0)) {
            let to = first + e * elem..first + (e + 1) * elem;
            m.bytes[to.clone()].copy_from_slice(bytes);
            m.written[to].fill(true);
        }
    }
    Ok(())
}

/// Checks that two buffers of one region, the first of them written, have no byte in common.
fn apart(a: &Buffer, a_at: usize, b: &Buffer, b_at: usize, bind: &dyn Fn(&Symbol) -> Option<i64>) -> Result<()> {
    let taken: std::collections::BTreeSet<i64> = bytes_of(a, a_at, bind)?.into_iter().collect();
    match bytes_of(b, b_at, bind)?.into_iter().find(|x| taken.contains(x)) {
        Some(byte) => bail!("@{} and @{} share byte {byte} of the memory, and the kernel writes it", a.name, b.name),
        None => Ok(()),
    }
}

/// The bytes that a buffer's elements occupy.
fn bytes_of(b: &Buffer, at: usize, bind: &dyn Fn(&Symbol) -> Option<i64>) -> Result<Vec<i64>> {
    let shape: Vec<i64> =
        b.shape.iter().map(|d| d.eval(bind).with_context(|| format!("`{d}` has no value"))).collect::<Result<_>>()?;
    let elem = b.dtype.size() as i64;
    let mut bytes = vec![];
    let mut index = vec![0i64; shape.len()];
    for _ in 0..shape.iter().product::<i64>() {
        let offset = b.layout.offset(&index, bind).context("a layout has no value")?;
        bytes.extend((0..elem).map(|k| at as i64 + offset * elem + k));
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    Ok(bytes)
}
