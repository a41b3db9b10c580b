//! What the vault's audit log is told of requests: of each one a record, before its answer leaves.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hyper::Request;
use hyper::header::{HeaderName, USER_AGENT};
use uuid::Uuid;

use crate::server::ServerError;
use crate::server::hosts::HostPort;
use crate::server::reply::{Reply, RequestId, Told, one, parameters};
use crate::server::shared::Shared;
use crate::vault::{AuditOperation, AuditOutcome, AuditRequest, LocalVault, VaultError};
use crate::world::{VaultKind, WhichVault};

const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
/// The parameters of queries that are recorded; others may be anything, a secret too.
const KNOWN_PARAMETERS: [&str; 3] = ["api-version", "maxresults", "$skiptoken"];

/// What is known of a request as it comes in.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) id: RequestId,
    pub(super) vault: WhichVault,
    pub(super) kind: VaultKind,
    pub(super) query: Vec<(String, String)>,
    record: AuditRequest,
}

impl Seen {
    pub(super) fn of<B>(
        host: &HostPort,
        vault: WhichVault,
        kind: VaultKind,
        request: &Request<B>,
    ) -> Self {
        let id = RequestId::new();
        let header = |name| request.headers().get(name).and_then(|v| v.to_str().ok());
        let given = header(CLIENT_REQUEST_ID).filter(|text| text.parse::<Uuid>().is_ok());
        let query = parameters(request.uri().query().unwrap_or_default().as_bytes());
        let mut uri = format!("https://{host}{}", request.uri().path());
        let known = (query.iter()).filter(|(name, _)| KNOWN_PARAMETERS.contains(&name.as_str()));
        for (at, (name, value)) in known.enumerate() {
            uri.push(if at == 0 { '?' } else { '&' });
            uri.push_str(name);
            uri.push('=');
            uri.extend(form_urlencoded::byte_serialize(value.as_bytes()));
        }
        let record = AuditRequest {
            identity: String::new(),
            object_id: String::new(),
            client_id: String::new(),
            address: request.extensions().get::<IpAddr>().copied(),
            correlation_id: given.map_or_else(|| id.0.to_string(), str::to_owned),
            client_info: header(USER_AGENT).unwrap_or_default().to_owned(),
            uri,
            version: one(&query, "api-version").unwrap_or_default().to_owned(),
            begun: Instant::now(),
        };
        Self {
            id,
            vault,
            kind,
            query,
            record,
        }
    }

    /// Whether it is of a managed HSM.
    pub(super) fn is_hsm(&self) -> bool {
        self.kind == VaultKind::ManagedHsm
    }

    /// Notes who asks: name, object id, client id.
    pub(super) fn is_by(&mut self, [name, oid, appid]: [String; 3]) {
        self.record.identity = name;
        self.record.object_id = oid;
        self.record.client_id = appid;
    }

    /// The vault, for this request.
    pub(super) fn open(&self, shared: &Shared) -> Result<LocalVault, VaultError> {
        let vault = shared.workspace.vault(&self.vault)?;
        Ok(vault.for_request(self.record.clone()))
    }
}

/// Records that the server refused what was asked, and gives the answer that says so. It is given
/// also when the log cannot be written: it grants nothing.
pub(super) async fn refused(
    shared: &Arc<Shared>,
    seen: &Seen,
    operation: AuditOperation,
    path: Option<String>,
    reply: Reply,
) -> Reply {
    record(shared, seen, operation, path, outcome(&reply)).await;
    reply
}

fn outcome(reply: &Reply) -> AuditOutcome {
    let told = reply.extensions().get::<Told>().cloned();
    let (code, description) = told.map_or_else(Default::default, |t| (t.code, t.message));
    AuditOutcome {
        http_status: reply.status().as_u16(),
        code: code.into(),
        description,
    }
}

/// The same, of somebody without a valid token.
pub(super) async fn stranger(shared: &Arc<Shared>, seen: &Seen, reply: &Reply) {
    let Some(left_out) = shared.strangers.admit(&seen.vault, Instant::now()) else {
        return;
    };
    let mut outcome = outcome(reply);
    if left_out > 0 {
        outcome.description.push(' ');
        outcome.description.push_str(&left_out_text(left_out));
    }
    record(shared, seen, AuditOperation::Authentication, None, outcome).await;
}

async fn record(
    shared: &Arc<Shared>,
    seen: &Seen,
    operation: AuditOperation,
    path: Option<String>,
    outcome: AuditOutcome,
) {
    let (blocking, seen) = (shared.clone(), seen.clone());
    let recorded = tokio::task::spawn_blocking(move || {
        let vault = seen.open(&blocking)?;
        vault.record(operation, path.as_deref(), outcome)
    });
    match recorded.await {
        Ok(Ok(())) => {}
        Ok(Err(cause)) => tracing::error!(%cause, "a refusal was not recorded"),
        Err(cause) => tracing::error!(%cause, "a refusal was not recorded"),
    }
}

