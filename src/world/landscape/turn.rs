//! The landscape, open; and a turn in it, which one process has at a time.

use std::sync::Arc;

use jiff::Timestamp;

use crate::base::{Clock, SystemClock};
use crate::world::lock::ChangeLock;
use crate::world::{Workspace, WorldError};

use super::clock;
use super::entities::Entity;
use super::products::Profile;
use super::rules::Rule;
use super::store::Store;

/// The file of the lock on the landscape.
const LOCK: &str = "landscape.lock";
/// The setting that says which profile's rules hold.
const PROFILE: &str = "profile";

/// Where the clock of a new landscape begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the machine's time; it stands still until it is moved.
    Machine,
    /// At this time, likewise.
    At(Timestamp),
    /// At the machine's time, and it runs with it.
    RealTime,
}

/// A landscape, open.
///
/// Each method that changes something takes a turn: it ends what an earlier process left half done, lets
/// take effect what is due by the clock, and then does what it is for, wholly or not at all.
pub struct Landscape<'a> {
    pub(super) workspace: &'a Workspace,
    store: Arc<Store>,
}

/// A turn: nobody else changes the landscape while it lasts.
pub(super) struct Turn {
    _lock: ChangeLock,
    /// The time that it is.
    pub(super) now: Timestamp,
}

impl<'a> Landscape<'a> {
    /// Makes one in a working directory, or opens the one that is there, whose clock goes on as it is.
    ///
    /// # Errors
    /// [`WorldError::Usage`] when there is one with another profile, or for a time beyond the year 9000.
    pub fn create(
        workspace: &'a Workspace,
        profile: Profile,
        start: Start,
    ) -> Result<Self, WorldError> {
        let now = match start {
            Start::At(time) => time,
            Start::Machine | Start::RealTime => SystemClock.now(),
        };
        if now > clock::latest() {
            return Err(WorldError::Usage(
                "the clock begins within the calendar: before the year 9000".into(),
            ));
        }
        let now = Timestamp::from_second(now.as_second()).expect("of a timestamp");
        let (word, now) = (profile.to_string(), now.to_string());
        let mut settings = vec![(PROFILE, word.as_str())];
        settings.push(match start {
            Start::RealTime => (clock::AHEAD, "0"),
            Start::Machine | Start::At(_) => (clock::CLOCK, now.as_str()),
        });
        Store::create(workspace.dir(), &settings)?;
        let landscape = Self::open(workspace)?;
        match landscape.profile()? {
            same if same == profile => Ok(landscape),
            other => Err(WorldError::Usage(format!(
                "this landscape follows the profile {other}; another one needs a working directory of its own"
            ))),
        }
    }

    /// Opens the landscape of a working directory.
    ///
    /// # Errors
    /// [`WorldError::NoLandscape`]
    pub fn open(workspace: &'a Workspace) -> Result<Self, WorldError> {
        let found = Self::find(workspace)?;
        found.ok_or_else(|| WorldError::NoLandscape(workspace.dir().display().to_string()))
    }

    /// The same; `None` when there is none.
    pub fn find(workspace: &'a Workspace) -> Result<Option<Self>, WorldError> {
        let store = workspace.landscape()?;
        Ok(store.map(|store| Self { workspace, store }))
    }

    /// Which profile's rules hold.
    pub fn profile(&self) -> Result<Profile, WorldError> {
        let text = self
            .store
            .read(|tx| tx.setting(PROFILE))?
            .unwrap_or_default();
        text.parse().map_err(|e| WorldError::Malformed {
            path: super::LANDSCAPE.into(),
            why: e,
        })
    }

    /// The time that its clock shows.
    pub fn now(&self) -> Result<Timestamp, WorldError> {
        self.store.read(clock::now)
    }

    /// Whether its clock runs.
    pub fn is_real_time(&self) -> Result<bool, WorldError> {
        Ok(self.store.read(|tx| tx.setting(clock::AHEAD))?.is_some())
    }

    /// The entity of that name: `landscape.get::<Policy>("finance")`.
    ///
    /// # Errors
    /// [`WorldError::NoEntity`]
    pub fn get<E: Entity>(&self, name: &str) -> Result<E, WorldError> {
        self.store.read(|tx| tx.get(name))
    }

    /// Every entity of a kind, by name.
    pub fn all<E: Entity>(&self) -> Result<Vec<E>, WorldError> {
        self.store.read(|tx| tx.all())
    }

    /// The geographies in which the feature is not rolled out.
    pub fn regions_off(&self) -> Result<Vec<String>, WorldError> {
        let text = self
            .store
            .read(|tx| tx.setting(REGIONS_OFF))?
            .unwrap_or_default();
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }

    /// Rolls the feature out in a geography, or takes it back.
    pub fn set_region(&self, region: &super::Region, on: bool) -> Result<(), WorldError> {
        let _turn = self.begin()?;
        let mut off = self.regions_off()?;
        off.retain(|name| name != region.geography());
        if !on {
            off.push(region.geography().to_owned());
        }
        self.store.write(|tx| tx.set(REGIONS_OFF, &off.join(" ")))
    }

    /// Lets the clock run with the machine's, or stand still.
    pub fn set_real_time(&self, real_time: bool) -> Result<(), WorldError> {
        let _turn = self.begin()?;
        self.store.write(|tx| clock::run(tx, real_time))
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Takes a turn.
    ///
    /// # Errors
    /// [`WorldError::Busy`] at once when another process has it.
    pub(super) fn begin(&self) -> Result<Turn, WorldError> {
        let turn = self.take_lock()?;
        self.go_on()?;
        self.settle_time(turn.now)?;
        Ok(turn)
    }

    /// A turn in which nothing was done yet.
    pub(super) fn take_lock(&self) -> Result<Turn, WorldError> {
        let lock = ChangeLock::take(self.workspace.dir(), LOCK)?;
        Ok(Turn {
            _lock: lock,
            now: self.now()?,
        })
    }

    /// Ends what was interrupted, and lets take effect what is due: what a command does that changes
    /// nothing itself. Nothing is done while another process has its turn.
    pub fn catch_up(&self) -> Result<(), WorldError> {
        match self.begin() {
            Err(WorldError::Busy(_)) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Records that a rule refused something, and gives the refusal.
    pub(super) fn refuse<T>(
        &self,
        turn: &Turn,
        actor: &impl ToString,
        operation: &str,
        subject: &impl ToString,
        error: WorldError,
    ) -> Result<T, WorldError> {
        if let WorldError::Refused(refusal) = &error {
            let mut event =
                super::events::by_provider(turn.now, operation, subject.to_string(), "");
            event.actor = actor.to_string();
            event.outcome = refusal.rule.code().to_owned();
            event.detail = refusal.detail.clone();
            self.store.write(|tx| tx.record(&event))?;
        }
        Err(error)
    }
}

/// The setting that lists the geographies in which the feature is not rolled out.
pub(super) const REGIONS_OFF: &str = "regions-off";

/// A refusal, as the error that it is.
pub(super) fn refused<T>(
    rule: Rule,
    detail: impl std::fmt::Display,
    next: impl std::fmt::Display,
) -> Result<T, WorldError> {
    Err(rule.broken(detail, next).into())
}
