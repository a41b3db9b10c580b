//! A storage account's blobs: Azure's Blob service REST API
//! (learn.microsoft.com/rest/api/storageservices/blob-service-rest-api).

mod access;
mod append;
mod batch;
mod call;
mod copy;
mod delegation;
mod digest;
mod encryption;
mod fault;
mod find;
#[cfg(test)]
mod fuzz;
mod head;
mod lease;
mod list;
mod out;
mod perform;
mod policy;
mod range;
mod sas;
mod service;
mod shared_key;
mod source;
mod storage;
mod transfer;
mod xml;

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use jiff::civil::Date;

use crate::base::at_once;
use crate::resource::blob::{BlobAt, BlobPath, ProvidedKey, ScopeName, StorageAccount};

use super::reply::Reply;
use super::shared::{Answer, Shared};
use access::{Access, access};
use call::{AccountCall, BlobCall, Call, ContainerCall};
use fault::Fault;
use head::Head;
use source::Source;

pub(in crate::server) use storage::Storage;

/// The version of the protocol that an answer names when the request names none.
const VERSION: &str = "2021-08-06";
/// The oldest that is spoken: the signatures of older ones differ.
const OLDEST: Date = Date::constant(2015, 2, 21);

/// A request that may be done.
struct Admitted {
    account: Arc<StorageAccount>,
    call: Arc<Call>,
    head: Arc<Head>,
    access: Access,
    /// What is copied from.
    source: Option<Source>,
    /// A key that came with the request.
    provided_key: Option<ProvidedKey>,
    /// The encryption scope that the request names, or its signature.
    scope: Option<ScopeName>,
}

impl Admitted {
    /// What a call of this blob is of: the blob, or a snapshot of it.
    fn at<'a>(&self, path: &'a BlobPath) -> Result<BlobAt<'a>, Fault> {
        Ok(BlobAt {
            path,
            snapshot: self.head.snapshot()?,
        })
    }
}

/// Where a request comes from.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    address: IpAddr,
    /// Not over plain HTTP.
    over_tls: bool,
}

impl Origin {
    pub(super) fn tls(address: IpAddr) -> Self {
        let over_tls = true;
        Self { address, over_tls }
    }

    pub(super) fn plain(address: IpAddr) -> Self {
        let over_tls = false;
        Self { address, over_tls }
    }
}

/// How a request names its storage account.
pub(super) enum Address {
    /// By its host, `NAME.blob.core.windows.net`.
    Host(String),
    /// By the first part of its path: the host is the server's own.
    InPath(String),
}

/// The storage account that a request to the server itself names in its path, if it is one of the Blob
/// service: those of the vault name no version in a header, and are not signed in the query.
pub(super) fn in_path<B>(request: &Request<B>) -> Option<String> {
    let query = request.uri().query().unwrap_or_default();
    let signed = query.split('&').any(|pair| pair.starts_with("sig="));
    if !signed && !request.headers().contains_key("x-ms-version") {
        return None;
    }
    let name = request.uri().path().strip_prefix('/')?.split('/').next()?;
    Some(name.to_owned())
}

