//! What a request says of the key that a blob is under
//! (learn.microsoft.com/azure/storage/blobs/encryption-customer-provided-keys).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::crypto::Secret;
use crate::resource::blob::{ContainerInfo, ContainerScope, Encryption, ProvidedKey, ScopeName};

use super::Admitted;
use super::call::{BlobCall, Call};
use super::fault::Fault;
use super::head::Head;
use super::sas;

pub(super) const SHA256: &str = "x-ms-encryption-key-sha256";

pub(super) const SCOPE: &str = "x-ms-encryption-scope";

/// What stands for no scope.
const NO_SCOPE: &str = "$account-encryption-key";

/// The encryption scope that a request names, or the signature that allows it (`ses`), which it must not contradict.
pub(super) fn scope(head: &Head) -> Result<Option<ScopeName>, Fault> {
    let named = head.header(SCOPE)?;
    let signed = sas::scope(head)?;
    if let (Some(named), Some(signed)) = (named, signed)
        && named != signed
    {
        return Err(Fault::header(SCOPE));
    }
    parse(SCOPE, named.or(signed))
}

/// The scope that new blobs of a container are under.
pub(super) fn container_scope(head: &Head) -> Result<Option<ContainerScope>, Fault> {
    const DEFAULT: &str = "x-ms-default-encryption-scope";
    const DENY: &str = "x-ms-deny-encryption-scope-override";
    let (named, only) = match (head.header(DEFAULT)?, head.header(DENY)?) {
        (None, None) => return Ok(None),
        (Some(named), Some("true")) => (named, true),
        (Some(named), Some("false")) => (named, false),
        (Some(_), Some(_)) => return Err(Fault::header(DENY)),
        (None, _) | (_, None) => {
            let why = format!(
                "Container encryption policy missing header: {DEFAULT} and {DENY} are required."
            );
            return Err(Fault::bad("MissingRequiredHeader", why));
        }
    };
    match named {
        NO_SCOPE if only => Err(Fault::not_here(
            "containers that insist on the account's key",
        )),
        NO_SCOPE => Ok(None),
        named => Ok(parse(DEFAULT, Some(named))?.map(|name| ContainerScope { name, only })),
    }
}

/// The name of the scope that a container's new blobs are under, and whether no request may name another.
pub(super) fn default_scope(container: &ContainerInfo) -> (&str, bool) {
    match &container.scope {
        Some(scope) => (scope.name.as_str(), scope.only),
        None => (NO_SCOPE, false),
    }
}

fn parse(header: &str, name: Option<&str>) -> Result<Option<ScopeName>, Fault> {
    let parsed = name.map(|name| name.parse().map_err(|_| Fault::header(header)));
    parsed.transpose()
}

/// A container does not allow the scope.
pub(super) fn forced() -> Fault {
    let why = "The request is forbidden by the container encryption policy.";
    Fault::forbidden("RequestForbiddenByContainerEncryptionPolicy", why)
}

/// The headers of a key: itself, its SHA-256, and the algorithm.
type Headers = [&'static str; 3];

/// Those of what is asked for.
pub(super) const OWN: Headers = ["x-ms-encryption-key", SHA256, "x-ms-encryption-algorithm"];
/// Those of what it is copied from.
pub(super) const OF_SOURCE: Headers = [
    "x-ms-source-encryption-key",
    "x-ms-source-encryption-key-sha256",
    "x-ms-source-encryption-algorithm",
];

/// The key that comes with a request, if one does: three headers, all or none.
pub(super) fn provided_key(head: &Head, all: Headers) -> Result<Option<ProvidedKey>, Fault> {
    let mut values = [None; 3];
    for (value, name) in values.iter_mut().zip(all) {
        *value = head.header(name)?;
    }
    let [Some(key), Some(sha256), Some(algorithm)] = values else {
        let missing = all.iter().zip(values).find(|(_, value)| value.is_none());
        return match (values.iter().all(Option::is_none), missing) {
            (true, _) | (_, None) => Ok(None),
            (false, Some((name, _))) => Err(Fault::bad(
                "MissingRequiredHeader",
                format!(
                    "An HTTP header that's mandatory for this request is not specified: {name}."
                ),
            )),
        };
    };
    if algorithm != "AES256" {
        return Err(Fault::header(all[2]));
    }
    let key = STANDARD.decode(key).map(Zeroizing::new);
    let key = key.ok().and_then(|key| Secret::copy_from(&key));
    let key = ProvidedKey::new(key.ok_or_else(|| Fault::header(all[0]))?);
    match STANDARD
        .decode(sha256)
        .is_ok_and(|sha256| sha256 == key.sha256())
    {
        true => Ok(Some(key)),
        false => Err(Fault::header(all[1])),
    }
}

impl Admitted {
    /// What the request says of the key.
    pub(super) fn encryption(&self) -> Encryption<'_> {
        match &self.scope {
            Some(scope) if says_the_key(&self.call) => Encryption::Scope(scope),
            _ => given(self.provided_key.as_ref()),
        }
    }
}

/// Whether a request says under which key something new, or a blob that it changes, is.
fn says_the_key(call: &Call) -> bool {
    let Call::Blob(call, _) = call else {
        return false;
    };
    matches!(
        call,
        BlobCall::Put
            | BlobCall::PutBlock
            | BlobCall::PutBlockList
            | BlobCall::PutFromUrl
            | BlobCall::PutBlockFromUrl
            | BlobCall::Copy
            | BlobCall::CreateAppend
            | BlobCall::AppendBlock
            | BlobCall::AppendBlockFromUrl
            | BlobCall::Snapshot
            | BlobCall::SetMetadata
    )
}

/// What a key that is given, or none, says.
pub(super) fn given(key: Option<&ProvidedKey>) -> Encryption<'_> {
    match key {
        Some(key) => Encryption::Provided(key),
        None => Encryption::Unspecified,
    }
}
