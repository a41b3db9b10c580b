//! A working directory: the customer's and the provider's key vaults, environments, and the
//! resources in them (docs/format.md, "Working directory").
//!
//! The vaults lie in the same directory as the data for the sake of the simulation only. They
//! stand for services elsewhere: whoever steals the data never takes them ([`Workspace::at_rest`]). The
//! customer's can be one: asked through a server, its directory is not touched ([`Workspace::through`]).

mod address;
mod bulk;
mod config;
mod convert;
mod environments;
mod error;
mod governed;
mod hold;
mod in_place;
pub mod landscape;
mod lock;
mod resources;
mod restore;
mod vault_set;
mod vaults;
mod workspace;

pub use address::{BadAddress, Kind, Name, ResourceAddress};
pub use bulk::{Progress, Step};
pub use config::{CONFIG, ResourceEntry};
pub use convert::Converted;
pub use error::WorldError;
pub use in_place::{ConvertedInPlace, UnderWay};
pub use vault_set::{AnyVault, AskPassphrase, VaultKind, VaultSet, WhichVault};
pub use vaults::{NamedKey, NewVault};
pub use workspace::{BACKUPS, InitOptions, Workspace};
