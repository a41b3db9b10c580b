//! Storage accounts: named blobs, kept as sealed extents that a sealed manifest lists, plain or
//! protected.
//!
//! An account is a directory (docs/format.md, "Storage account"):
//!
//! - `account.atrest` ([`AccountHeader`]): the account key, wrapped by the customer's key, and the
//!   catalog's key, wrapped by the service's. A rewrap rewrites this file only.
//! - `catalog.db`: containers, names, sizes, properties and times in a sealed SQLite database under the
//!   service's key, so that names stay listable when the customer's key is gone; and beside each name a
//!   [`Manifest`], sealed under the account key.
//! - `extents/`: the bytes, in files named by random identifiers ([`ExtentHeader`],
//!   [`ExtentCipher`]), short ones of those who write at once in one file ([`Slot`]). A blob's name never becomes a path.
//!
//! The plain twin runs through the same code: its extents are the very bytes of the blobs, its
//! catalog is an ordinary SQLite file, and it has no `account.atrest`.

mod account;
mod append;
mod attributes;
mod blob_reader;
mod block_id;
mod blocks;
mod catalog;
mod change;
mod commits;
mod content;
mod copy;
mod encryption;
mod extent;
mod header;
mod key;
mod lease;
mod lease_rules;
mod listing;
mod manifest;
mod name;
mod new_extent;
mod objects;
mod opened;
mod pack;
mod path;
mod pipe;
mod protected;
mod reader;
mod refusal;
mod ring;
mod rounds;
mod scope;
mod scope_name;
mod sealing;
mod service;
mod slot;
mod snapshot;
mod status;
mod store;
mod tag_query;
mod unread;
mod unwanted;
mod verify;
mod writer;

pub use account::StorageAccount;
pub use append::AppendConditions;
pub use attributes::{Attributes, Conditions, Etag, Matching, Pairs, Properties};
pub use blob_reader::BlobReader;
pub use block_id::BlockId;
pub use blocks::{Block, BlockList, ListedBlock, PutBlock};
pub use catalog::ContainerInfo;
pub use commits::Committed;
pub use content::WrittenBlob;
pub use copy::CopySource;
pub use encryption::{Encryption, ProvidedKey, UnderKey};
pub use extent::{
    CHUNK_LEN, ExtentCipher, ExtentHeader, GenerationKey, InfrastructureKey, Layers, MAX_EXTENT_LEN,
};
pub use header::AccountHeader;
pub use lease::{Leasable, Lease, LeaseAction, LeaseChanged, LeaseId, LeaseState};
pub use listing::BlobInfo;
pub use manifest::{Extent, Generation, Manifest, Subject};
pub use name::{BadBlobName, BlobName};
pub use objects::{BadObjectsUrl, Object, Objects, ObjectsUrl, Provider, Upload};
pub use opened::Opened;
pub use path::{BadContainerName, BlobPath, ContainerName};
pub use reader::ExtentReader;
pub use refusal::Refusal;
pub use scope::{ContainerScope, EncryptionScope};
pub use scope_name::{BadScopeName, ScopeName};
pub use service::AccessPolicy;
pub use slot::{PackId, Slot, extents_in};
pub use snapshot::{BadSnapshot, BlobAt, Snapshot, Snapshots};
pub use status::{BlobStatus, Copied, Tier};
pub use store::ExtentBytes;
pub use tag_query::{BadTagQuery, TagQuery};
pub use unread::{LeftOut, Unread};
