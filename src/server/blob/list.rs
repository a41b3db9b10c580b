//! List Containers and List Blobs.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;

use crate::resource::ResourceError;
use crate::resource::blob::{
    Attributes, BlobInfo, Conditions, ContainerName, Encryption, Lease, LeaseState, Snapshot,
    StorageAccount, UnderKey,
};

use super::encryption::default_scope;
use super::fault::Fault;
use super::head::Head;
use super::out::{blob_type, http_time, lease_duration, lease_status, tier};
use super::xml::Document;

/// The most entries of an answer (the service's).
const RESULTS_MAX: usize = 5000;

/// What both lists are asked.
struct Query<'a> {
    prefix: &'a str,
    marker: String,
    limit: usize,
    include: Vec<&'a str>,
}

fn bad(name: &str) -> Fault {
    let why = format!("The value of the query parameter {name} is invalid.");
    Fault::bad("InvalidQueryParameterValue", why)
}

/// How many entries an answer shall have at most.
pub(super) fn limit(head: &Head) -> Result<usize, Fault> {
    let Some(text) = head.query("maxresults")? else {
        return Ok(RESULTS_MAX);
    };
    match text.parse::<usize>() {
        Ok(limit @ 1..) => Ok(limit.min(RESULTS_MAX)),
        _ => Err(bad("maxresults")),
    }
}

impl<'a> Query<'a> {
    fn of(head: &'a Head) -> Result<Self, Fault> {
        let marker = URL_SAFE_NO_PAD.decode(head.query("marker")?.unwrap_or_default());
        let marker = marker
            .ok()
            .and_then(|marker| String::from_utf8(marker).ok());
        Ok(Self {
            prefix: head.query("prefix")?.unwrap_or_default(),
            marker: marker.ok_or_else(|| bad("marker"))?,
            limit: limit(head)?,
            include: head
                .query("include")?
                .unwrap_or_default()
                .split(',')
                .collect(),
        })
    }

    fn wants(&self, what: &str) -> bool {
        self.include.contains(&what)
    }
}

fn begin(account: &str, attributes: &[(&str, &str)], head: &Head) -> Result<Document, Fault> {
    let endpoint = format!("https://{account}.blob.core.windows.net/");
    let all = [&[("ServiceEndpoint", endpoint.as_str())], attributes].concat();
    let mut document = Document::new();
    document.open_with("EnumerationResults", &all);
    for (name, element) in [
        ("prefix", "Prefix"),
        ("marker", "Marker"),
        ("maxresults", "MaxResults"),
        ("delimiter", "Delimiter"),
    ] {
        if let Some(value) = head.query(name)?.filter(|value| !value.is_empty()) {
            document.text(element, value);
        }
    }
    Ok(document)
}

fn end(mut document: Document, next: Option<&str>) -> Vec<u8> {
    document.text(
        "NextMarker",
        &next
            .map(|next| URL_SAFE_NO_PAD.encode(next))
            .unwrap_or_default(),
    );
    document.close("EnumerationResults");
    document.finish()
}

pub(super) fn containers(
    name: &str,
    account: &StorageAccount,
    head: &Head,
) -> Result<Vec<u8>, Fault> {
    let query = Query::of(head)?;
    let found = account.containers(query.prefix, &query.marker, query.limit + 1);
    let mut found = found.map_err(|e| Fault::of(&e, true, true))?;
    // A page ends with the name that the next one comes after.
    let more = found.len() > query.limit;
    found.truncate(query.limit);
    let mut document = begin(name, &[], head)?;
    document.open("Containers");
    for container in &found {
        document.open("Container");
        document.text("Name", container.name.as_str());
        document.open("Properties");
        document.text("Last-Modified", &http_time(container.modified));
        document.text("Etag", &container.etag.to_string());
        lease(&mut document, container.lease.as_ref(), account.now());
        let (name, only) = default_scope(container);
        document.text("DefaultEncryptionScope", name);
        document.text("DenyEncryptionScopeOverride", &only.to_string());
        document.text("HasImmutabilityPolicy", "false");
        document.text("HasLegalHold", "false");
        document.close("Properties");
        if query.wants("metadata") {
            document.pairs("Metadata", &container.metadata);
        }
        document.close("Container");
    }
    document.close("Containers");
    let last = found.last().filter(|_| more);
    Ok(end(document, last.map(|last| last.name.as_str())))
}

