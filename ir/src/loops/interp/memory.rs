//! Buffers at run time: one 64-bit word an element, with a shadow of what was written and by whom.

use super::{BufferData, ErrorKind, Party, RunOptions};
use crate::loops::{Access, Buffer, Space};

/// One kind of concurrency around the statement that runs: the tasks, the threads between two barriers, the
/// iterations of a parallel loop. Every party that ever ran on a level has a number of its own; those that may run at
/// the same time as the current one are numbered from `base` on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Concurrent {
    pub party: Party,
    pub base: u64,
    pub current: u64,
    /// The first number not yet given away.
    pub next: u64,
    pub on: bool,
}

/// The level of tasks in [`Context::levels`].
pub(super) const TASKS: usize = 0;
/// The level of threads; parallel loops follow by nesting depth.
pub(super) const THREADS: usize = 1;

/// Who runs now, on all levels.
#[derive(Debug)]
pub(super) struct Context {
    pub levels: Vec<Concurrent>,
    /// The first numbers not yet given away on levels that are not open now.
    spent: Vec<u64>,
}

impl Context {
    pub fn new(threads: u32) -> Context {
        let level = |party, on| Concurrent { party, base: 0, current: 0, next: 0, on };
        Context { levels: vec![level(Party::Task, true), level(Party::Thread, threads > 1)], spent: vec![] }
    }

    /// A parallel loop starts inside the open ones; its iterations get numbers that no earlier loop's have.
    pub fn open(&mut self) {
        let first = self.spent.get(self.levels.len()).copied().unwrap_or(0);
        self.levels.push(Concurrent {
            party: Party::Iteration,
            base: first,
            current: first,
            next: first + 1,
            on: true,
        });
    }

    /// The innermost parallel loop ends.
    pub fn close(&mut self) {
        if let Some(c) = self.levels.pop() {
            let depth = self.levels.len();
            if self.spent.len() <= depth {
                self.spent.resize(depth + 1, 0);
            }
            self.spent[depth] = c.next;
        }
    }
}

/// The last accesses of an element on one level: numbers of parties, plus 1; 0 for none.
#[derive(Clone, Copy, Default, Debug)]
struct Cell {
    writer: u64,
    /// Two different readers: a writer conflicts with at least one of them.
    readers: [u64; 2],
}

/// The memory of a buffer, or of one thread's copy of a private one.
#[derive(Debug)]
pub(super) struct Memory {
    name: String,
    words: Vec<u64>,
    element: usize,
    written: Option<Vec<bool>>,
    /// The first level whose parties share this memory.
    first_level: usize,
    races: bool,
    cells: Vec<Vec<Cell>>,
    /// For the option `write_once`: the task that wrote each element, plus 1.
    written_by: Option<Vec<u64>>,
}

impl Memory {
    pub fn new(b: &Buffer, size: usize, options: &RunOptions) -> Memory {
        let first_level = match b.space {
            Space::Global => TASKS,
            Space::Shared => THREADS,
            Space::Private => THREADS + 1,
        };
        Memory {
            name: b.name.clone(),
            words: vec![0; size],
            element: b.dtype.size(),
            written: Some(vec![false; size]),
            first_level,
            races: options.races && b.access != Access::Read,
            cells: vec![],
            written_by: (options.write_once && b.access == Access::Write).then(|| vec![0; size]),
        }
    }

    /// Takes over the contents of a global buffer. What a write buffer held before the kernel is not readable.
    pub fn fill(&mut self, data: &BufferData, access: Access) {
        for (word, bytes) in self.words.iter_mut().zip(data.bytes.chunks_exact(self.element)) {
            let mut w = [0; 8];
            w[..self.element].copy_from_slice(bytes);
            *word = u64::from_le_bytes(w);
        }
        if access != Access::Write {
            self.written = data.written.clone();
        }
    }

    /// Hands the contents back.
    pub fn give_back(&self, data: &mut BufferData) {
        for (word, bytes) in self.words.iter().zip(data.bytes.chunks_exact_mut(self.element)) {
            bytes.copy_from_slice(&word.to_le_bytes()[..self.element]);
        }
        data.written = self.written.clone();
        if data.written.as_ref().is_some_and(|w| w.iter().all(|&w| w)) {
            data.written = None;
        }
    }

    /// Forgets what was written: a task starts with fresh private and shared memory.
    pub fn reset(&mut self) {
        if let Some(w) = &mut self.written {
            w.fill(false);
        }
    }

    /// The position of an element offset.
    pub fn at(&self, offset: i64) -> Result<usize, ErrorKind> {
        match usize::try_from(offset) {
            Ok(i) if i < self.words.len() => Ok(i),
            _ => Err(ErrorKind::OutOfBuffer { buffer: self.name.clone(), offset, size: self.words.len() }),
        }
    }

    pub fn load(&mut self, offset: i64, ctx: &Context) -> Result<u64, ErrorKind> {
        let i = self.at(offset)?;
        if self.written.as_ref().is_some_and(|w| !w[i]) {
            return Err(ErrorKind::Uninitialized { buffer: self.name.clone(), offset: i });
        }
        if self.races {
            self.note(i, ctx, false)?;
        }
        Ok(self.words[i])
    }

    pub fn store(&mut self, offset: i64, word: u64, ctx: &Context) -> Result<(), ErrorKind> {
        let i = self.at(offset)?;
        if self.races {
            self.note(i, ctx, true)?;
        }
        if let Some(by) = &mut self.written_by {
            let task = ctx.levels[TASKS].current + 1;
            if std::mem::replace(&mut by[i], task) == task {
                return Err(ErrorKind::WrittenTwice { buffer: self.name.clone(), offset: i });
            }
        }
        if let Some(w) = &mut self.written {
            w[i] = true;
        }
        self.words[i] = word;
        Ok(())
    }

    /// Makes an element unreadable until it is written: an asynchronous copy to it is under way.
    pub fn invalidate(&mut self, offset: i64) -> Result<(), ErrorKind> {
        let i = self.at(offset)?;
        if let Some(w) = &mut self.written {
            w[i] = false;
        }
        Ok(())
    }

    /// Records an access; an error if a concurrent party's access conflicts with it.
    fn note(&mut self, i: usize, ctx: &Context, write: bool) -> Result<(), ErrorKind> {
        for (l, level) in ctx.levels.iter().enumerate().skip(self.first_level) {
            if !level.on {
                continue;
            }
            if self.cells.len() <= l {
                self.cells.resize_with(l + 1, Vec::new);
            }
            let cells = &mut self.cells[l];
            if cells.is_empty() {
                cells.resize(self.words.len(), Cell::default());
            }
            let (me, cell) = (level.current + 1, &mut cells[i]);
            let conflict = |first: u64, earlier: &'static str| ErrorKind::Race {
                buffer: self.name.clone(),
                offset: i,
                party: level.party,
                first: first - 1 - level.base,
                second: level.current - level.base,
                earlier,
                action: if write { "writes" } else { "reads" },
            };
            if cell.writer > level.base && cell.writer != me {
                return Err(conflict(cell.writer, "wrote"));
            }
            if write {
                if let Some(&other) = cell.readers.iter().find(|&&r| r > level.base && r != me) {
                    return Err(conflict(other, "read"));
                }
                cell.writer = me;
            } else if cell.readers[0] <= level.base {
                cell.readers = [me, 0];
            } else if cell.readers[0] != me {
                cell.readers[1] = me;
            }
        }
        Ok(())
    }
}
