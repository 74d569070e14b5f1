//! Threads that wait for the next call awake for a moment before they sleep: between the layers of a network there are
//! a few microseconds, and waking a thread costs more than that.
//!
//! One job at a time. The caller opens the gate, works on the job like everybody else, closes the gate and waits for
//! those who came in. Whoever is late finds the gate closed and never looks at the job, so that nobody waits for a thread
//! that has no core to run on.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::{hint, mem, thread};

/// Looks at the gate before a thread sleeps, about 50 microseconds of them.
const LOOKS: usize = 2000;

/// Looks at the others' work before the caller offers its core.
const PATIENCE: usize = 10_000;

/// The gate: open or not, how many came in (16 bits), and the number of the job (47 bits).
const OPEN: u64 = 1;
const ONE_IN: u64 = 2;
const NEXT_JOB: u64 = 1 << 17;

fn came_in(gate: u64) -> usize {
    ((gate % NEXT_JOB) / ONE_IN) as usize
}

/// Some threads and the caller's.
pub(super) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    gate: AtomicU64,
    /// What to do; valid while the gate is open and for those who came in.
    job: UnsafeCell<Job>,
    next_task: AtomicUsize,
    /// How many of those who came in are done.
    left: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// A caller is at work; another one does its job alone.
    taken: AtomicBool,
    /// How many sleep, and whether they are to end.
    asleep: Mutex<Asleep>,
    wake: Condvar,
    any_asleep: AtomicBool,
}

#[derive(Default)]
struct Asleep {
    count: usize,
    end: bool,
}

#[derive(Clone, Copy)]
struct Job {
    task: *const (dyn Fn(usize) + Sync),
    count: usize,
}

// SAFETY: `job` is written by the one caller that has `taken` the pool, while the gate is closed and nobody is in; it is
// read by those who came in through the gate, which orders the write before the read.
unsafe impl Sync for Shared {}
// SAFETY: the task behind the pointer is `Sync`, and only used as `Sync` allows.
unsafe impl Send for Shared {}

impl Pool {
    /// `count` threads beside the caller's.
    ///
    /// # Panics
    /// If the operating system refuses to start a thread.
    pub(super) fn new(count: usize) -> Self {
        assert!(count < (NEXT_JOB / ONE_IN) as usize, "at most 65535 threads");
        let shared = Arc::new(Shared {
            gate: AtomicU64::new(0),
            job: UnsafeCell::new(Job { task: &|_| {}, count: 0 }),
            next_task: AtomicUsize::new(0),
            left: AtomicUsize::new(0),
            panic: Mutex::new(None),
            taken: AtomicBool::new(false),
            asleep: Mutex::default(),
            wake: Condvar::new(),
            any_asleep: AtomicBool::new(false),
        });
        let start = |i| {
            let shared = Arc::clone(&shared);
            let thread = thread::Builder::new().name(format!("binesh-{i}"));
            thread.spawn(move || shared.serve()).expect("start threads")
        };
        let threads = (1..=count).map(start).collect();
        Self { shared, threads }
    }

