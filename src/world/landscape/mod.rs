//! A landscape for finance and operations: tenants, projects, environments, the links between them,
//! enterprise policies, and what happens to all of it when the key is pulled (docs/world.md).
//!
//! It stands on the working directory: databases and storage accounts are its resources, keys are in its
//! vaults. What is under which key is what their files say; the landscape's own file says who is who,
//! and what is under way.

mod access;
mod apply;
mod backup;
mod clock;
mod coverage;
mod create;
mod due;
mod eligible;
mod entities;
mod events;
mod gate;
mod health;
mod install;
mod link;
mod lockbox;
mod look;
mod names;
mod people;
mod policy;
mod products;
mod pulled;
mod region;
mod restoring;
mod rules;
mod services;
mod state;
mod store;
mod tick;
mod turn;
mod unlock;
mod vault_plane;
mod versions;

pub use apply::Applied;
pub use clock::WorldClock;
pub use coverage::{Coverage, CoverageRow, CoveredBy, Verdict};
pub use create::NewFinance;
pub use entities::{
    Backup, BackupPart, Duty, FinanceEnvironment, FinanceKind, KnownVersion, Permission, Person,
    Policy, PowerEnvironment, PowerKind, Project, Tenant, VaultFacts, power_place,
};
pub use events::{Event, EventFilter};
pub use gate::Gate;
pub(in crate::world) use gate::owner;
pub use link::NOT_LINKED;
pub use lockbox::{Decision, LockboxRequest, NewRequest, RequestStatus};
pub use names::{
    BackupName, FinanceName, PersonName, PolicyName, PowerName, ProjectName, RequestName,
    TenantName,
};
pub use policy::NewPolicy;
pub use products::{Product, ProductId, ProductKind, Profile, Promise, Source, Support};
pub use pulled::{Proof, Tried};
pub use region::Region;
pub use restoring::Restored;
pub use rules::{Refusal, Rule, Severity, Told};
pub use services::{lcs_place, lcs_resources, rcs_resources};
pub use state::{KeyState, Link, LockboxSwitch, SqlState, StorageState};
pub use store::{LANDSCAPE, Store};
pub use tick::Advanced;
pub use turn::{Landscape, Start};
pub use versions::{VersionState, as_rule};
