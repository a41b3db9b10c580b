//! Envelopes: a resource's data encryption key (DEK), wrapped by a key encryption key (KEK) that
//! stays in the vault, and bound to the resource that it belongs to.

mod format;
mod lease;

pub use format::{Envelope, EnvelopeError, FormatError, ResourceKind};
pub use lease::{LEASE_INTERVAL, Lease, Newest};
