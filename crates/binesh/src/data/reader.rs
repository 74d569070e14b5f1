//! Pictures read ahead by threads, in order.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::image::{DecodeOptions, ImageError, Picture, open};

/// How to read.
#[derive(Clone, Debug)]
pub struct ReaderOptions {
    /// How pictures are decoded. [`DecodeOptions::at_least`] saves time with large photos.
    pub decode: DecodeOptions,
    /// Threads that read; one per core by default.
    pub threads: Option<usize>,
    /// How many results may lie ready or be in the making: what bounds the memory. 64 by default.
    pub prefetch: usize,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        ReaderOptions { decode: DecodeOptions::default(), threads: None, prefetch: 64 }
    }
}

/// Which picture of a [`Reader`]'s order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Position in the order.
    pub position: usize,
    /// Index into the paths. May come up several times.
    pub index: usize,
}

/// Reads pictures ahead, in parallel, and hands them out in the order asked for.
///
/// Threads decode each picture and do the caller's work on it: augmentation, preprocessing. What comes out does not
/// depend on how many there are. A picture that fails is a value, and the next one follows. Dropping the reader ends
/// its threads.
///
/// ```
/// # fn main() -> Result<(), binesh::image::ImageError> {
/// use binesh::data::{Reader, ReaderOptions};
/// use binesh::image::Picture;
/// # let folder = tempfile::tempdir().expect("a folder");
/// # let paths: Vec<_> = (0..3).map(|i| folder.path().join(format!("{i}.png"))).collect();
/// # for (i, path) in paths.iter().enumerate() {
/// #     binesh::render::write_png(path, &Picture::filled(4, 4 + i, [0; 3])).expect("a file");
/// # }
///
/// // The second picture twice, then the first; only widths are kept.
/// let width = |_, picture: Picture| picture.width();
/// let mut reader = Reader::new(paths, vec![1, 1, 0], ReaderOptions::default(), width);
/// for (turn, width) in &mut reader {
///     println!("{}: picture {} is {} pixels wide", turn.position, turn.index, width?);
/// }
/// println!("waiting for data {:.0} %", 100.0 * reader.waiting());
/// # Ok(())
/// # }
/// ```
pub struct Reader<T> {
    shared: Arc<Shared<T>>,
    threads: Vec<JoinHandle<()>>,
    order: Arc<[usize]>,
    taken: usize,
    waited: Duration,
    /// When the first picture was asked for, and when the last one was handed out.
    span: Option<(Instant, Instant)>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Something is ready.
    ready: Condvar,
    /// There is room to go ahead, or no more need to.
    room: Condvar,
}

struct State<T> {
    /// The next position to be worked on.
    next: usize,
    /// Positions below this one are taken.
    taken: usize,
    stopped: bool,
    done: BTreeMap<usize, Outcome<T>>,
}

enum Outcome<T> {
    Done(Result<T, ImageError>),
    Panicked(Box<dyn Any + Send>),
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing can panic while the state is locked, so a poisoned one is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static> Reader<T> {
    /// Starts to read the pictures `paths[i]` for every i of `order`.
    ///
    /// A panic in `work` is handed on by the `next` that would have given its result.
    ///
    /// # Panics
    /// If `order` has an index beyond the paths.
    pub fn new(
        paths: impl Into<Arc<[PathBuf]>>,
        order: impl Into<Arc<[usize]>>,
        options: ReaderOptions,
        work: impl Fn(Turn, Picture) -> T + Send + Sync + 'static,
    ) -> Reader<T> {
        let (paths, order): (Arc<[PathBuf]>, Arc<[usize]>) = (paths.into(), order.into());
        assert!(order.iter().all(|&index| index < paths.len()), "the order names pictures that do not exist");
        let state = State { next: 0, taken: 0, stopped: false, done: BTreeMap::new() };
        let shared =
            Arc::new(Shared { state: Mutex::new(state), ready: Condvar::new(), room: Condvar::new() });
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        let prefetch = options.prefetch.max(1);
        let threads = options.threads.unwrap_or_else(cores).clamp(1, prefetch).min(order.len());
        let work = Arc::new(work);
        let spawn = |_| {
            let (shared, paths, order, work) = (shared.clone(), paths.clone(), order.clone(), work.clone());
            let decode = options.decode;
            thread::spawn(move || {
                run(&shared, &order, prefetch, |turn| {
                    open(&paths[turn.index], &decode).map(|picture| work(turn, picture))
                });
            })
        };
        let threads = (0..threads).map(spawn).collect();
        Reader { shared, threads, order, taken: 0, waited: Duration::ZERO, span: None }
    }
}

/// What each thread does until nothing is left.
fn run<T>(
    shared: &Shared<T>,
    order: &[usize],
    prefetch: usize,
    read: impl Fn(Turn) -> Result<T, ImageError>,
) {
    loop {
        let mut state = shared.lock();
        while !state.stopped && state.next < order.len() && state.next >= state.taken.saturating_add(prefetch)
        {
            state = shared.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.stopped || state.next >= order.len() {
            return;
        }
        let position = state.next;
        state.next += 1;
        drop(state);
        let turn = Turn { position, index: order[position] };
        let outcome = match catch_unwind(AssertUnwindSafe(|| read(turn))) {
            Ok(result) => Outcome::Done(result),
            Err(panic) => Outcome::Panicked(panic),
        };
        shared.lock().done.insert(position, outcome);
        shared.ready.notify_one();
    }
}

impl<T> Reader<T> {
    /// Share of the time, from the first picture asked for to the last one handed out, in which the caller waited
    /// here: 0 when reading is never what holds up the work, near 1 when it is all there is. 0 before the start.
    pub fn waiting(&self) -> f64 {
        let total = self.span.map_or(Duration::ZERO, |(first, last)| last - first);
        if total.is_zero() { 0.0 } else { (self.waited.as_secs_f64() / total.as_secs_f64()).min(1.0) }
    }

    /// Time spent waiting for pictures.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl<T> Iterator for Reader<T> {
    type Item = (Turn, Result<T, ImageError>);

    fn next(&mut self) -> Option<Self::Item> {
        let position = self.taken;
        let index = *self.order.get(position)?;
        let asked = Instant::now();
        let mut state = self.shared.lock();
        let outcome = loop {
            match state.done.remove(&position) {
                Some(outcome) => break outcome,
                None => state = self.shared.ready.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        };
        state.taken += 1;
        drop(state);
        self.shared.room.notify_all();
        self.taken += 1;
        let now = Instant::now();
        self.waited += now - asked;
        self.span = Some((self.span.map_or(asked, |(first, _)| first), now));
        match outcome {
            Outcome::Done(result) => Some((Turn { position, index }, result)),
            Outcome::Panicked(panic) => resume_unwind(panic),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.order.len() - self.taken;
        (left, Some(left))
    }
}

impl<T> ExactSizeIterator for Reader<T> {}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.room.notify_all();
        for thread in self.threads.drain(..) {
            // Its panics are values; there is nothing to hear from it.
            let _ = thread.join();
        }
    }
}