/// Answers a request to a storage account.
pub(super) async fn answer(
    shared: &Arc<Shared>,
    address: &Address,
    origin: Origin,
    request: Request<Incoming>,
) -> Answer {
    let (parts, body) = request.into_parts();
    let echoed = [
        ("x-ms-version", parts.headers.get("x-ms-version").cloned()),
        (
            "x-ms-client-request-id",
            parts.headers.get("x-ms-client-request-id").cloned(),
        ),
    ];
    let (Address::Host(name) | Address::InPath(name)) = address;
    let (mut answer, version) = match Head::new(parts, origin, address) {
        Ok(head) => {
            let version = version(&head).map(str::to_owned);
            match version {
                Ok(version) => (run(shared, name, head, body).await, Some(version)),
                Err(fault) => {
                    transfer::drain(body).await;
                    (Answer::new("Unknown", fault.reply()), None)
                }
            }
        }
        Err(fault) => {
            transfer::drain(body).await;
            (Answer::new("Unknown", fault.reply()), None)
        }
    };
    let headers = answer.reply.headers_mut();
    for (name, value) in echoed {
        if let Some(value) = value.filter(|value| value.len() <= 1024) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    if let Some(version) = version
        && let Ok(version) = HeaderValue::from_str(&version)
    {
        headers.insert("x-ms-version", version);
    }
    answer
}

/// The version of the protocol: any that is a date.
fn version(head: &Head) -> Result<&str, Fault> {
    let Some(text) = head.header("x-ms-version")? else {
        return Ok(head.query("sv")?.unwrap_or(VERSION));
    };
    let date = (text.len() == 10)
        .then(|| text.parse::<Date>().ok())
        .flatten();
    match date.is_some_and(|date| date >= OLDEST) {
        true => Ok(text),
        false => Err(Fault::header("x-ms-version")),
    }
}

async fn run(shared: &Arc<Shared>, name: &str, head: Head, body: Incoming) -> Answer {
    let call = match Call::of(&head) {
        Ok(call) => call,
        Err(fault) => {
            transfer::drain(body).await;
            return Answer::new("Unknown", fault.reply());
        }
    };
    let operation = call.name();
    let (head, call) = (Arc::new(head), Arc::new(call));
    let admitted = match now(|| admit(shared, name, &head, &call)) {
        Some(admitted) => admitted,
        None => {
            let (shared, name) = (shared.clone(), name.to_owned());
            blocking(move || admit(&shared, &name, &head, &call)).await
        }
    };
    let admitted = match admitted {
        Ok(admitted) => admitted,
        Err(fault) => {
            transfer::drain(body).await;
            return Answer::new(operation, fault.reply());
        }
    };
    let caller = admitted.access.who.clone();
    let reply = perform(shared, name, Arc::new(admitted), body).await;
    Answer {
        operation,
        reply: reply.unwrap_or_else(|fault| fault.reply()),
        caller: Some(caller),
    }
}

/// What `work` gives where it need not wait: to change threads twice costs more than to find out who asks, or to send or
/// write a small blob. One that panics is done anew, and answered for there.
fn now<T>(work: impl FnOnce() -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(|| at_once(work)));
    done.ok().flatten()
}

/// Whether a request may be done, before its body is read.
fn admit(
    shared: &Shared,
    name: &str,
    head: &Arc<Head>,
    call: &Arc<Call>,
) -> Result<Admitted, Fault> {
    let account = storage::account(shared, name)?;
    let access = access(shared, name, &account, head, call)?;
    head.refuse_unknown(call)?;
    let source = match call.copies() {
        true => Some(Source::of(shared, name, head, &access)?),
        false => None,
    };
    let provided_key = encryption::provided_key(head, encryption::OWN)?;
    let scope = encryption::scope(head)?;
    if provided_key.is_some() && scope.is_some() {
        return Err(Fault::header(encryption::SCOPE));
    }
    Ok(Admitted {
        provided_key,
        scope,
        source,
        account,
        call: call.clone(),
        head: head.clone(),
        access,
    })
}

async fn perform(
    shared: &Arc<Shared>,
    name: &str,
    asked: Arc<Admitted>,
    body: Incoming,
) -> Result<Reply, Fault> {
    match &*asked.call {
        Call::Blob(BlobCall::Put | BlobCall::PutBlock | BlobCall::AppendBlock, _) => {
            transfer::receive(shared, asked, body).await
        }
        Call::Blob(BlobCall::Get, _) => transfer::send(shared, asked).await,
        _ => {
            let max = match &*asked.call {
                Call::Blob(BlobCall::PutBlockList, _) => transfer::BLOCK_LIST_MAX,
                Call::Account(AccountCall::Batch) | Call::Container(ContainerCall::Batch, _) => {
                    batch::BODY_MAX
                }
                _ => transfer::SMALL_MAX,
            };
            let body = transfer::small(body, max).await?;
            let (shared, name) = (shared.clone(), name.to_owned());
            let permit = match asked.call.copies() {
                true => Some(transfer::turn(&shared).await?),
                false => None,
            };
            blocking(move || {
                let _permit = permit;
                perform::perform(&shared, &name, &asked, &body)
            })
            .await
        }
    }
}

/// Runs `work` on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panicked| Err(Fault::internal(&panicked, "the server failed")))
}
