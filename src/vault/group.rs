//! Group commit: operations that are asked for at the same time are decided in one transaction, and one
//! sync takes all their records to disk. Whoever comes first leads: it takes the others that wait,
//! and while it is at the disk the next ones gather. Nobody waits for company: whoever is alone
//! commits alone.

use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::base::{Part, within};

use super::audit::Event;
use super::audit_request::Caller;
use super::error::Fault;
use super::store::{Store, Work};
use super::wrapping::PendingUse;
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
    operations: Vec<(Operation, Waiter)>,
    led: Led,
}

/// Whether somebody leads: takes those that wait, and names who leads next.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Led {
    #[default]
    No,
    /// A runner finds a thread. Who has one comes before it: the runner's may all wait.
    Promised,
    Yes,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a job in a thread that may block.
pub type Runner = Arc<dyn Fn(Box<dyn FnOnce() + Send>) + Send + Sync>;

/// How an operation's caller is told.
enum Waiter {
    /// He waits, and leads when he is told to.
    Seat(Arc<Seat>),
    /// This is called; who leads is found by the runner.
    Call(Box<dyn FnOnce(Settled) + Send>, LocalVault, Runner),
}

/// Where a caller waits.
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
        let seat = |(_, waiter): &(Operation, Waiter)| match waiter {
            Waiter::Seat(seat) => Some(seat.clone()),
            Waiter::Call(..) => None,
        };
        if let Some(next) = waiting.operations.iter().find_map(seat) {
            return next.tell(Told::Lead);
        }
        waiting.led = Led::No;
        if let Some((_, Waiter::Call(_, vault, run))) = waiting.operations.first() {
            let (vault, run) = (vault.clone(), run.clone());
            waiting.led = Led::Promised;
            drop(waiting);
            lead_elsewhere(vault, &run);
        }
    }
}

/// Has the next group committed by another thread.
fn lead_elsewhere(vault: LocalVault, run: &Runner) {
    let job = Lead(Some(vault));
    run(Box::new(move || job.lead()));
}

/// Somebody leads, in a thread of a runner's. When the runner drops it instead, nobody would: who
/// waits is told that it failed.
struct Lead(Option<LocalVault>);

impl Lead {
    fn lead(mut self) {
        let Some(vault) = self.0.take() else { return };
        let mut waiting = vault.queue().lock();
        if waiting.led == Led::Promised {
            waiting.led = Led::Yes;
            drop(waiting);
            vault.lead();
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if let Some(vault) = &self.0 {
            let mut waiting = vault.queue().lock();
            if waiting.led != Led::Promised {
                return;
            }
            waiting.led = Led::No;
            let operations = mem::take(&mut waiting.operations);
            drop(waiting);
            drop(Waiters(operations.into_iter().map(|(_, w)| w).collect()));
        }
    }
}

/// Those who wait for a leader. Who was told nothing in the end is told that the leader failed.
struct Waiters(Vec<Waiter>);

impl Waiters {
    fn tell(mut self, outcomes: Vec<Settled>) {
        // One by one: a panic leaves the rest to the drop.
        self.0.reverse();
        for outcome in outcomes {
            if let Some(waiter) = self.0.pop() {
                waiter.tell(outcome);
            }
        }
    }
}

impl Waiter {
    fn tell(self, outcome: Settled) {
        match self {
            Self::Seat(seat) => seat.tell(Told::Settled(outcome)),
            Self::Call(then, ..) => then(outcome),
        }
    }
}

impl Drop for Waiters {
    fn drop(&mut self) {
        for waiter in mem::take(&mut self.0) {
            let why = "an operation committed together with this one failed; try again".into();
            waiter.tell(Settled::Answered(Err(VaultError::Conflict(why))));
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
        let decide = Box::new(move |work: &Work<'_>, event: &mut Event| {
            let value = decide(work, event)?;
            let recorded = value.is_some();
            *giver.lock().unwrap_or_else(PoisonError::into_inner) = value;
            Ok(recorded)
        });
        self.decide_and_wait(event, decide)?;
        Ok(given.lock().unwrap_or_else(PoisonError::into_inner).take())
    }

