//! The connection that changes the catalog. Who waits for it while another works on it is committed with those
//! who wait with him: one sync of the disk for all of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};

use rusqlite::{Connection, TransactionBehavior};

use super::Refused;

/// Changes that one commit makes durable, at most.
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
        let done = work(&mut group.connection);
        self.settled.notify_all();
        done
    }

    /// Runs `work` in a transaction; what it did is taken back when it refuses, and durable otherwise.
    pub(super) fn write<T>(&self, work: &mut Work<'_, T>) -> Result<T, Refused> {
        if let Some(done) = self.join(work)? {
            return done;
        }
        // The group was not committed, so that neither a change nor a refusal, which may rest on another's
        // change, counts. What is wrong here shows when it is tried alone.
        let mut done = Err(Refused::Malformed);
        self.alone(|c| {
            let tx = c.transaction_with_behavior(TransactionBehavior::Immediate)?;
            done = work(&tx);
            match done.is_ok() {
                true => tx.commit(),
                false => Ok(()),
            }
        })?;
        done
    }

    /// Runs `work` with those of the open transaction; nothing, when that was not committed.
    fn join<T>(&self, work: &mut Work<'_, T>) -> Result<Option<Result<T, Refused>>, Refused> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut group = self.lock();
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        while group.alone > 0 && group.connection.is_autocommit() {
            group = self.wait(group);
        }
        if group.connection.is_autocommit() {
            group.connection.execute_batch("BEGIN IMMEDIATE")?;
            (group.members, group.outcome) = (0, Outcome::default());
        }
        let outcome = group.outcome.clone();
        let done = member(&group.connection, work);
        group.members += 1;
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
        let counts = *outcome.wait() || matches!(done, Err(Refused::Panicked(_)));
        Ok(counts.then_some(done))
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
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use rusqlite::hooks::{AuthAction, AuthContext, Authorization, TransactionOperation};

    use super::*;
    use crate::resource::ResourceError;

    type Works<'a> = Box<dyn FnMut(&Connection) -> Result<(), Refused> + Send + 'a>;

    fn writer(path: &std::path::Path) -> Writer {
        let c = Connection::open(path).unwrap();
        c.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE t (n INTEGER UNIQUE)")
            .unwrap();
        Writer::new(c)
    }

    fn numbers(path: &std::path::Path) -> Vec<i64> {
        let c = Connection::open(path).unwrap();
        let mut query = c.prepare("SELECT n FROM t ORDER BY n").unwrap();
        let rows = query.query_map((), |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn add(c: &Connection, n: i64) -> Result<(), Refused> {
        c.execute("INSERT INTO t VALUES (?1)", [n])?;
        Ok(())
    }

    fn refusal() -> Refused {
        ResourceError::NotFound("what the test looked for".into()).into()
    }

    /// Runs each of the works as a member of one group: the first holds the connection until the others wait for
    /// it.
    fn as_a_group(writer: &Writer, works: Vec<Works<'_>>) -> Vec<Result<(), Refused>> {
        let others = works.len() - 1;
        let begun = &Barrier::new(2);
        thread::scope(|scope| {
            let mut all: Vec<thread::ScopedJoinHandle<'_, _>> = Vec::new();
            for (at, mut work) in works.into_iter().enumerate() {
                all.push(scope.spawn(move || {
                    let mut first = at == 0;
                    writer.write(&mut |c| {
                        if std::mem::take(&mut first) {
                            begun.wait();
                            while writer.waiting.load(Ordering::SeqCst) < others {
                                thread::yield_now();
                            }
                        }
                        work(c)
                    })
                }));
                if at == 0 {
                    begun.wait();
                }
            }
            all.into_iter().map(|one| one.join().unwrap()).collect()
        })
    }

    /// Lets no transaction or savepoint do what `denies` says.
    fn deny(writer: &Writer, mut denies: impl FnMut(&AuthAction<'_>) -> bool + Send + 'static) {
        let mut group = writer.lock();
        group.connection.flush_prepared_statement_cache();
        let hook = move |context: AuthContext<'_>| match denies(&context.action) {
            true => Authorization::Deny,
            false => Authorization::Allow,
        };
        group.connection.authorizer(Some(hook)).unwrap();
    }

    #[test]
    fn member_that_is_refused_leaves_no_change_and_takes_no_other_along() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let writer = writer(&path);
        let done = as_a_group(
            &writer,
            vec![
                Box::new(|c| add(c, 1)),
                Box::new(|c| add(c, 2).and(Err(refusal()))),
                Box::new(|c| add(c, 3)),
                Box::new(|c| add(c, 4).and_then(|()| add(c, 1))),
            ],
        );
        assert!(done[0].is_ok() && done[2].is_ok());
        assert!(done[1].is_err() && done[3].is_err());
        assert_eq!(numbers(&path), [1, 3]);
        assert_eq!(writer.spoiled(), 0);
    }

    #[test]
    fn member_that_panics_leaves_no_change_and_takes_no_other_along() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let writer = writer(&path);
        let done = as_a_group(
            &writer,
            vec![
                Box::new(|c| add(c, 1)),
                Box::new(|c| add(c, 2).map(|()| panic!("of the test"))),
                Box::new(|c| add(c, 3)),
            ],
        );
        assert!(matches!(done[1], Err(Refused::Panicked(_))));
        assert_eq!(numbers(&path), [1, 3]);
    }

    #[test]
    fn group_that_is_not_committed_tells_nobody_that_he_is_durable() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let writer = writer(&path);
        deny(&writer, is_commit);
        let done = as_a_group(&writer, (1..5).map(adds).collect());
        assert!(done.iter().all(Result::is_err));
        assert!(numbers(&path).is_empty());
        writer.lock().connection.authorizer(NO_HOOK).unwrap();
        assert!(writer.write(&mut |c| add(c, 5)).is_ok());
        assert_eq!(numbers(&path), [5]);
    }

    #[test]
    fn group_whose_commit_fails_once_is_made_by_its_members_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let writer = writer(&path);
        let mut left = 1;
        deny(&writer, move |action| {
            is_commit(action) && std::mem::take(&mut left) == 1
        });
        let mut works: Vec<_> = (1..5).map(adds).collect();
        // The second of them finds what the first has added, and is refused for it: that, too, is found out anew.
        works.push(Box::new(|c| add(c, 3)));
        let done = as_a_group(&writer, works);
        assert_eq!(writer.spoiled(), 1);
        assert!(done[..2].iter().chain(&done[3..4]).all(Result::is_ok));
        assert!(done[2].is_ok() != done[4].is_ok(), "one of two that add 3");
        assert_eq!(numbers(&path), [1, 2, 3, 4]);
    }

    #[test]
    fn member_that_cannot_be_taken_back_takes_the_group_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let writer = writer(&path);
        deny(&writer, |action| {
            let AuthAction::Savepoint { operation, .. } = action else {
                return false;
            };
            *operation == TransactionOperation::Rollback
        });
        let mut works: Vec<_> = (1..4).map(adds).collect();
        works.push(Box::new(|c| add(c, 9).and(Err(refusal()))));
        let done = as_a_group(&writer, works);
        assert!(writer.spoiled() >= 1);
        assert!(done[..3].iter().all(Result::is_ok) && done[3].is_err());
        assert_eq!(numbers(&path), [1, 2, 3]);
    }

    fn is_commit(action: &AuthAction<'_>) -> bool {
        let operation = TransactionOperation::Unknown;
        matches!(action, AuthAction::Transaction { operation: is } if *is == operation)
    }

    const NO_HOOK: Option<fn(AuthContext<'_>) -> Authorization> = None;

    fn adds(n: i64) -> Works<'static> {
        Box::new(move |c| add(c, n))
    }
}
