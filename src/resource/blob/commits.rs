//! Blobs that are committed together, while who asked for it does not wait: what is written while a group is on its way to
//! the disk is the next one, and one sync of each file makes a group durable.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::resource::ResourceError;
use crate::vault::Runner;

use super::content::{Left, WrittenBlob};
use super::{BlobInfo, StorageAccount};

/// Is told what became of a blob. When it is dropped instead, nobody knows.
pub type Committed = Box<dyn FnOnce(Result<BlobInfo, ResourceError>) + Send>;

/// The blobs that wait for the next group.
#[derive(Default)]
pub(super) struct Commits(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    blobs: Vec<(WrittenBlob, Committed)>,
    /// Whether a thread commits groups until none waits, or will.
    is_led: bool,
    /// What the groups left behind.
    left: Left,
    /// Whether something is to be removed: that, or what could not be before.
    is_unclean: bool,
    /// Whether a thread does so, or will.
    is_cleaned: bool,
}

impl Commits {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // No holder can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorageAccount {
    /// [`StorageAccount::commit`] of this blob and those that wait with it, in a thread that `run` finds; `committed` is told
    /// there.
    pub fn commit_later(self: &Arc<Self>, blob: WrittenBlob, run: &Runner, committed: Committed) {
        let mut waiting = self.commits.lock();
        waiting.blobs.push((blob, committed));
        if !mem::replace(&mut waiting.is_led, true) {
            drop(waiting);
            Leader::start(self.clone(), run.clone());
        }
    }

    /// Whether somebody writes at this moment, so that a short blob may find a place in a pack that is there.
    pub fn has_writers(&self) -> bool {
        self.extents.has_writers()
    }
}

/// Who commits. When he does not come to the end, another goes on; when nobody can, those who wait are dropped.
struct Leader {
    /// None when none waits any more.
    of: Option<(Arc<StorageAccount>, Runner)>,
    has_begun: bool,
}

impl Leader {
    fn start(account: Arc<StorageAccount>, run: Runner) {
        let mut leader = Self {
            of: Some((account, run.clone())),
            has_begun: false,
        };
        run(Box::new(move || leader.lead()));
    }

    fn lead(&mut self) {
        self.has_begun = true;
        while let Some((account, run)) = &self.of {
            let mut waiting = account.commits.lock();
            let blobs = mem::take(&mut waiting.blobs);
            waiting.is_led = !blobs.is_empty();
            drop(waiting);
            if blobs.is_empty() {
                self.of = None;
                continue;
            }
            let (blobs, told): (Vec<_>, Vec<_>) = blobs.into_iter().unzip();
            let (committed, left) = account.commit_all(blobs);
            Cleaner::call(account, run, left);
            for (committed, tell) in committed.into_iter().zip(told) {
                tell(committed);
            }
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        let Some((account, run)) = self.of.take() else {
            return;
        };
        // A panic is of the group that he had: the others go on without him.
        if self.has_begun && thread::panicking() {
            return Self::start(account, run);
        }
        let mut waiting = account.commits.lock();
        waiting.is_led = false;
        let left = mem::take(&mut waiting.blobs);
        drop(waiting);
        drop(left);
    }
}

/// Who removes what the groups left, beside who commits the next one: of a long blob that is much.
struct Cleaner(Option<Arc<StorageAccount>>);

impl Cleaner {
    /// Has this removed, too, and what could not be before.
    fn call(account: &Arc<StorageAccount>, run: &Runner, mut left: Left) {
        let mut waiting = account.commits.lock();
        waiting.left.given_up.append(&mut left.given_up);
        waiting.left.unwanted.append(&mut left.unwanted);
        waiting.is_unclean |= !waiting.left.is_empty() || account.extents.may_have_unwanted();
        if waiting.is_unclean && !mem::replace(&mut waiting.is_cleaned, true) {
            drop(waiting);
            let cleaner = Self(Some(account.clone()));
            run(Box::new(move || cleaner.clean()));
        }
    }

    fn clean(mut self) {
        while let Some(account) = &self.0 {
            let mut waiting = account.commits.lock();
            waiting.is_cleaned = mem::take(&mut waiting.is_unclean);
            let left = mem::take(&mut waiting.left);
            let is_done = !waiting.is_cleaned;
            drop(waiting);
            match is_done {
                true => self.0 = None,
                false => account.clean(left),
            }
        }
    }
}

impl Drop for Cleaner {
    /// What is left then goes with the next group's, or with the next opening.
    fn drop(&mut self) {
        if let Some(account) = &self.0 {
            account.commits.lock().is_cleaned = false;
        }
    }
}
