//! A server that speaks the wire protocols of Azure's services, so that unmodified clients use the
//! vault and the storage accounts of a working directory. The only asynchronous code: the core below is called from threads
//! that may block.
//!
//! | file            | what it is for |
//! |-----------------|----------------|
//! | `serve.rs`, `endpoints.rs`, `listen.rs` | start and stop; what clients are told; connections, TLS, the proxy, and which host is what |
//! | `hosts.rs`      | host names |
//! | `home.rs`, `authority.rs` | the server's files; the certificate authority |
//! | `identity.rs`, `registry.rs`, `role.rs`, `access.rs`, `permission.rs`, `grants.rs`, `token.rs`, `auth.rs` | who there is, who may what and where, tokens, and their check |
//! | `login.rs`, `control.rs` | where clients get tokens; health and metrics |
//! | `vault/`, `blob/` | the REST APIs: keys and secrets; blobs |
//! | `events/`       | what happened, told to a file or a webhook |
//! | `reply.rs`, `stream.rs`, `shared.rs`, `metrics.rs`, `timing.rs` | what all of them need |

mod access;
mod auth;
mod authority;
mod blob;
mod control;
mod endpoints;
mod error;
mod events;
mod grants;
mod home;
mod hosts;
mod identity;
mod listen;
mod login;
mod metrics;
mod permission;
mod registry;
mod reply;
mod role;
mod serve;
mod shared;
mod stream;
mod timing;
mod token;
mod vault;

pub use access::{Assignment, Scope};
pub use authority::Authority;
pub use endpoints::{Announcement, Endpoints};
pub use error::ServerError;
pub use events::EventsTo;
pub use home::Home;
pub use identity::Identities;
pub use permission::{AccessPolicy, KeyPermission, SecretPermission};
pub use registry::Identity;
pub use role::{DataAction, Role};
pub use serve::{LogFormat, ServeOptions, Server, log_to_stderr};
pub use vault::{Injection, ThrottleScale};
