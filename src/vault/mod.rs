//! The key vault: keys and their versions, the rules on their use, soft-delete, backup, and an
//! audit record of every use. Names, fields and rules are those of Azure Key Vault; the wire is
//! not here.

mod api;
mod local;

pub use api::{
    DeletedKey, KeyAttributes, KeyBundle, KeyOperation, KeySpec, KeyUpdate, KeyVault, KeyWrapper,
    VaultError, WrappedKey,
};
pub use local::{LocalVault, RootKeySource, VaultSettings};
