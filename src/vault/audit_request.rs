//! Who asks, and with what request: what audit records tell beside the operation.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// The longest name of a caller that is recorded, in characters.
const NAME_MAX: usize = 128;
/// The longest identifier.
const ID_MAX: usize = 64;
/// The longest description of a client's program.
const CLIENT_MAX: usize = 256;
/// The longest URI.
const URI_MAX: usize = 1024;

/// A request to a vault that somebody sent over a network. Texts are recorded up to a length of their
/// own, control characters replaced: what a client says costs no more room than that.
#[derive(Clone, Debug)]
pub struct AuditRequest {
    /// Who asks, by name; empty when nobody knows.
    pub identity: String,
    /// His object id (`oid`); empty when nobody knows.
    pub object_id: String,
    /// The client id of his program (`appid`); empty when nobody knows.
    pub client_id: String,
    /// Where from.
    pub address: Option<IpAddr>,
    /// What he finds the request by.
    pub correlation_id: String,
    /// What his program says that it is (`User-Agent`).
    pub client_info: String,
    /// What was asked for, without what may be secret in its query.
    pub uri: String,
    /// The version of the API that was asked for.
    pub version: String,
    /// When it came.
    pub begun: Instant,
}

/// Who is recorded.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) identity: String,
    pub(super) request: Option<AuditRequest>,
    /// Whether a record tells of it.
    recorded: AtomicBool,
}

impl Caller {
    /// Somebody on this machine.
    pub(super) fn named(name: &str) -> Self {
        Self {
            identity: shown(name, NAME_MAX),
            request: None,
            recorded: AtomicBool::new(false),
        }
    }

    /// Who sent a request.
    pub(super) fn of(request: AuditRequest) -> Self {
        let request = AuditRequest {
            identity: shown(&request.identity, NAME_MAX),
            object_id: shown(&request.object_id, ID_MAX),
            client_id: shown(&request.client_id, ID_MAX),
            correlation_id: shown(&request.correlation_id, ID_MAX),
            client_info: shown(&request.client_info, CLIENT_MAX),
            uri: shown(&request.uri, URI_MAX),
            version: shown(&request.version, ID_MAX),
            ..request
        };
        Self {
            identity: request.identity.clone(),
            request: Some(request),
            recorded: AtomicBool::new(false),
        }
    }

    pub(super) fn is_recorded(&self) -> bool {
        self.recorded.load(Ordering::Acquire)
    }

    /// To be called once the record is on disk.
    pub(super) fn set_recorded(&self) {
        self.recorded.store(true, Ordering::Release);
    }
}

/// A text as records carry it.
fn shown(text: &str, max: usize) -> String {
    let plain = |b: u8| b.is_ascii() && !b.is_ascii_control();
    if text.len() <= max && text.bytes().all(plain) {
        return text.to_owned();
    }
    let printable = text.chars().map(|c| match c.is_control() {
        true => '\u{fffd}',
        false => c,
    });
    printable.take(max).collect()
}
