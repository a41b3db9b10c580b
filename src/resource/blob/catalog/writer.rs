//! The connection that changes the catalog. Who waits for it while another works on it is committed with those
//! who wait with him: one sync of the disk for all of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};

use rusqlite::{Connection, TransactionBehavior, ffi};

use super::Refused;

/// A group of so many changes is committed, whoever waits.
const GROUP_MAX: usize = 128;

pub(super) struct Writer {
    group: Mutex<Group>,
    /// Those who wait for `group`, to join it: each of them will.
    waiting: AtomicUsize,
    settled: Condvar,
    /// Groups that were not committed.
    spoiled: AtomicU64,
}

struct Group {
    connection: Connection,
    /// Those whose changes are in the transaction that is open.
    members: usize,
    /// Of that transaction.
    outcome: Outcome,
    /// Those who wait for a turn without others: no group begins before theirs.
    alone: usize,
}

/// Whether a transaction was committed, as soon as that is known. Who waits for it does not wait for the connection,
/// which has gone to the next.
type Outcome = Arc<OnceLock<bool>>;

/// What is changed. It may be run twice.
type Work<'a, T> = dyn FnMut(&Connection) -> Result<T, Refused> + 'a;

struct Notify<'a>(&'a Condvar);

impl Drop for Notify<'_> {
    fn drop(&mut self) {
        self.0.notify_all();
    }
}

impl Writer {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            group: Mutex::new(Group {
                connection,
                members: 0,
                outcome: Outcome::default(),
                alone: 0,
            }),
            waiting: AtomicUsize::new(0),
            settled: Condvar::new(),
            spoiled: AtomicU64::new(0),
        }
    }

    /// How many groups were not committed. What was learnt in one may not be so.
    pub(super) fn spoiled(&self) -> u64 {
        self.spoiled.load(Ordering::SeqCst)
    }

    /// Runs `work`, which may begin a transaction, outside of any.
    pub(super) fn alone<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let mut group = self.lock();
        group.alone += 1;
        while !group.connection.is_autocommit() {
            group = self.wait(group);
        }
        group.alone -= 1;
        // Also when `work` panics.
        let _others = Notify(&self.settled);
        work(&mut group.connection)
    }

    /// Runs `work` in a transaction; what it did is taken back when it refuses, and durable otherwise.
    pub(super) fn write<T>(&self, work: &mut Work<'_, T>) -> Result<T, Refused> {
        let mut done = self.write_all(&mut [work]);
        done.pop().unwrap_or(Err(Refused::Malformed))
    }

    /// The same of several, in one transaction where nothing fails: each counts as if it were alone.
    pub(super) fn write_all<T>(&self, works: &mut [&mut Work<'_, T>]) -> Vec<Result<T, Refused>> {
        let joined = self.join(works);
        // Where the group was not committed, neither a change nor a refusal, which may rest on another's change, counts.
        // What is wrong there shows when it is tried alone.
        (joined.into_iter().zip(works))
            .map(|(done, work)| done.unwrap_or_else(|| self.write_alone(*work)))
            .collect()
    }

    fn write_alone<T>(&self, work: &mut Work<'_, T>) -> Result<T, Refused> {
        let mut done = Err(Refused::Malformed);
        self.alone(|c| {
            let tx = c.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let run = catch_unwind(AssertUnwindSafe(|| work(&tx)));
            done = run.unwrap_or_else(|panic| Err(Refused::Panicked(panic)));
            match done.is_ok() {
                true => tx.commit(),
                false => Ok(()),
            }
        })?;
        done
    }

    /// Runs `works` with those of the open transaction; nothing of what does not count, since it was not committed.
    fn join<T>(&self, works: &mut [&mut Work<'_, T>]) -> Vec<Option<Result<T, Refused>>> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut group = self.lock();
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        while group.alone > 0 && group.connection.is_autocommit() {
            group = self.wait(group);
        }
        let mut done = Vec::with_capacity(works.len());
        if group.connection.is_autocommit() {
            if let Err(e) = group.connection.execute_batch("BEGIN IMMEDIATE") {
                // It was waited for as long as one waits, for all of them.
                done.resize_with(works.len(), || Some(Err(same(&e).into())));
                return done;
            }
            (group.members, group.outcome) = (0, Outcome::default());
        }
        let outcome = group.outcome.clone();
        for work in works.iter_mut() {
            done.push(Some(member(&group.connection, work)));
            group.members += 1;
            if group.connection.is_autocommit() {
                break;
            }
        }
        if group.connection.is_autocommit() {
            // All of it was taken back, by SQLite (the disk is full, for instance) or since this one could not be.
            self.settle(&group, false);
        } else if self.waiting.load(Ordering::SeqCst) == 0 || group.members >= GROUP_MAX {
            let committed = group.connection.execute_batch("COMMIT");
            if committed.is_err() {
                roll_back(&group.connection);
            }
            self.settle(&group, committed.is_ok());
        }
        // Who waits goes on with it; the last of them commits.
        drop(group);
        if !outcome.wait() {
            for one in &mut done {
                *one = one
                    .take()
                    .filter(|one| matches!(one, Err(Refused::Panicked(_))));
            }
        }
        done.resize_with(works.len(), || None);
        done
    }

    fn settle(&self, group: &Group, committed: bool) {
        if !committed {
            self.spoiled.fetch_add(1, Ordering::SeqCst);
        }
        let _ = group.outcome.set(committed);
        self.settled.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Group> {
        // Who panicked did it in `work`, which was taken back.
        self.group.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn wait<'a>(&self, group: MutexGuard<'a, Group>) -> MutexGuard<'a, Group> {
        self.settled.wait(group).unwrap_or_else(|e| e.into_inner())
    }
}

/// The error, for another who meets it.
fn same(error: &rusqlite::Error) -> rusqlite::Error {
    let (code, why) = match error {
        rusqlite::Error::SqliteFailure(code, why) => (*code, why.clone()),
        other => {
            let code = other.sqlite_error().copied();
            (
                code.unwrap_or(ffi::Error::new(ffi::SQLITE_ERROR)),
                Some(other.to_string()),
            )
        }
    };
    rusqlite::Error::SqliteFailure(code, why)
}

/// Runs `work` so that it alone can be taken back. Where that fails, all of the transaction is.
fn member<T>(c: &Connection, work: &mut Work<'_, T>) -> Result<T, Refused> {
    let run = |sql| c.prepare_cached(sql)?.execute(());
    if let Err(e) = run("SAVEPOINT member") {
        roll_back(c);
        return Err(e.into());
    }
    let done = catch_unwind(AssertUnwindSafe(|| work(c)));
    let done = done.unwrap_or_else(|panic| Err(Refused::Panicked(panic)));
    if c.is_autocommit() {
        return done;
    }
    let ended = match done.is_ok() {
        true => run("RELEASE member"),
        false => run("ROLLBACK TO member").and_then(|_| run("RELEASE member")),
    };
    if ended.is_err() {
        roll_back(c);
    }
    done
}

/// Takes the transaction back. What keeps SQLite from that has closed it already: it is asked afterwards.
fn roll_back(c: &Connection) {
    if !c.is_autocommit() {
        let _ = c.execute_batch("ROLLBACK");
    }
}

#[cfg(test)]
mod tests;
