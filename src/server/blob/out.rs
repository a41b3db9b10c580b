//! What answers say in their heads.

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use jiff::Timestamp;

use crate::resource::blob::{
    Attributes, BlobInfo, BlobStatus, ContainerInfo, Etag, Lease, LeaseState, Pairs, ScopeName,
    Tier, UnderKey,
};
use crate::server::reply::{Reply, whole};

use super::Admitted;
use super::encryption::{SCOPE, SHA256, default_scope};
use super::fault::Fault;
use super::storage::is_encrypted;

/// A time as HTTP says it (RFC 9110, 5.6.7).
pub(super) fn http_time(time: Timestamp) -> String {
    let seconds = u64::try_from(time.as_second()).unwrap_or(0);
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// An answer that is being made.
pub(super) struct Out(Reply);

impl Out {
    pub(super) fn new(status: StatusCode) -> Self {
        let mut reply = whole("");
        *reply.status_mut() = status;
        Self(reply)
    }

    pub(super) fn bytes(body: Vec<u8>) -> Self {
        Self(whole(body))
    }

    pub(super) fn status(&mut self, status: StatusCode) {
        *self.0.status_mut() = status;
    }

    pub(super) fn xml(body: Vec<u8>) -> Self {
        let mut out = Self::bytes(body);
        out.set("content-type", "application/xml");
        out
    }

    /// A header; nothing when its value cannot be one.
    pub(super) fn set(&mut self, name: &'static str, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.0.headers_mut().insert(name, value);
        }
    }

    pub(super) fn state(&mut self, etag: Etag, modified: Timestamp) {
        self.set("etag", &format!("\"{etag}\""));
        self.set("last-modified", &http_time(modified));
    }

    pub(super) fn metadata(&mut self, metadata: &Pairs) {
        for (name, value) in metadata {
            let name = HeaderName::from_bytes(format!("x-ms-meta-{name}").as_bytes());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
                self.0.headers_mut().insert(name, value);
            }
        }
    }

    /// What is said of a lease.
    fn lease(&mut self, lease: Option<&Lease>, now: Timestamp) {
        let state = LeaseState::of(lease, now);
        self.set("x-ms-lease-status", lease_status(state));
        self.set("x-ms-lease-state", state.as_str());
        if let Some(duration) = lease_duration(lease, state) {
            self.set("x-ms-lease-duration", duration);
        }
    }

    pub(super) fn container(&mut self, container: &ContainerInfo, now: Timestamp) {
        self.state(container.etag, container.modified);
        self.metadata(&container.metadata);
        self.lease(container.lease.as_ref(), now);
        let (name, only) = default_scope(container);
        self.set("x-ms-default-encryption-scope", name);
        self.set("x-ms-deny-encryption-scope-override", truth(only));
        self.set("x-ms-has-immutability-policy", "false");
        self.set("x-ms-has-legal-hold", "false");
    }

    /// What Get Blob and Get Blob Properties say, but for the length.
    pub(super) fn blob(
        &mut self,
        asked: &Admitted,
        blob: &BlobInfo,
        said: &Attributes,
    ) -> Result<(), Fault> {
        self.state(blob.etag, blob.modified);
        self.metadata(&said.metadata);
        let properties = &blob.properties;
        for (name, kept, instead) in [
            ("content-type", &properties.content_type, "rsct"),
            ("content-encoding", &properties.content_encoding, "rsce"),
            ("content-language", &properties.content_language, "rscl"),
            (
                "content-disposition",
                &properties.content_disposition,
                "rscd",
            ),
            ("cache-control", &properties.cache_control, "rscc"),
        ] {
            let instead = match asked.access.overrides {
                true => asked.head.query(instead)?,
                false => None,
            };
            if let Some(value) = instead.or(kept.as_deref()) {
                self.set(name, value);
            }
        }
        if !self.0.headers().contains_key("content-type") {
            self.set("content-type", "application/octet-stream");
        }
        self.set("accept-ranges", "bytes");
        self.set("x-ms-blob-type", blob_type(&blob.status));
        if let Some(copy) = &blob.status.copy {
            self.set("x-ms-copy-id", &copy.id);
            self.set("x-ms-copy-source", &copy.source);
            self.set("x-ms-copy-status", "success");
            self.set("x-ms-copy-progress", &format!("{0}/{0}", copy.bytes));
            self.set("x-ms-copy-completion-time", &http_time(copy.completed));
        }
        self.set("x-ms-creation-time", &http_time(blob.created));
        if blob.snapshot.is_none() {
            self.lease(blob.lease.as_ref(), asked.account.now());
        }
        match &blob.status {
            status if status.append => {
                let count = blob.extents.to_string();
                self.set("x-ms-blob-committed-block-count", &count);
                if status.sealed {
                    self.set("x-ms-blob-sealed", "true");
                }
            }
            status => {
                let (tier, set) = tier(status);
                self.set("x-ms-access-tier", tier.as_str());
                match set {
                    None => self.set("x-ms-access-tier-inferred", "true"),
                    Some(set) => self.set("x-ms-access-tier-change-time", &http_time(set)),
                }
            }
        }
        self.encryption(
            "x-ms-server-encrypted",
            asked,
            blob.under,
            blob.scope.as_ref(),
        );
        if !blob.tags.is_empty() {
            self.set("x-ms-tag-count", &blob.tags.len().to_string());
        }
        Ok(())
    }

    /// What the writing operations say.
    pub(super) fn written(&mut self, asked: &Admitted, blob: &BlobInfo) {
        self.state(blob.etag, blob.modified);
        let name = "x-ms-request-server-encrypted";
        self.encryption(name, asked, blob.under, blob.scope.as_ref());
    }

    /// Whether what is read or was written is encrypted, which the header `name` says, and under which key.
    pub(super) fn encryption(
        &mut self,
        name: &'static str,
        asked: &Admitted,
        under: UnderKey,
        scope: Option<&ScopeName>,
    ) {
        self.set(name, truth(is_encrypted(&asked.account)));
        if let UnderKey::Provided(sha256) = under {
            self.set(SHA256, &STANDARD.encode(sha256));
        }
        if let Some(scope) = scope {
            self.set(SCOPE, scope.as_str());
        }
    }

    pub(super) fn md5(&mut self, name: &'static str, md5: &[u8; 16]) {
        self.set(name, &STANDARD.encode(md5));
    }

    pub(super) fn done(self) -> Reply {
        self.0
    }
}

pub(super) fn lease_status(state: LeaseState) -> &'static str {
    match state.is_locked() {
        true => "locked",
        false => "unlocked",
    }
}

/// Of a lease that is held: for how long it was taken.
pub(super) fn lease_duration(lease: Option<&Lease>, state: LeaseState) -> Option<&'static str> {
    let lease = lease.filter(|_| state == LeaseState::Leased)?;
    Some(match lease.seconds {
        None => "infinite",
        Some(_) => "fixed",
    })
}

/// A block blob's access tier, and when it was set: the account's is hot.
pub(super) fn tier(status: &BlobStatus) -> (Tier, Option<Timestamp>) {
    match status.tier {
        Some((tier, set)) => (tier, Some(set)),
        None => (Tier::Hot, None),
    }
}

/// What kind of blob it is, in the service's words.
pub(super) fn blob_type(status: &BlobStatus) -> &'static str {
    match status.append {
        true => "AppendBlob",
        false => "BlockBlob",
    }
}

fn truth(is: bool) -> &'static str {
    if is { "true" } else { "false" }
}
