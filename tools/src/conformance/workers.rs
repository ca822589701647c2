//! Worker processes: each takes ids of cases on its standard input and answers with a line of JSON. One that dies or does
//! not answer in time costs its case only: the next case gets a new process.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Outcome, Record};

/// How workers are started.
#[derive(Clone)]
pub struct Spawn {
    /// This program.
    pub program: PathBuf,
    /// The folder of cases.
    pub folder: PathBuf,
    /// The longest that a case may take.
    pub timeout: Duration,
    /// The memory that a worker may map, in MiB: a case that wants more fails without taking the machine with it.
    pub memory: u64,
}

/// A running process.
struct Worker {
    child: Child,
    stdin: ChildStdin,
    answers: Receiver<String>,
    /// The last lines that it wrote to standard error: what a panic says.
    last_words: Arc<Mutex<VecDeque<String>>>,
}

impl Worker {
    fn start(spawn: &Spawn, backend: &str) -> Result<Worker> {
        // The shell sets the limit and becomes the worker, so that killing the child kills it.
        let mut child = Command::new("sh")
            .args(["-c", "ulimit -v \"$0\"; exec \"$@\"", &(spawn.memory * 1024).to_string()])
            .arg(&spawn.program)
            .arg(&spawn.folder)
            .args(["--worker", "--backend", backend])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", spawn.program.display()))?;
        let stdin = child.stdin.take().context("the worker has no standard input")?;
        let stdout = child.stdout.take().context("the worker has no standard output")?;
        let stderr = child.stderr.take().context("the worker has no standard error")?;
        let (send, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        let last_words = Arc::new(Mutex::new(VecDeque::new()));
        let words = last_words.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let Ok(mut words) = words.lock() else { break };
                words.push_back(line);
                if words.len() > 20 {
                    words.pop_front();
                }
            }
        });
        Ok(Worker { child, stdin, answers, last_words })
    }

    /// The record of a case, or how the worker ended instead.
    fn ask(&mut self, id: &str, timeout: Duration) -> Result<Record, String> {
        // A worker that is gone is noticed when it does not answer.
        let _ = writeln!(self.stdin, "{id}").and_then(|()| self.stdin.flush());
        loop {
            match self.answers.recv_timeout(timeout) {
                // Other lines are what ops print.
                Ok(line) => match serde_json::from_str::<Record>(&line) {
                    Ok(record) if record.id == id => return Ok(record),
                    _ => {}
                },
                Err(RecvTimeoutError::Timeout) => {
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    return Err(format!("no answer within {} s", timeout.as_secs_f64()));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let how = self.child.wait().map_or_else(|e| e.to_string(), |s| s.to_string());
                    // Its last words may still be on their way through the pipe.
                    std::thread::sleep(Duration::from_millis(20));
                    let words = self.last_words.lock().map(|w| w.iter().cloned().collect::<Vec<_>>());
                    return Err(format!("the worker ended with {how}: {}", words.unwrap_or_default().join(" | ")));
                }
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // One that has ended already cannot be killed; either way it is collected.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs cases on a backend in `jobs` processes; `done` gets each record as it comes.
///
/// # Errors
/// If workers cannot be started, or `done` fails.
pub fn run(
    spawn: &Spawn,
    backend: &str,
    ids: Vec<String>,
    jobs: usize,
    done: &mut dyn FnMut(Record) -> Result<()>,
) -> Result<()> {
    let queue = Mutex::new(VecDeque::from(ids));
    let (send, records) = channel::<Result<Record>>();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let send = send.clone();
            scope.spawn(|| {
                let send = send;
                let mut worker = None;
                while let Some(id) = queue.lock().ok().and_then(|mut q| q.pop_front()) {
                    let answer = ask(&mut worker, spawn, backend, &id);
                    let failed = answer.is_err();
                    if send.send(answer).is_err() || failed {
                        break;
                    }
                }
            });
        }
        drop(send);
        let mut result = Ok(());
        for record in records {
            result = record.and_then(&mut *done);
            if result.is_err() {
                if let Ok(mut q) = queue.lock() {
                    q.clear();
                }
                break;
            }
        }
        result
    })
}

fn ask(worker: &mut Option<Worker>, spawn: &Spawn, backend: &str, id: &str) -> Result<Record> {
    let w = match worker {
        Some(w) => w,
        None => worker.insert(Worker::start(spawn, backend)?),
    };
    Ok(w.ask(id, spawn.timeout).unwrap_or_else(|error| {
        *worker = None;
        Record { backend: backend.into(), id: id.into(), outcome: Outcome::Crashed, error }
    }))
}

/// The worker's side: answers ids until its standard input ends.
///
/// # Errors
/// If the folder cannot be read or an id is not in it.
pub fn serve(folder: &Path, backend: kiln::jit::Backend) -> Result<()> {
    let index = super::index::Index::read(folder)?;
    for id in std::io::stdin().lines() {
        let id = id?;
        let case = index.cases.iter().find(|c| c.id == id).with_context(|| format!("there is no case `{id}`"))?;
        let record = super::execute::run_case(&index, case, backend);
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(&record)?)?;
        out.flush()?;
    }
    Ok(())
}
