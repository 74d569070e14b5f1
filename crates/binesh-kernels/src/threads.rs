//! The threads of one session. The only file that knows which pool they come from.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A fixed number of threads that share the tasks of one call at a time.
pub struct Threads {
    count: usize,
    /// `None` for one thread: everything runs on the caller's.
    pool: Option<rayon::ThreadPool>,
}

impl Threads {
    /// `count` threads (at least one). One thread means the caller's own; nothing is spawned.
    ///
    /// # Panics
    /// If the operating system refuses to start a thread.
    pub fn new(count: usize) -> Self {
        let count = count.max(1);
        let pool = (count > 1).then(|| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(count)
                .thread_name(|i| format!("binesh-{i}"))
                .build()
                .expect("start threads")
        });
        Self { count, pool }
    }

    /// Number of threads.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Runs `task(0)` to `task(n_tasks - 1)`, each once, in any order. Threads take the next number from a
    /// shared counter, so uneven tasks and busy cores balance out.
    pub fn run(&self, n_tasks: usize, task: impl Fn(usize) + Sync) {
        match &self.pool {
            Some(pool) if n_tasks > 1 => {
                let next = AtomicUsize::new(0);
                pool.broadcast(|_| {
                    loop {
                        let i = next.fetch_add(1, Ordering::Relaxed);
                        if i >= n_tasks {
                            break;
                        }
                        task(i);
                    }
                });
            }
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
