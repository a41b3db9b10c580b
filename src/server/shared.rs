use std::sync::Arc;

use hyper::StatusCode;
use tokio::sync::Semaphore;

use crate::base::{Clock, VaultName};
use crate::vault::Runner;
use crate::world::{VaultKind, WhichVault, Workspace};

use super::blob::Storage;
use super::metrics::Metrics;
use super::reply::{Reply, error_reply};
use super::token::Tokens;
use super::vault::{Injections, Strangers, Throttle};
use super::{Identities, ServerError};

/// What all connections share.
pub(super) struct Shared {
    pub(super) workspace: Workspace,
    /// Where it listens.
    pub(super) port: u16,
    /// The name by which clients know the customer's vault.
    pub(super) vault: VaultName,
    pub(super) identities: Identities,
    pub(super) tokens: Tokens,
    /// The name of the identity that the managed-identity endpoint gives tokens of.
    pub(super) managed_identity: String,
    /// Whether the instance metadata endpoint is there: it asks for no secret.
    pub(super) imds: bool,
    /// Whether every bearer token is taken for the administrator's.
    pub(super) any_token: bool,
    /// Whether storage accounts are served over plain HTTP, too.
    pub(super) plain_http: bool,
    pub(super) clock: Arc<dyn Clock>,
    /// Nothing when all is granted.
    pub(super) throttle: Option<Throttle>,
    pub(super) injections: Injections,
    pub(super) metrics: Metrics,
    /// Finds threads for the vault's commits.
    pub(super) runner: Runner,
    /// Whether clients that ask are told where the time of a request went.
    pub(super) timing: bool,
    /// Bounds the records of requests without a token.
    pub(super) strangers: Strangers,
    pub(super) storage: Storage,
    /// Generating an RSA key takes seconds: not more at once than there are processors, so that other
    /// requests find a thread.
    pub(super) generating: Semaphore,
}

impl Shared {
    /// The vault of this kind that clients know by `name`, where there is one. The provider's is nobody's
    /// to ask.
    pub(super) fn vault_named(&self, kind: VaultKind, name: &str) -> Option<WhichVault> {
        let name: VaultName = name.parse().ok()?;
        if name == self.vault {
            return (kind == VaultKind::Vault).then_some(WhichVault::Customer);
        }
        let which: WhichVault = name.as_str().parse().ok()?;
        let further = matches!(which, WhichVault::Further(_));
        (further && self.workspace.vault_kind(&which) == Some(kind)).then_some(which)
    }

    /// The name by which clients know a vault.
    pub(super) fn name_of<'a>(&'a self, vault: &'a WhichVault) -> &'a str {
        match vault {
            WhichVault::Customer => self.vault.as_str(),
            other => other.name(),
        }
    }

    /// A fault of the server. What it is stands in the log; a client need not know the paths.
    pub(super) fn failed(&self, cause: &ServerError) -> Reply {
        tracing::error!(%cause, "the server failed");
        let message = "The server failed; its log says why.";
        error_reply(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalServerError",
            None,
            message,
        )
    }
}

/// An answer, and what log and metrics call that which was asked.
pub(super) struct Answer {
    pub(super) operation: &'static str,
    pub(super) reply: Reply,
    /// Who asked, where that is known.
    pub(super) caller: Option<String>,
}

impl Answer {
    pub(super) fn new(operation: &'static str, reply: Reply) -> Self {
        Self {
            operation,
            reply,
            caller: None,
        }
    }
}
