//! Programs in memory: compiled by a backend, called with tensors.

pub mod custom;

use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use kiln_codegen::plan::{Planned, Report};
use kiln_codegen::program::{JitCode, Port, Program};
use kiln_ir::tensor::element_count;
use kiln_ir::{Dim, Symbol, Tensor};
use kiln_rt::{Arena, Pool, Status};

/// Which backend makes the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// The optimizing backend.
    Llvm,
    /// The instant one.
    Cranelift,
}

impl Backend {
    /// The best backend of this build.
    ///
    /// # Errors
    /// If the build has none.
    pub fn best() -> Result<Backend> {
        if cfg!(feature = "llvm") {
            Ok(Backend::Llvm)
        } else if cfg!(feature = "cranelift") {
            Ok(Backend::Cranelift)
        } else {
            bail!("this build of Kiln has no CPU backend: build it with the feature `cranelift` or `llvm`")
        }
    }

    /// The machine that Kiln runs on, as the backend sees it.
    ///
    /// # Errors
    /// If the build lacks the backend or it does not know the machine.
    pub fn host_target(self) -> Result<kiln_codegen::target::Target> {
        match self {
            #[cfg(feature = "llvm")]
            Backend::Llvm => Ok(kiln_codegen::llvm::host_target()),
            #[cfg(feature = "cranelift")]
            Backend::Cranelift => kiln_codegen::cranelift::host_target(),
            #[allow(unreachable_patterns)] // with both features there is no other
            other => Err(other.missing()),
        }
    }

    /// Compiles a program into memory.
    ///
    /// # Errors
    /// If the build lacks the backend, or it refuses the program.
    pub fn jit(
        self,
        program: &Program,
        target: &kiln_codegen::target::Target,
        threads: usize,
    ) -> Result<Box<dyn JitCode>> {
        match self {
            #[cfg(feature = "llvm")]
            Backend::Llvm => {
                let options = kiln_codegen::llvm::Options { threads, ..Default::default() };
                kiln_codegen::llvm::jit(program, target, &options)
            }
            #[cfg(feature = "cranelift")]
            Backend::Cranelift => {
                let tiles = kiln_codegen::cranelift::host_tiles();
                let options = kiln_codegen::cranelift::Options { threads, tiles, ..Default::default() };
                kiln_codegen::cranelift::jit(program, target, &options)
            }
            #[allow(unreachable_patterns)] // with both features there is no other
            other => Err(other.missing()),
        }
    }

    /// Compiles a program into an object file.
    ///
    /// # Errors
    /// As [`Backend::jit`].
    pub fn object(self, program: &Program, target: &kiln_codegen::target::Target) -> Result<Vec<u8>> {
        match self {
            #[cfg(feature = "llvm")]
            Backend::Llvm => kiln_codegen::llvm::compile_object(program, target, &Default::default()),
            #[cfg(feature = "cranelift")]
            Backend::Cranelift => kiln_codegen::cranelift::compile_object(program, target, &Default::default()),
            #[allow(unreachable_patterns)] // with both features there is no other
            other => Err(other.missing()),
        }
    }

    #[allow(dead_code)] // with every feature on, nothing is missing
    fn missing(self) -> anyhow::Error {
        anyhow!(
            "this build of Kiln lacks the {self:?} backend: build it with `--features {}`",
            format!("{self:?}").to_lowercase()
        )
    }
}

/// A compiled program with its weights and its workspace.
pub struct Executable {
    code: Box<dyn JitCode>,
    program: Program,
    weights: Arena,
    workspace: Arena,
    pool: Option<Arc<Pool>>,
    report: Report,
    /// The symbols' values in the last call, in the program's order.
    symbols: Vec<i64>,
}

