//! Working memory that a thread keeps from call to call: fresh memory costs a fault for every page.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::mem;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::Threads;

/// The unit of working memory: a cache line, so that what different threads write shares none.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u64; 8]);

thread_local! {
    static SPARE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Lines that `len` values take.
pub(crate) fn lines<T: Plain>(len: usize) -> usize {
    len.checked_mul(size_of::<T>()).expect("sizes overflow").div_ceil(size_of::<Line>())
}

/// Calls `f` with `len` values that hold anything. Calls may nest: each level has its own memory.
pub fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    with_lines(lines::<f32>(len), |mut scratch| f(scratch.take(len)))
}

/// Calls `f` with as many lines.
pub(crate) fn with_lines<R>(lines: usize, f: impl FnOnce(Scratch<'_>) -> R) -> R {
    let mut buffer = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
    if buffer.len() < lines {
        // Nothing to copy.
        buffer = vec![Line([0; 8]); lines];
    }
    let result = f(Scratch { rest: &mut buffer[..lines] });
    SPARE.with_borrow_mut(|spare| spare.push(buffer));
    result
}

/// [`Threads::run`] (or one task after another without threads) with as many lines for each task. They are the calling
/// thread's, whoever runs the task: so a call allocates as much the first time as any other time.
pub(crate) fn run(
    threads: Option<&Threads>,
    n_tasks: usize,
    lines: usize,
    task: impl Fn(usize, Scratch<'_>) + Sync,
) {
    let at_once = threads.map_or(1, Threads::count).min(n_tasks).max(1);
    with_lines(at_once * (1 + lines), |mut scratch| match threads {
        Some(threads) if at_once > 1 => {
            let parts = Parts::new(&mut scratch, at_once, lines);
            threads.run(n_tasks, |i| parts.with(|scratch| task(i, scratch)));
        }
        _ => (0..n_tasks).for_each(|i| task(i, scratch.again())),
    });
}

/// Types of which any bits are a value.
///
/// # Safety
/// They are, and the alignment is at most a line's.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: any bits are a number.
unsafe impl Plain for f32 {}
// SAFETY: as above.
unsafe impl Plain for usize {}
// SAFETY: as above.
unsafe impl Plain for (usize, usize) {}
// SAFETY: any bits are a raw pointer.
unsafe impl Plain for *const f32 {}
// SAFETY: two `usize` and an `f32`.
unsafe impl Plain for crate::resize::Tap {}

/// Memory that is handed out in pieces, each beginning with a line.
pub(crate) struct Scratch<'a> {
    rest: &'a mut [Line],
}

impl<'a> Scratch<'a> {
    /// What is left, lent out to be handed out again.
    pub(crate) fn again(&mut self) -> Scratch<'_> {
        Scratch { rest: &mut *self.rest }
    }

    /// `len` values that hold anything.
    ///
    /// # Panics
    /// When fewer lines are left than they take.
    pub(crate) fn take<T: Plain>(&mut self, len: usize) -> &'a mut [T] {
        let (piece, rest) = mem::take(&mut self.rest).split_at_mut(lines::<T>(len));
        self.rest = rest;
        // SAFETY: the piece is as long as `len` values or longer and aligned for them; lines are initialised, and any
        // bits are a value.
        unsafe { std::slice::from_raw_parts_mut(piece.as_mut_ptr().cast(), len) }
    }
}

/// Memory for as many tasks as run at one time.
struct Parts<'a> {
    /// A line for each part, 1 in the first word while a task has it.
    taken: *mut Line,
    memory: *mut Line,
    count: usize,
    /// Lines of a part.
    lines: usize,
    scratch: PhantomData<&'a mut Line>,
}

// SAFETY: `with` gives each part to one task at a time, and `taken` is only used as atomic numbers.
unsafe impl Sync for Parts<'_> {}

impl<'a> Parts<'a> {
    fn new(scratch: &mut Scratch<'a>, count: usize, lines: usize) -> Self {
        let (taken, memory) = mem::take(&mut scratch.rest).split_at_mut(count);
        assert!(memory.len() >= count * lines, "lines for every part");
        taken.fill(Line([0; 8]));
        Self { taken: taken.as_mut_ptr(), memory: memory.as_mut_ptr(), count, lines, scratch: PhantomData }
    }

    /// Calls `f` with a part that nobody has; at most `count` calls are under way at one time.
    fn with(&self, f: impl FnOnce(Scratch<'_>)) {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static THREAD: usize = THREADS.fetch_add(1, Ordering::Relaxed);
        }
        // Each thread asks for the same part first, which its cache knows.
        let mut part = THREAD.with(|thread| thread % self.count);
        while self.taken(part).compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            part = (part + 1) % self.count;
        }
        let _free = Free(self.taken(part));
        // SAFETY: `part < count`, so its lines are within the memory; nobody else has the part until `_free` is dropped.
        let rest = unsafe { std::slice::from_raw_parts_mut(self.memory.add(part * self.lines), self.lines) };
        f(Scratch { rest });
    }

    fn taken(&self, part: usize) -> &AtomicU64 {
        // SAFETY: `part < count`; the line is borrowed for as long as `self`, begins with a `u64` aligned as the atomic,
        // and nobody uses it in another way.
        unsafe { &*self.taken.add(part).cast::<AtomicU64>() }
    }
}

/// Gives a part back, also when its task panics.
struct Free<'a>(&'a AtomicU64);

impl Drop for Free<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_do_not_overlap() {
        let need = lines::<f32>(17) + lines::<usize>(3) + lines::<*const f32>(0);
        with_lines(need, |mut scratch| {
            let (a, b) = (scratch.take::<f32>(17), scratch.take::<usize>(3));
            a.fill(1.0);
            b.fill(2);
            assert!(scratch.take::<*const f32>(0).is_empty());
            assert!(a.iter().all(|&a| a == 1.0) && b.iter().all(|&b| b == 2));
        });
    }

    #[test]
    fn tasks_that_run_together_have_parts_of_their_own() {
        let threads = Threads::new(3);
        let wrong = AtomicUsize::new(0);
        run(Some(&threads), 500, lines::<usize>(100), |i, mut scratch| {
            let own = scratch.take::<usize>(100);
            own.fill(i);
            std::thread::yield_now();
            wrong.fetch_add(own.iter().filter(|&&own| own != i).count(), Ordering::Relaxed);
        });
        assert_eq!(wrong.into_inner(), 0);
    }
}
