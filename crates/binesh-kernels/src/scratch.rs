//! Working memory that a thread keeps from call to call: fresh memory costs a fault for every page.

use std::cell::RefCell;

thread_local! {
    static SPARE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with `len` values that hold anything. Calls may nest: each level has its own memory.
pub(crate) fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut buffer = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
    if buffer.len() < len {
        // Nothing to copy, and zeros that the system has ready.
        buffer = vec![0.0; len];
    }
    let result = f(&mut buffer[..len]);
    SPARE.with_borrow_mut(|spare| spare.push(buffer));
    result
}
