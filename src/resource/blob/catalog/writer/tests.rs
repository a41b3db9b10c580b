use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use rusqlite::ErrorCode;
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

fn all(writer: &Writer, mut works: Vec<Works<'_>>) -> Vec<Result<(), Refused>> {
    let mut works: Vec<_> = works.iter_mut().map(|work| &mut **work as _).collect();
    writer.write_all::<()>(&mut works)
}

fn deny_first_commit(writer: &Writer) {
    let mut left = 1;
    deny(writer, move |action| {
        is_commit(action) && std::mem::take(&mut left) == 1
    });
}

#[test]
fn members_that_come_together_count_as_if_each_had_come_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let writer = writer(&path);
    let works = || -> Vec<Works<'_>> {
        vec![
            adds(1),
            Box::new(|c| add(c, 2).and(Err(refusal()))),
            Box::new(|c| add(c, 1)),
            adds(4),
        ]
    };
    let counts =
        |done: &[Result<(), Refused>]| -> Vec<bool> { done.iter().map(Result::is_ok).collect() };
    let commits = Arc::new(AtomicUsize::new(0));
    let seen = commits.clone();
    deny(&writer, move |action| {
        seen.fetch_add(usize::from(is_commit(action)), Ordering::SeqCst);
        false
    });
    assert_eq!(counts(&all(&writer, works())), [true, false, false, true]);
    assert_eq!(numbers(&path), [1, 4]);
    assert_eq!(commits.load(Ordering::SeqCst), 1, "in one transaction");
    assert!(all(&writer, Vec::new()).is_empty());

    // The commit fails once: each is tried again alone.
    let emptied = writer.write(&mut |c| Ok(c.execute_batch("DELETE FROM t")?));
    assert!(emptied.is_ok());
    deny_first_commit(&writer);
    assert_eq!(counts(&all(&writer, works())), [true, false, false, true]);
    assert_eq!((numbers(&path), writer.spoiled()), (vec![1, 4], 1));
}

#[test]
fn members_that_come_together_while_another_process_writes_are_each_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let writer = writer(&path);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let at_once = writer.lock().connection.busy_timeout(Duration::ZERO);
    at_once.unwrap();
    let done = all(&writer, vec![adds(1), adds(2)]);
    for one in done {
        let Err(Refused::Sqlite(error)) = one else {
            panic!("it is locked");
        };
        assert_eq!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy));
    }
    other.execute_batch("ROLLBACK").unwrap();
    let done = all(&writer, vec![adds(1), adds(2)]);
    assert!(done.iter().all(Result::is_ok));
    assert_eq!(numbers(&path), [1, 2]);
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
    deny_first_commit(&writer);
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

#[test]
fn member_that_panics_when_it_is_tried_alone_takes_no_other_along() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let writer = writer(&path);
    deny_first_commit(&writer);
    let mut runs = 0;
    let panics = Box::new(move |c: &Connection| {
        runs += 1;
        assert!(runs < 2, "of the test");
        add(c, 2)
    });
    let done = all(&writer, vec![adds(1), panics, adds(3)]);
    assert!(done[0].is_ok() && done[2].is_ok());
    assert!(matches!(done[1], Err(Refused::Panicked(_))));
    assert_eq!(numbers(&path), [1, 3]);
}