impl Executable {
    /// Puts a compiled program together; `pool` runs its tasks, the calling thread without one.
    ///
    /// # Errors
    /// If memory cannot be had.
    pub fn new(planned: Planned, code: Box<dyn JitCode>, pool: Option<Arc<Pool>>) -> Result<Executable> {
        let Planned { program, weights, report, .. } = planned;
        let mut arena = Arena::new(weights.len()).context("memory for the weights")?;
        weights.write(arena.as_mut_slice())?;
        let workspace = Arena::new(0).context("memory for the workspace")?;
        Ok(Executable { code, program, weights: arena, workspace, pool, report, symbols: vec![] })
    }

    /// What was planned.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The inputs.
    pub fn inputs(&self) -> &[Port] {
        &self.program.inputs
    }

    /// The outputs.
    pub fn outputs(&self) -> &[Port] {
        &self.program.outputs
    }

    /// Bytes of machine code.
    pub fn code_bytes(&self) -> usize {
        self.code.code_bytes()
    }

    /// Bytes of workspace that the last call used.
    pub fn workspace_bytes(&self) -> usize {
        self.workspace.len()
    }

    /// A size of the report under the shapes of the last call.
    pub fn size(&self, d: &Dim) -> Option<u64> {
        let value = |s: &Symbol| self.program.symbols.iter().position(|k| k.0 == *s).and_then(|i| self.symbols.get(i));
        d.eval(&|s| value(s).copied()).and_then(|n| u64::try_from(n).ok())
    }

    /// Checks and binds inputs; the outputs are allocated. [`Call::run`] then runs as often as wanted.
    ///
    /// # Errors
    /// Inputs of another number, type or shape than the program's; the message names the input.
    pub fn call<'a>(&'a mut self, inputs: &'a [Tensor]) -> Result<Call<'a>> {
        self.call_within(inputs, &|_| None)
    }

    /// As [`Executable::call`]; `outer` gives the values of symbols that no input's shape binds.
    ///
    /// # Errors
    /// As [`Executable::call`], or a symbol is bound by neither.
    pub fn call_within<'a>(
        &'a mut self,
        inputs: &'a [Tensor],
        outer: &dyn Fn(&Symbol) -> Option<i64>,
    ) -> Result<Call<'a>> {
        let ports = &self.program.inputs;
        if inputs.len() != ports.len() {
            bail!("the model takes {} inputs, not {}", ports.len(), inputs.len());
        }
        let symbols = bind(&self.program, inputs, outer)?;
        let value = |s: &Symbol| self.program.symbols.iter().position(|k| k.0 == *s).map(|i| symbols[i]);
        let size = |d: &Dim| d.eval(&value).and_then(|n| usize::try_from(n).ok());
        let mut outputs = vec![];
        for p in &self.program.outputs {
            let shape: Option<Vec<usize>> = p.shape.iter().map(size).collect();
            let shape =
                shape.ok_or_else(|| anyhow!("output `{}` has a negative or unbound size in {:?}", p.name, p.shape))?;
            let bytes = element_count(&shape).and_then(|n| n.checked_mul(p.dtype.size()));
            if bytes.is_none_or(|b| isize::try_from(b).is_err()) {
                bail!("output `{}` of shape {shape:?} is larger than memory can be", p.name);
            }
            outputs.push(Tensor::zeros(p.dtype, &shape));
        }
        let workspace =
            size(&self.program.workspace).ok_or_else(|| anyhow!("the workspace's size cannot be computed"))?;
        if workspace > self.workspace.len() {
            self.workspace = Arena::new(workspace).context("memory for the workspace")?;
        }
        let mut slots: Vec<u64> = symbols.iter().map(|&s| s as u64).collect();
        slots.extend(inputs.iter().map(|t| t.bytes().as_ptr() as u64));
        slots.extend(outputs.iter_mut().map(|t| t.bytes_mut().as_mut_ptr() as u64));
        slots.push(self.weights.as_slice().as_ptr() as u64);
        self.symbols = symbols;
        Ok(Call { executable: self, _inputs: inputs, outputs, slots })
    }
}

