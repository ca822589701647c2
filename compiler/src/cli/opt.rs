//! `kiln opt`: passes over a graph, text out: how a rewrite is looked at, and how a wrong one is found.

use anyhow::{Context, Result};
use kiln_ir::text::{Dump, print};
use kiln_passes::manager::{self, Math, Pass};
use kiln_passes::pipeline;

use super::model::{MathArg, ModelArgs};

/// Arguments of `kiln opt`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Passes to run instead of the pipeline's, in order, separated by commas
    #[arg(long, value_delimiter = ',')]
    passes: Vec<String>,
    /// Passes to leave out
    #[arg(long, value_delimiter = ',')]
    disable: Vec<String>,
    /// Passes after which the graph is printed to standard error; `all` for every pass
    #[arg(long, value_delimiter = ',')]
    dump_after: Vec<String>,
    /// The pass after which to stop
    #[arg(long)]
    stop_after: Option<String>,
    /// Rewrites after which to stop
    #[arg(long)]
    bisect_limit: Option<u64>,
    /// `strict`: TensorFlow's results; `fast`: reassociation and approximations too
    #[arg(long, value_enum, default_value = "strict")]
    math: MathArg,
    /// Print a table of the passes with times and rewrites to standard error
    #[arg(long)]
    time: bool,
    /// List the passes and leave
    #[arg(long)]
    list: bool,
    /// Leave the elements of large constants out of the text; it cannot be read back
    #[arg(long)]
    elide: bool,
}

pub fn main(args: &Args) -> Result<()> {
    if args.list {
        for p in pipeline::passes() {
            println!("{:24} {}", p.name(), p.doc());
        }
        return Ok(());
    }
    let dump = if args.elide { Dump::Elided } else { Dump::Full };
    let mut module =
        crate::pipeline::import(args.model.path()?, &args.model.open_options()?, &args.model.settings()?)?.module;
    let passes: Vec<Box<dyn Pass>> = if args.passes.is_empty() {
        pipeline::passes()
    } else {
        let find = |n: &String| {
            pipeline::by_name(n).with_context(|| format!("no pass is called `{n}`: see `kiln opt --list`"))
        };
        args.passes.iter().map(find).collect::<Result<_>>()?
    };
    let options = manager::Options {
        math: if args.math == MathArg::Fast { Math::Fast } else { Math::Strict },
        disabled: args.disable.iter().cloned().collect(),
        dump_after: args.dump_after.iter().cloned().collect(),
        stop_after: args.stop_after.clone(),
        bisect_limit: args.bisect_limit,
        ..Default::default()
    };
    let report = manager::run(&passes, &mut module, &options, &mut |i, pass, m| {
        eprintln!("// after pass {i}, {pass}\n{}", print(m, dump));
    })?;
    if args.time {
        eprint!("{report}");
    }
    print!("{}", print(&module, dump));
    Ok(())
}
