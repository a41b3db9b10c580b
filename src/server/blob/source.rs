//! What a copy is made of: a blob that this server serves, named by a URL. Nothing is ever fetched from
//! elsewhere: a server that follows the URLs of its clients asks, in its own name, whatever they cannot.

use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use hyper::{Method, Request, Uri};

use crate::resource::blob::{
    BlobAt, BlobPath, Conditions, CopySource, ProvidedKey, Snapshot, StorageAccount,
};
use crate::server::hosts::{HostPort, Service};
use crate::server::shared::Shared;

use super::access::{Access, By, access};
use super::call::{BlobCall, Call};
use super::encryption::{OF_SOURCE, given, provided_key};
use super::fault::Fault;
use super::head::Head;
use super::{Address, storage};

/// The longest URL of a source (the service's limit), in bytes.
const URL_MAX: usize = 2048;

/// A blob that may be copied from.
pub(super) struct Source {
    account: Arc<StorageAccount>,
    path: BlobPath,
    snapshot: Option<Snapshot>,
    conditions: Conditions,
    provided_key: Option<ProvidedKey>,
    /// Its URL, without what is secret of it.
    pub(super) url: String,
}

impl Source {
    /// What the request of `head` for the account `name` copies from, which whoever has `access` to that may
    /// read: by the URL's own signature, by a token of its own (`x-ms-copy-source-authorization`), or, in the
    /// same account, by the key or token that the request itself shows.
    pub(super) fn of(shared: &Shared, name: &str, head: &Head, by: &Access) -> Result<Self, Fault> {
        let bad = || Fault::header("x-ms-copy-source");
        let url = head.header("x-ms-copy-source")?.unwrap_or_default();
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let host = uri.authority().and_then(|a| HostPort::parse(a.as_str()));
        let host = host.filter(|_| url.len() <= URL_MAX).ok_or_else(bad)?;
        let address = match host.service() {
            Some(Service::Blob(name)) => Address::Host(name),
            Some(Service::Direct) if host.port == Some(shared.port) => {
                // `localhost:PORT` alone is a URI, too, and has no path.
                let path = uri.path().strip_prefix('/').ok_or_else(bad)?;
                let name = path.split('/').next().unwrap_or_default();
                Address::InPath(name.to_owned())
            }
            _ => {
                let why =
                    "The copy source is not on this server, which fetches nothing from elsewhere.";
                return Err(Fault::bad("InvalidUri", why).of_source());
            }
        };
        let mut headers = HeaderMap::new();
        let (Address::Host(of) | Address::InPath(of)) = &address;
        let shown = match head.header("x-ms-copy-source-authorization")? {
            Some(shown) => Some(shown),
            None if matches!(by.by, By::Token(_)) && of == name => {
                head.header(AUTHORIZATION.as_str())?
            }
            None => None,
        };
        let signed = uri.query().unwrap_or_default();
        let signed = signed.split('&').any(|pair| pair.starts_with("sig="));
        if let Some(shown) = shown.filter(|_| !signed) {
            if !shown
                .get(..7)
                .is_some_and(|s| s.eq_ignore_ascii_case("bearer "))
            {
                return Err(Fault::header("x-ms-copy-source-authorization"));
            }
            headers.insert(
                AUTHORIZATION,
                HeaderValue::from_str(shown).map_err(|_| bad())?,
            );
        }
        let mut asked = Request::new(());
        *asked.method_mut() = Method::GET;
        *asked.uri_mut() = uri.clone();
        *asked.headers_mut() = headers;
        let (parts, ()) = asked.into_parts();
        let asked = Head::new(parts, head.origin, &address)?;
        let call = Call::of(&asked).map_err(|_| bad())?;
        let Call::Blob(BlobCall::Get, path) = &call else {
            return Err(bad());
        };
        asked.refuse_unknown(&call).map_err(Fault::of_source)?;
        let account = storage::account(shared, of).map_err(Fault::of_source)?;
        let by_own_key = by.by == By::Key && of == name && !signed && asked.headers.is_empty();
        if !by_own_key {
            let may = |call: &Call| access(shared, of, &account, &asked, call);
            may(&call).map_err(Fault::of_source)?;
            if head.copies_tags()? {
                let tags = Call::Blob(BlobCall::GetTags, path.clone());
                may(&tags).map_err(Fault::of_source)?;
            }
        }
        let snapshot = asked.snapshot()?;
        let at = snapshot.map(|snapshot| format!("?snapshot={snapshot}"));
        Ok(Self {
            url: format!(
                "https://{of}.blob.core.windows.net{}{}",
                asked.resource,
                at.unwrap_or_default()
            ),
            path: path.clone(),
            snapshot,
            conditions: head.source_conditions()?,
            provided_key: provided_key(head, OF_SOURCE)?,
            account,
        })
    }

    pub(super) fn blob(&self) -> CopySource<'_> {
        CopySource {
            account: &self.account,
            blob: BlobAt {
                path: &self.path,
                snapshot: self.snapshot,
            },
            conditions: &self.conditions,
            encryption: given(self.provided_key.as_ref()),
        }
    }
}