/// A call with its memory bound.
pub struct Call<'a> {
    executable: &'a mut Executable,
    /// Borrowed for as long as the slots point to them.
    _inputs: &'a [Tensor],
    outputs: Vec<Tensor>,
    slots: Vec<u64>,
}

impl Call<'_> {
    /// Runs the program once.
    ///
    /// # Errors
    /// The status that the program returned.
    pub fn run(&mut self) -> Result<()> {
        let e = &mut *self.executable;
        let parallel = e.pool.as_ref().map_or(std::ptr::null(), |p| std::ptr::from_ref(p.parallel()).cast());
        let run = e.code.run_fn();
        // SAFETY: `run` follows the ABI of `kiln_codegen::program`. The slots hold, in the program's order, its symbols,
        // pointers to inputs whose types and shapes were checked against its ports, to outputs allocated for them, which
        // nothing else refers to while `self` is borrowed, and to its weights, 64-byte aligned. The workspace has the size
        // that the program asks for under these symbols and is 64-byte aligned. The pool outlives the call.
        let status = unsafe { run(self.slots.as_ptr(), e.workspace.as_mut_ptr(), parallel) };
        match Status::from_code(status) {
            Some(Status::Ok) => Ok(()),
            Some(s) => bail!("{}", s.text()),
            None => bail!("the program returned the unknown status {status}"),
        }
    }

    /// The outputs.
    pub fn outputs(self) -> Vec<Tensor> {
        self.outputs
    }
}

/// The threads of a program; none for one thread, which is the caller.
///
/// # Errors
/// If threads cannot be started.
pub fn pool(threads: usize) -> Result<Option<Arc<Pool>>> {
    Ok(if threads > 1 { Some(Arc::new(Pool::new(threads).context("starting threads")?)) } else { None })
}

/// The value of each symbol, from the inputs' shapes; of those that they do not bind, from `outer`.
pub(crate) fn bind(program: &Program, inputs: &[Tensor], outer: &dyn Fn(&Symbol) -> Option<i64>) -> Result<Vec<i64>> {
    let mut values: Vec<Option<i64>> = vec![None; program.symbols.len()];
    for (p, t) in program.inputs.iter().zip(inputs) {
        if p.dtype != t.dtype() {
            bail!("input `{}` is of type {}, not {}", p.name, p.dtype, t.dtype());
        }
        if p.shape.len() != t.shape().len() {
            bail!("input `{}` has shape {:?}, not {:?}", p.name, p.shape, t.shape());
        }
        for (d, &n) in p.shape.iter().zip(t.shape()) {
            if let Some(i) = program.symbols.iter().position(|s| *d == Dim::sym(&s.0.0)) {
                let n = n as i64;
                if values[i].is_some_and(|v| v != n) {
                    bail!("`{}` is {} in one input and {n} in input `{}`", d, values[i].unwrap_or(0), p.name);
                }
                values[i] = Some(n);
            }
        }
    }
    let values: Vec<i64> = values
        .iter()
        .zip(&program.symbols)
        .map(|(v, (s, b))| match v.or_else(|| outer(s)) {
            Some(v) if v < b.min || b.max.is_some_and(|m| v > m) => {
                bail!("`{s}` is {v}, outside the range that the model was compiled for")
            }
            Some(v) => Ok(v),
            None => bail!("nothing binds `{s}`"),
        })
        .collect::<Result<_>>()?;
    let value = |s: &Symbol| program.symbols.iter().position(|k| k.0 == *s).map(|i| values[i]);
    for (p, t) in program.inputs.iter().zip(inputs) {
        for (d, &n) in p.shape.iter().zip(t.shape()) {
            if d.eval(&value) != Some(n as i64) {
                bail!("input `{}` takes shape {:?}, not {:?}", p.name, p.shape, t.shape());
            }
        }
    }
    Ok(values)
}

/// The prefix that a JIT's symbols have; nobody sees it.
pub const PREFIX: &str = "kiln_jit";