    /// Runs `task(0)` to `task(count - 1)`, each once, in any order: on all threads, or on the caller's alone when the
    /// pool is at work for another caller, or for this one (a task of a task).
    pub(super) fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        let shared = &*self.shared;
        if shared.taken.swap(true, Ordering::Acquire) {
            return (0..count).for_each(task);
        }
        // SAFETY: only the lifetime changes. The job is looked at by those who came in, and `close` waits for them.
        let task =
            unsafe { mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(task) };
        // SAFETY: the pool is taken, the gate closed and everybody left, so nobody else looks at the job.
        unsafe { *shared.job.get() = Job { task, count } };
        shared.next_task.store(0, Ordering::Relaxed);
        shared.open();
        shared.work(Job { task, count });
        shared.close();
        let panic = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        shared.taken.store(false, Ordering::Release);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock_asleep().end = true;
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            // A panic of a task was handed to its caller; a thread of ours has no other.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn open(&self) {
        let closed = self.gate.load(Ordering::Relaxed);
        let job = closed / NEXT_JOB * NEXT_JOB;
        // In one order with `any_asleep`, or a thread that falls asleep just now and this caller could miss each other.
        self.gate.store(job.wrapping_add(NEXT_JOB) | OPEN, Ordering::SeqCst);
        if self.any_asleep.load(Ordering::SeqCst) {
            // Once the lock was had, whoever was about to sleep does.
            drop(self.lock_asleep());
            self.wake.notify_all();
        }
    }

    /// Closes the gate and waits for those who came in.
    fn close(&self) {
        let inside = came_in(self.gate.fetch_and(!OPEN, Ordering::Relaxed));
        let mut looks = 0;
        while self.left.load(Ordering::Acquire) < inside {
            looks += 1;
            if looks < PATIENCE { hint::spin_loop() } else { thread::yield_now() }
        }
        self.left.store(0, Ordering::Relaxed);
    }

    /// Takes tasks until there are none. A panic is kept for the caller, and ends the job.
    fn work(&self, job: Job) {
        let result = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let i = self.next_task.fetch_add(1, Ordering::Relaxed);
                if i >= job.count {
                    break;
                }
                // SAFETY: the caller waits in `close` for everybody who has the job.
                unsafe { (*job.task)(i) };
            }
        }));
        if let Err(panic) = result {
            self.next_task.store(job.count, Ordering::Relaxed);
            self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
        }
    }

    /// What a thread does.
    fn serve(&self) {
        let mut last = 0;
        while let Some(job) = self.come_in(&mut last) {
            self.work(job);
            self.left.fetch_add(1, Ordering::Release);
        }
    }

    /// The next job after number `last`; `None` at the end.
    fn come_in(&self, last: &mut u64) -> Option<Job> {
        let mut looks = 0;
        loop {
            let gate = self.gate.load(Ordering::Relaxed);
            if gate & OPEN != 0 && gate / NEXT_JOB != *last {
                let entered =
                    self.gate.compare_exchange(gate, gate + ONE_IN, Ordering::Acquire, Ordering::Relaxed);
                if entered.is_ok() {
                    *last = gate / NEXT_JOB;
                    // SAFETY: this thread came in, so the caller neither writes the job nor returns.
                    return Some(unsafe { *self.job.get() });
                }
                continue;
            }
            looks += 1;
            if looks < LOOKS {
                hint::spin_loop();
            } else {
                looks = 0;
                if !self.sleep(*last) {
                    return None;
                }
            }
        }
    }

    /// Sleeps until the gate opens for a job after number `last`; false at the end.
    fn sleep(&self, last: u64) -> bool {
        let mut asleep = self.lock_asleep();
        asleep.count += 1;
        self.any_asleep.store(true, Ordering::SeqCst);
        while !asleep.end {
            let gate = self.gate.load(Ordering::SeqCst);
            if gate & OPEN != 0 && gate / NEXT_JOB != last {
                break;
            }
            asleep = self.wake.wait(asleep).unwrap_or_else(PoisonError::into_inner);
        }
        asleep.count -= 1;
        self.any_asleep.store(asleep.count > 0, Ordering::SeqCst);
        !asleep.end
    }

    fn lock_asleep(&self) -> std::sync::MutexGuard<'_, Asleep> {
        self.asleep.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each_once(pool: &Pool, count: usize) {
        let seen: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
        pool.run(count, &|i| {
            seen[i].fetch_add(1, Ordering::Relaxed);
        });
        assert!(seen.iter().all(|n| n.load(Ordering::Relaxed) == 1), "{seen:?}");
    }

    #[test]
    fn every_task_runs_once() {
        for threads in [0, 1, 3] {
            let pool = Pool::new(threads);
            (0..2000).for_each(|i| each_once(&pool, i % 17));
        }
    }

    #[test]
    fn sleepers_wake() {
        let pool = Pool::new(2);
        let threads = Mutex::new(std::collections::HashSet::new());
        for _ in 0..5 {
            while pool.shared.lock_asleep().count < 2 {
                thread::yield_now();
            }
            // Tasks that last until all three threads have one.
            let here = AtomicUsize::new(0);
            pool.run(3, &|_| {
                here.fetch_add(1, Ordering::SeqCst);
                while here.load(Ordering::SeqCst) < 3 {
                    thread::yield_now();
                }
                threads.lock().unwrap().insert(thread::current().id());
            });
        }
        assert_eq!(threads.lock().unwrap().len(), 3);
    }

    #[test]
    fn several_callers_and_tasks_of_tasks() {
        let pool = Pool::new(2);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..500).for_each(|i| each_once(&pool, i % 7)));
            }
        });
        let sum = AtomicUsize::new(0);
        pool.run(8, &|i| {
            pool.run(4, &|j| {
                sum.fetch_add(10 * i + j, Ordering::Relaxed);
            });
        });
        assert_eq!(sum.into_inner(), 10 * 4 * 28 + 8 * 6);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let pool = Pool::new(2);
        for bad in 0..20 {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                pool.run(20, &|i| {
                    if i == bad {
                        panic!("task {i}");
                    }
                });
            }));
            let text = *caught.expect_err("the panic was lost").downcast::<String>().unwrap();
            assert_eq!(text, format!("task {bad}"));
            each_once(&pool, 9);
        }
    }
}