/// Records in each vault how many requests without a valid token were left out since the last record of
/// one.
pub(in crate::server) fn record_strangers_left_out(shared: &Shared) {
    for (which, left_out) in shared.strangers.take_left_out() {
        let outcome = AuditOutcome {
            http_status: 401,
            code: "Unauthorized".into(),
            description: left_out_text(left_out),
        };
        let recorded = shared.workspace.vault(&which).and_then(|vault| {
            let vault = vault.acting_as("server");
            vault.record(AuditOperation::Authentication, None, outcome)
        });
        if let Err(error) = recorded {
            shared.failed(&ServerError::Vault(error));
        }
    }
}

fn left_out_text(count: u64) -> String {
    format!("Not recorded one by one: {count} requests without a valid token before this.")
}

/// How many records of strangers there may be at once, and how many each second: who has no token
/// must not fill the disk.
const BURST: u32 = 60;
const PER_SECOND: f64 = 1.0;

/// Bounds the records of requests without a valid token, in each vault for itself: what comes to one is
/// no other's to tell. What is left out is counted.
pub(in crate::server) struct Strangers(Mutex<Vec<(WhichVault, Bucket)>>);

struct Bucket {
    free: f64,
    at: Instant,
    left_out: u64,
}

impl Strangers {
    pub(in crate::server) fn new() -> Self {
        Self(Mutex::default())
    }

    /// Whether one more is recorded in `vault` at `now`: with how many were left out since the last.
    fn admit(&self, vault: &WhichVault, now: Instant) -> Option<u64> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = buckets.iter().position(|(of, _)| of == vault);
        let at = at.unwrap_or_else(|| {
            let full = Bucket {
                free: BURST.into(),
                at: now,
                left_out: 0,
            };
            buckets.push((vault.clone(), full));
            buckets.len() - 1
        });
        let bucket = &mut buckets[at].1;
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.free = (bucket.free + passed * PER_SECOND).min(BURST.into());
        bucket.at = now;
        if bucket.free < 1.0 {
            bucket.left_out += 1;
            return None;
        }
        bucket.free -= 1.0;
        Some(std::mem::take(&mut bucket.left_out))
    }

    /// The vaults with requests that were left out, and how many.
    fn take_left_out(&self) -> Vec<(WhichVault, u64)> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let take = |(vault, bucket): &mut (WhichVault, Bucket)| {
            (vault.clone(), std::mem::take(&mut bucket.left_out))
        };
        let all = buckets.iter_mut().map(take);
        all.filter(|(_, left_out)| *left_out > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn strangers_do_not_fill_the_disk_and_are_counted() {
        let strangers = Strangers::new();
        let start = Instant::now();
        let admit = |at| strangers.admit(&WhichVault::Customer, at);
        assert_eq!((0..1000).filter(|_| admit(start).is_some()).count(), 60);
        let later = start + Duration::from_secs(2);
        assert_eq!(admit(later), Some(940));
        assert_eq!(admit(later), Some(0));
        assert_eq!(admit(later), None);
        // Another vault's log tells of its own requests only, all of them.
        let payroll = "payroll".parse().unwrap();
        let admitted = (0..61).filter_map(|_| strangers.admit(&payroll, later));
        assert_eq!(admitted.collect::<Vec<_>>(), [0; 60]);
        let left_out = [(WhichVault::Customer, 1), (payroll, 1)];
        assert_eq!(strangers.take_left_out(), left_out);
        assert_eq!(strangers.take_left_out(), []);
        let week = start + Duration::from_secs(7 * 86_400);
        assert_eq!((0..1000).filter(|_| admit(week).is_some()).count(), 60);
    }

    #[test]
    fn no_parameter_that_may_be_a_secret_is_recorded() {
        let host = HostPort::parse("customer.vault.azure.net").unwrap();
        let mut request = Request::new(());
        let query = "/keys/k?access_token=S3CRET&api-version=7.4&maxresults=5&sig=S3CRET";
        *request.uri_mut() = query.parse().unwrap();
        let headers = request.headers_mut();
        headers.insert(CLIENT_REQUEST_ID, HeaderValue::from_static("S3CRET"));
        let seen = Seen::of(&host, WhichVault::Customer, VaultKind::Vault, &request).record;
        assert_eq!(
            seen.uri,
            "https://customer.vault.azure.net/keys/k?api-version=7.4&maxresults=5"
        );
        assert!(!format!("{seen:?}").contains("S3CRET"));
        let id = "00112233-4455-6677-8899-aabbccddeeff";
        let given = HeaderValue::from_static(id);
        request.headers_mut().insert(CLIENT_REQUEST_ID, given);
        assert_eq!(
            Seen::of(&host, WhichVault::Customer, VaultKind::Vault, &request)
                .record
                .correlation_id,
            id
        );
    }
}
