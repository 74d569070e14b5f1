//! The threads of one runtime.

mod pool;

use std::fmt;

use pool::Pool;

/// A fixed number of threads that share the tasks of one call at a time.
pub struct Threads {
    /// `None` for one thread: everything runs on the caller's.
    pool: Option<Pool>,
    count: usize,
}

impl Threads {
    /// `count` threads (at least one), of which the caller's is one.
    ///
    /// # Panics
    /// If the operating system refuses to start a thread.
    pub fn new(count: usize) -> Self {
        let count = count.max(1);
        Self { pool: (count > 1).then(|| Pool::new(count - 1)), count }
    }

    /// Number of threads.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Runs `task(0)` to `task(n_tasks - 1)`, each once, in any order. Threads take the next number from a
    /// shared counter, so uneven tasks and busy cores balance out. While the threads work for one caller, others do
    /// their tasks alone, on their own threads.
    pub fn run(&self, n_tasks: usize, task: impl Fn(usize) + Sync) {
        match &self.pool {
            Some(pool) if n_tasks > 1 => pool.run(n_tasks, &task),
            _ => (0..n_tasks).for_each(task),
        }
    }

    /// Splits `data` into chunks of `chunk` values (the last may be shorter) and runs `task(index, chunk)` on each.
    pub(crate) fn run_chunks(&self, data: &mut [f32], chunk: usize, task: impl Fn(usize, &mut [f32]) + Sync) {
        let len = data.len();
        if len == 0 {
            return;
        }
        assert!(chunk > 0, "chunk length");
        let base = SharedMut::new(data);
        self.run(len.div_ceil(chunk), |i| {
            let start = i * chunk;
            // SAFETY: chunks of different `i` do not overlap, each `i` runs once, and `data` is borrowed for
            // the whole call.
            task(i, unsafe { base.slice(start, chunk.min(len - start)) });
        });
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").field("count", &self.count).finish()
    }
}

/// A mutable slice that several tasks write to, each to its own part.
#[derive(Clone, Copy)]
pub(crate) struct SharedMut {
    start: *mut f32,
    len: usize,
}

// SAFETY: only a pointer and a length; all access goes through unsafe functions whose callers promise disjointness.
unsafe impl Send for SharedMut {}
// SAFETY: as above.
unsafe impl Sync for SharedMut {}

impl SharedMut {
    pub(crate) fn new(data: &mut [f32]) -> Self {
        Self { start: data.as_mut_ptr(), len: data.len() }
    }

    /// Address of a value, only to be prefetched: it may lie outside.
    pub(crate) fn at(self, index: usize) -> *const f32 {
        self.start.wrapping_add(index)
    }

    /// Address of `start`, from which `len` values must be within the slice (checked).
    pub(crate) fn address(self, start: usize, len: usize) -> *mut f32 {
        assert!(start <= self.len && len <= self.len - start, "part of a shared slice");
        self.start.wrapping_add(start)
    }

    /// The part `start..start + len`, which must be within the slice (checked).
    ///
    /// # Safety
    /// The slice this was made from is still mutably borrowed, and no other live reference overlaps the part.
    pub(crate) unsafe fn slice<'a>(self, start: usize, len: usize) -> &'a mut [f32] {
        assert!(start <= self.len && len <= self.len - start, "part of a shared slice");
        // SAFETY: in bounds by the assertion; aliasing is the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }
}

/// Values per task of element-wise kernels: large enough (64 KB) that handing out a task costs nothing beside it.
pub(crate) const GRAIN: usize = 16 * 1024;
