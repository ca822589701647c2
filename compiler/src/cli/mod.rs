//! The command line: one subcommand a file.
//!
//! Exit status 2 for a bad command line, 1 for a bad model or run, 0 otherwise. `--json` on every command that prints
//! facts. tfcompile's flag names are kept; dashes and underscores both work.

mod bench;
mod compile;
mod doctor;
mod inspect;
pub(crate) mod model;
mod ops;
mod opt;
mod run;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Compiles TensorFlow models to native code.
#[derive(Parser)]
#[command(name = "kiln", version, about, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures generated code for products and convolutions against the machine's peak
    Bench(bench::Args),
    /// Compiles a model to an object file, with what C, C++ and Rust programs need to call it
    Compile(compile::Args),
    /// Tells what this machine and this build have, and what is missing
    Doctor(doctor::Args),
    /// Shows a model's signatures, inputs, outputs and ops, and what Kiln does not support in it
    Inspect(inspect::Args),
    /// Lists the TensorFlow ops that this build takes, with types, gradients and where they run
    Ops(ops::Args),
    /// Runs passes over a graph and prints it
    Opt(opt::Args),
    /// Compiles a model in memory and runs it
    Run(run::Args),
    /// Compares a model's outputs with golden ones, and finds the first node that differs
    Verify(verify::Args),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    sigpipe::reset();
    let cli = match Cli::try_parse_from(with_dashes(std::env::args_os())) {
        Ok(cli) => cli,
        Err(e) => {
            // clap's own exit status for a bad command line is 2, for help and version 0.
            let code = e.exit_code();
            let _ = e.print();
            return ExitCode::from(u8::try_from(code).unwrap_or(2));
        }
    };
    let result = match cli.command {
        Command::Bench(args) => bench::main(&args),
        Command::Compile(args) => compile::main(&args),
        Command::Doctor(args) => doctor::main(&args),
        Command::Inspect(args) => inspect::main(&args),
        Command::Ops(args) => ops::main(&args),
        Command::Opt(args) => opt::main(&args),
        Command::Run(args) => run::main(&args),
        Command::Verify(args) => verify::main(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// Long flags with their underscores as dashes, as tfcompile's users write them.
fn with_dashes(args: impl Iterator<Item = std::ffi::OsString>) -> Vec<std::ffi::OsString> {
    args.map(|a| match a.to_str() {
        Some(s) if s.starts_with("--") => {
            let (flag, value) = s.split_once('=').map_or((s, None), |(f, v)| (f, Some(v)));
            let flag = flag.replace('_', "-");
            value.map_or(flag.clone(), |v| format!("{flag}={v}")).into()
        }
        _ => a,
    })
    .collect()
}
