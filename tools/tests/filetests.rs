//! One test for each file under `testdata/passes`, `testdata/verify` and `testdata/run`; see [`kiln_tools::filetest`].

use std::path::Path;
use std::process::ExitCode;

use kiln_tools::filetest;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata");
    let bless = std::env::var_os("KILN_BLESS").is_some_and(|v| v == "1");
    let mut trials = vec![];
    for dir in ["passes", "verify", "run"] {
        let files = match filetest::files(&root.join(dir)) {
            Ok(files) => files,
            Err(e) => {
                eprintln!("{e:#}");
                return ExitCode::FAILURE;
            }
        };
        for path in files {
            let name = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
            let run = move || filetest::run_file(&path, bless).map_err(|e| Failed::from(format!("{e:#}")));
            trials.push(Trial::test(name, run));
        }
    }
    libtest_mimic::run(&args, trials).exit_code()
}