    /// The same, with whether it was recorded.
    pub(super) fn decide_and_wait(
        &self,
        mut event: Event,
        mut decide: Decide,
    ) -> Result<bool, VaultError> {
        let mut rotated = false;
        loop {
            let operation = Operation {
                event,
                caller: self.caller(),
                decide,
                rotated,
            };
            let seat = Arc::new(Seat::default());
            if self.submit(operation, Waiter::Seat(seat.clone())) {
                self.lead();
            }
            let settled = loop {
                match seat.wait() {
                    Told::Lead => self.lead(),
                    Told::Settled(settled) => break settled,
                }
            };
            match settled {
                Settled::Answered(answer) => return answer,
                Settled::Due(again_event, again) => {
                    self.rotate_due()?;
                    (event, decide, rotated) = (again_event, again, true);
                }
            }
        }
    }

    /// Decides a use and records it without a thread that waits: `run` finds one for the commit, and
    /// `then` is called there, soon to return. `None`: it is to be done anew, by who may wait.
    pub fn finish_then<T: Send + 'static>(
        &self,
        pending: PendingUse<T>,
        run: &Runner,
        then: impl FnOnce(Option<Result<T, VaultError>>) + Send + 'static,
    ) {
        let PendingUse {
            value,
            event,
            decide,
        } = pending;
        let operation = Operation {
            event,
            caller: self.caller(),
            decide,
            rotated: false,
        };
        let told = move |settled| {
            then(match settled {
                Settled::Answered(Ok(true)) => value.map(Ok),
                Settled::Answered(Ok(false)) | Settled::Due(..) => None,
                Settled::Answered(Err(error)) => Some(Err(error)),
            });
        };
        let waiter = Waiter::Call(Box::new(told), self.clone(), run.clone());
        if self.submit(operation, waiter) {
            lead_elsewhere(self.clone(), run);
        }
    }

    /// Whether the caller is to see to it that somebody leads.
    fn submit(&self, operation: Operation, waiter: Waiter) -> bool {
        let mut waiting = self.queue().lock();
        let (now, then) = match (&waiter, waiting.led) {
            (Waiter::Seat(_), Led::No | Led::Promised) => (true, Led::Yes),
            (Waiter::Call(..), Led::No) => (true, Led::Promised),
            (_, led) => (false, led),
        };
        waiting.operations.push((operation, waiter));
        waiting.led = then;
        now
    }

    /// Commits what waits.
    fn lead(&self) {
        let next = HandOver(self.queue());
        // Who is about to ask, and has no processor, comes along.
        std::thread::yield_now();
        let mut log_is_long = false;
        let (waiters, outcomes) = self.with_queued(|store, now, operations| match store {
            Ok(store) => {
                let count = operations.len();
                let done = within(Part::Sqlite, || store.commit(now, operations));
                log_is_long = store.log_is_long();
                done.unwrap_or_else(|error| fail(count, &error))
            }
            Err(error) => fail(operations.len(), &error),
        });
        // The next group begins while this one's callers are woken.
        drop(next);
        waiters.tell(outcomes);
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
    ) -> (Waiters, Vec<Settled>) {
        let mut guard = self.store();
        let waiting = mem::take(&mut self.queue().lock().operations);
        let (operations, waiters): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
        let waiters = Waiters(waiters);
        let (outcomes, changed) = commit(self.unsealed(&mut guard), self.now(), operations);
        if changed {
            self.move_revision();
        }
        (waiters, outcomes)
    }
}

/// The same failure for each of a group.
fn fail(count: usize, error: &VaultError) -> (Vec<Settled>, bool) {
    let failed = || Settled::Answered(Err(error.clone()));
    ((0..count).map(|_| failed()).collect(), false)
}
