//! Locks of the daemon's shared state.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also after a panic: what the mutexes here guard is never left half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
