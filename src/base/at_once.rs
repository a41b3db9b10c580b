//! Work that is done at once or not at all: a thread that serves many connections may look whether it can answer, and
//! leaves what would have to wait (for a vault, an object store, or another process) to a thread that may.

use std::cell::Cell;
use std::sync::{
    Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, TryLockError, TryLockResult,
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    AtOnce,
    WouldWait,
}

thread_local! {
    static STATE: Cell<State> = const { Cell::new(State::Free) };
}

/// What `work` gives, or `None` when it would have had to wait: what it says then counts for nothing, and it is done
/// anew where waiting is allowed.
pub fn at_once<T>(work: impl FnOnce() -> T) -> Option<T> {
    /// Also when `work` panics.
    struct Reset(State);
    impl Drop for Reset {
        fn drop(&mut self) {
            STATE.set(self.0);
        }
    }
    let _reset = Reset(STATE.replace(State::AtOnce));
    let done = work();
    (STATE.get() == State::AtOnce).then_some(done)
}

/// Whether this thread may wait now. Who is told that it may not gives up, with whatever error: nobody will see it.
pub fn may_wait() -> bool {
    let free = STATE.get() == State::Free;
    if !free {
        STATE.set(State::WouldWait);
    }
    free
}

/// The lock for reading, or `None` when somebody writes and this thread may not wait. Who panicked with it says nothing.
pub fn read_lock<T>(lock: &RwLock<T>) -> Option<RwLockReadGuard<'_, T>> {
    taken(lock.try_read(), || {
        lock.read().unwrap_or_else(PoisonError::into_inner)
    })
}

/// The same of a mutex.
pub fn mutex_lock<T>(lock: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    taken(lock.try_lock(), || {
        lock.lock().unwrap_or_else(PoisonError::into_inner)
    })
}

fn taken<G>(tried: TryLockResult<G>, wait: impl FnOnce() -> G) -> Option<G> {
    match tried {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => may_wait().then(wait),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_have_waited_counts_for_nothing() {
        assert_eq!(at_once(|| 7), Some(7));
        assert_eq!(at_once(|| if may_wait() { 7 } else { 8 }), None);
        assert!(may_wait(), "outside");
        let inner = || at_once(may_wait);
        assert_eq!(at_once(|| inner().is_none()), Some(true));
        let panicked = std::panic::catch_unwind(|| at_once(|| panic!("on purpose")));
        assert!(panicked.is_err() && may_wait());
    }

    #[test]
    fn no_lock_is_waited_for() {
        let (mutex, lock) = (Mutex::new(7), RwLock::new(7));
        let both = || Some(*mutex_lock(&mutex)? + *read_lock(&lock)?);
        assert_eq!(at_once(both), Some(Some(14)));
        let held = mutex.lock().unwrap();
        assert_eq!(at_once(both), None);
        drop(held);
        let held = lock.write().unwrap();
        assert_eq!(at_once(both), None);
        drop(held);
        assert_eq!(both(), Some(14));
    }
}