pub(super) fn blobs(
    name: &str,
    account: &StorageAccount,
    container: &ContainerName,
    is_encrypted: bool,
    head: &Head,
) -> Result<Vec<u8>, Fault> {
    let of = |e: ResourceError| Fault::of(&e, true, true);
    let query = Query::of(head)?;
    let delimiter = head.query("delimiter")?.filter(|text| !text.is_empty());
    let (entries, next) = page(account, container, &query, delimiter).map_err(of)?;
    let mut document = begin(name, &[("ContainerName", container.as_str())], head)?;
    document.open("Blobs");
    for entry in &entries {
        match entry {
            Entry::Prefix(prefix) => {
                document.open("BlobPrefix");
                document.name(prefix);
                document.close("BlobPrefix");
            }
            Entry::Blob(blob) => {
                document.open("Blob");
                document.name(blob.name.as_str());
                if let Some(snapshot) = blob.snapshot {
                    document.text("Snapshot", &snapshot.to_string());
                }
                let mut encrypted = false;
                // Only what needs the customer's key asks for it: a plain list goes on without it.
                let said = match query.wants("metadata") {
                    true => match said_of(account, blob) {
                        Ok((_, said)) => Some(said),
                        // It says so instead, as the service does.
                        Err(ResourceError::Encryption { .. }) => {
                            encrypted = true;
                            None
                        }
                        // A scope that is shut shuts what is under it, and not the list.
                        Err(
                            ResourceError::KeyUnavailable { .. } | ResourceError::ScopeDisabled(_),
                        ) if blob.scope.is_some() => {
                            encrypted = true;
                            None
                        }
                        // Deleted since it was listed.
                        Err(ResourceError::NotFound(_)) => None,
                        Err(e) => return Err(of(e)),
                    },
                    false => None,
                };
                properties(
                    &mut document,
                    blob,
                    is_encrypted,
                    query.wants("copy"),
                    account.now(),
                );
                if let Some(said) = said {
                    document.pairs("Metadata", &said.metadata);
                }
                if encrypted {
                    document.open_with("Metadata", &[("Encrypted", "true")]);
                    document.close("Metadata");
                }
                if query.wants("tags") && !blob.tags.is_empty() {
                    document.tags(&blob.tags);
                }
                document.close("Blob");
            }
        }
    }
    document.close("Blobs");
    Ok(end(document, next.as_deref()))
}

fn said_of(
    account: &StorageAccount,
    blob: &BlobInfo,
) -> Result<(BlobInfo, Attributes), ResourceError> {
    let (any, encryption) = (Conditions::default(), Encryption::default());
    account.attributes(blob.at(&blob.path()), encryption, &any)
}

