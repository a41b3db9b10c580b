//! Group commit: operations that are asked for at the same time are decided in one transaction, and one
//! sync takes all their records to disk. Whoever comes first leads: it takes the others that wait,
//! and while it is at the disk the next ones gather. Nobody waits for company: whoever is alone
//! commits alone.

use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::audit::Event;
use super::audit_request::Caller;
use super::error::Fault;
use super::store::{Store, Work};
use super::{LocalVault, VaultError};

/// Decides an operation, by the rules as the transaction has them. It only reads: what it decided is
/// undone by nothing but a failure of the whole group. `false` withdraws it, without a record.
pub(super) type Decide = Box<dyn FnOnce(&Work<'_>, &mut Event) -> Result<bool, Fault> + Send>;

/// An operation on its way into a group's transaction.
pub(super) struct Operation {
    pub(super) event: Event,
    pub(super) caller: Arc<Caller>,
    pub(super) decide: Decide,
    /// Whether the caller has made the versions that were due ([`LocalVault::rotate_due`]).
    pub(super) rotated: bool,
}

/// What became of an operation.
pub(super) enum Settled {
    /// It is recorded when this is told, allowed (`true`) or refused; or it was withdrawn (`false`).
    /// Or the store failed, and nothing of its group was done.
    Answered(Result<bool, VaultError>),
    /// A key is due to be rotated first; nothing was decided.
    Due(Event, Decide),
}

/// The operations that wait for the next group.
#[derive(Default)]
pub(super) struct Queue(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    operations: Vec<(Operation, Arc<Seat>)>,
    /// Whether somebody leads: it takes those that wait, or names who leads next.
    led: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where an operation's caller waits.
#[derive(Default)]
struct Seat {
    told: Mutex<Option<Told>>,
    bell: Condvar,
}

enum Told {
    Lead,
    Settled(Settled),
}

impl Seat {
    fn tell(&self, what: Told) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
        self.bell.notify_one();
    }

    fn wait(&self) -> Told {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match told.take() {
                Some(told) => return told,
                None => told = self.bell.wait(told).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// Names who leads next, also when a panic ends a leader.
struct HandOver<'a>(&'a Queue);

impl Drop for HandOver<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        match waiting.operations.first() {
            Some((_, next)) => next.tell(Told::Lead),
            None => waiting.led = false,
        }
    }
}

/// Those who wait for a leader. Who was told nothing in the end is told that the leader failed.
struct Seats(Vec<Arc<Seat>>);

impl Seats {
    fn tell(mut self, outcomes: Vec<Settled>) {
        for (seat, outcome) in mem::take(&mut self.0).into_iter().zip(outcomes) {
            seat.tell(Told::Settled(outcome));
        }
    }
}

impl Drop for Seats {
    fn drop(&mut self) {
        for seat in &self.0 {
            let why = "an operation committed together with this one failed; try again".into();
            seat.tell(Told::Settled(Settled::Answered(Err(VaultError::Conflict(
                why,
            )))));
        }
    }
}

impl LocalVault {
    /// Decides an operation together with those that are asked for at the same time, and records it.
    /// `decide` only reads. `None` withdraws the operation: nothing is recorded.
    ///
    /// # Errors
    /// The refusal, recorded; or a failure of the store, which fails all that were decided together.
    pub(super) fn decide<T: Send + 'static>(
        &self,
        event: Event,
        decide: impl FnOnce(&Work<'_>, &mut Event) -> Result<Option<T>, Fault> + Send + 'static,
    ) -> Result<Option<T>, VaultError> {
        let given = Arc::new(Mutex::new(None));
        let giver = given.clone();
        let mut event = event;
        let mut decide: Decide = Box::new(move |work, event| {
            let value = decide(work, event)?;
            let recorded = value.is_some();
            *giver.lock().unwrap_or_else(PoisonError::into_inner) = value;
            Ok(recorded)
        });
        let mut rotated = false;
        loop {
            let operation = Operation {
                event,
                caller: self.caller(),
                decide,
                rotated,
            };
            match self.submit(operation) {
                Settled::Answered(answer) => {
                    answer?;
                    return Ok(given.lock().unwrap_or_else(PoisonError::into_inner).take());
                }
                Settled::Due(again_event, again) => {
                    self.rotate_due()?;
                    (event, decide, rotated) = (again_event, again, true);
                }
            }
        }
    }

    fn submit(&self, operation: Operation) -> Settled {
        let seat = Arc::new(Seat::default());
        let lead = {
            let mut waiting = self.queue().lock();
            waiting.operations.push((operation, seat.clone()));
            !mem::replace(&mut waiting.led, true)
        };
        if lead {
            self.lead();
        }
        loop {
            match seat.wait() {
                Told::Lead => self.lead(),
                Told::Settled(settled) => return settled,
            }
        }
    }

    /// Commits what waits; the caller's own operation is part of it.
    fn lead(&self) {
        let next = HandOver(self.queue());
        let mut log_is_long = false;
        let (seats, outcomes) = self.with_queued(|store, now, operations| match store {
            Ok(store) => {
                let done = store.commit(now, operations);
                log_is_long = store.log_is_long();
                done
            }
            Err(error) => fail(operations.len(), &error),
        });
        // The next group begins while this one's callers are woken.
        drop(next);
        seats.tell(outcomes);
        if log_is_long {
            self.move_log();
        }
    }

    /// Takes those that wait once the store is free.
    fn with_queued(
        &self,
        commit: impl FnOnce(
            Result<&mut Store, VaultError>,
            jiff::Timestamp,
            Vec<Operation>,
        ) -> (Vec<Settled>, bool),
    ) -> (Seats, Vec<Settled>) {
        let mut guard = self.store();
        let waiting = mem::take(&mut self.queue().lock().operations);
        let (operations, seats): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
        let seats = Seats(seats);
        let (outcomes, changed) = commit(self.unsealed(&mut guard), self.now(), operations);
        if changed {
            self.move_revision();
        }
        (seats, outcomes)
    }
}

/// The same failure for each of a group.
pub(super) fn fail(count: usize, error: &VaultError) -> (Vec<Settled>, bool) {
    let failed = || Settled::Answered(Err(error.clone()));
    ((0..count).map(|_| failed()).collect(), false)
}