fn properties(
    document: &mut Document,
    blob: &BlobInfo,
    is_encrypted: bool,
    with_copies: bool,
    now: Timestamp,
) {
    document.open("Properties");
    document.text("Creation-Time", &http_time(blob.created));
    document.text("Last-Modified", &http_time(blob.modified));
    document.text("Etag", &blob.etag.to_string());
    document.text("Content-Length", &blob.size.to_string());
    let said = &blob.properties;
    let default = "application/octet-stream";
    document.text(
        "Content-Type",
        said.content_type.as_deref().unwrap_or(default),
    );
    for (name, value) in [
        ("Content-Encoding", &said.content_encoding),
        ("Content-Language", &said.content_language),
        ("Content-Disposition", &said.content_disposition),
        ("Cache-Control", &said.cache_control),
    ] {
        document.text(name, value.as_deref().unwrap_or_default());
    }
    document.text("BlobType", blob_type(&blob.status));
    if let Some(copy) = blob.status.copy.as_ref().filter(|_| with_copies) {
        document.text("CopyId", &copy.id);
        document.text("CopySource", &copy.source);
        document.text("CopyStatus", "success");
        document.text("CopyProgress", &format!("{0}/{0}", copy.bytes));
        document.text("CopyCompletionTime", &http_time(copy.completed));
    }
    if blob.snapshot.is_none() {
        lease(document, blob.lease.as_ref(), now);
    }
    if blob.status.append {
        if blob.status.sealed {
            document.text("Sealed", "true");
        }
    } else {
        let (tier, set) = tier(&blob.status);
        document.text("AccessTier", tier.as_str());
        match set {
            None => document.text("AccessTierInferred", "true"),
            Some(set) => document.text("AccessTierChangeTime", &http_time(set)),
        }
    }
    document.text(
        "ServerEncrypted",
        if is_encrypted { "true" } else { "false" },
    );
    if let Some(scope) = &blob.scope {
        document.text("EncryptionScope", scope.as_str());
    }
    if let UnderKey::Provided(sha256) = blob.under {
        document.text("CustomerProvidedKeySha256", &STANDARD.encode(sha256));
    }
    if !blob.tags.is_empty() {
        document.text("TagCount", &blob.tags.len().to_string());
    }
    document.close("Properties");
}

fn lease(document: &mut Document, lease: Option<&Lease>, now: Timestamp) {
    let state = LeaseState::of(lease, now);
    document.text("LeaseStatus", lease_status(state));
    document.text("LeaseState", state.as_str());
    if let Some(duration) = lease_duration(lease, state) {
        document.text("LeaseDuration", duration);
    }
}

enum Entry {
    Blob(Box<BlobInfo>),
    Prefix(String),
}

/// A page of a list, and the name that the next one begins with; with the last snapshot of that name, when
/// the page ends between it and the next.
fn page(
    account: &StorageAccount,
    container: &ContainerName,
    query: &Query<'_>,
    delimiter: Option<&str>,
) -> Result<(Vec<Entry>, Option<String>), ResourceError> {
    let mut entries: Vec<Entry> = Vec::new();
    let (mut from, snapshot) = match query.marker.split_once('\0') {
        None => (query.marker.clone(), None),
        Some((name, snapshot)) => {
            let bad = |_| ResourceError::Usage("the marker is not one that was given".into());
            (name.to_owned(), Some(snapshot.parse().map_err(bad)?))
        }
    };
    let mut snapshot: Option<Snapshot> = snapshot;
    let with_snapshots = query.wants("snapshots");
    loop {
        let (mut next, mut skip) = (None, None);
        account.walk(
            container,
            query.prefix,
            (&from, snapshot.take()),
            with_snapshots,
            &mut |blob| {
                let name = blob.name.as_str();
                let below = &name[query.prefix.len()..];
                let group = delimiter.and_then(|delimiter| {
                    let at = below.find(delimiter)? + delimiter.len();
                    Some(name[..query.prefix.len() + at].to_owned())
                });
                if let (Some(group), Some(Entry::Prefix(last))) = (&group, entries.last())
                    && group == last
                {
                    return true;
                }
                if entries.len() == query.limit {
                    let last = match entries.last() {
                        Some(Entry::Blob(last)) if last.name == blob.name => last.snapshot,
                        _ => None,
                    };
                    // No name holds a zero byte.
                    next = Some(match last {
                        None => name.to_owned(),
                        Some(last) => format!("{name}\0{last}"),
                    });
                    return false;
                }
                match group {
                    None => {
                        entries.push(Entry::Blob(Box::new(blob)));
                        true
                    }
                    Some(group) => {
                        // What else begins so is not looked at.
                        skip = Some(format!("{group}\u{10ffff}"));
                        entries.push(Entry::Prefix(group));
                        false
                    }
                }
            },
        )?;
        match skip {
            Some(after) => from = after,
            None => return Ok((entries, next)),
        }
    }
}
