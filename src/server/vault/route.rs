//! Which operation a method and a path ask for.

use hyper::Method;

use crate::base::{KeyName, KeyVersion};

use super::operation::Operation;

/// An operation, and what it is asked of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) operation: Operation,
    /// Of all but lists, a restore and random bytes.
    pub(super) name: Option<KeyName>,
    /// The newest when `None`.
    pub(super) version: Option<KeyVersion>,
}

impl Call {
    /// What it is asked of, as `/keys/NAME/VERSION`.
    pub(super) fn path(&self) -> Option<String> {
        let name = self.name.as_ref()?;
        let kind = match self.operation.is_on_secrets() {
            true => "secrets",
            false => "keys",
        };
        let version = self.version.map_or_else(String::new, |v| format!("/{v}"));
        Some(format!("/{kind}/{name}{version}"))
    }
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoRoute {
    /// No operation is at this path.
    Path,
    /// One is, by one of these methods.
    Method(Vec<Method>),
    /// A name or version that can be none.
    Malformed(String),
}

/// What may follow a key and its version. Clients differ in its case (`wrapkey`, `wrapKey`).
fn use_of_key(segment: &str) -> Option<(Method, Operation)> {
    use Operation::*;
    let (method, operation) = match segment.to_ascii_lowercase().as_str() {
        "encrypt" => (Method::POST, Encrypt),
        "decrypt" => (Method::POST, Decrypt),
        "wrapkey" => (Method::POST, Wrap),
        "unwrapkey" => (Method::POST, Unwrap),
        "sign" => (Method::POST, Sign),
        "verify" => (Method::POST, Verify),
        "attestation" => (Method::GET, GetAttestation),
        "release" => (Method::POST, Release),
        "securewrapkey" => (Method::POST, SecureWrap),
        "secureunwrapkey" => (Method::POST, SecureUnwrap),
        _ => return None,
    };
    Some((method, operation))
}

/// Parses a path as it was sent. Clients that name no version send `/keys/NAME/`,
/// `/keys/NAME//encrypt` or `/keys/NAME/encrypt`: an empty segment counts.
pub(super) fn route(method: &Method, path: &str) -> Result<Call, NoRoute> {
    use Operation::*;
    let segments: Vec<_> = path.split('/').collect();
    let use_of_key = segments.last().and_then(|last| use_of_key(last));
    let use_of_key = use_of_key.as_slice();
    let (offered, name, version): (&[(Method, Operation)], _, _) = match segments[..] {
        ["", "keys"] => (&[(Method::GET, List)], None, None),
        ["", "deletedkeys"] => (&[(Method::GET, ListDeleted)], None, None),
        ["", "deletedkeys", name] => (
            &[(Method::GET, GetDeleted), (Method::DELETE, Purge)],
            Some(name),
            None,
        ),
        ["", "deletedkeys", name, "recover"] => (&[(Method::POST, Recover)], Some(name), None),
        ["", "keys", "restore"] if method == Method::POST => {
            (&[(Method::POST, Restore)], None, None)
        }
        ["", "keys", name] => (
            &[
                (Method::GET, Get),
                (Method::PUT, Import),
                (Method::PATCH, Update),
                (Method::DELETE, Delete),
            ],
            Some(name),
            None,
        ),
        ["", "keys", name, "create"] => (&[(Method::POST, Create)], Some(name), None),
        ["", "keys", name, "versions"] => (&[(Method::GET, ListVersions)], Some(name), None),
        ["", "keys", name, "backup"] => (&[(Method::POST, Backup)], Some(name), None),
        ["", "keys", name, "rotate"] => (&[(Method::POST, Rotate)], Some(name), None),
        ["", "keys", name, "rotationpolicy"] => (
            &[(Method::GET, GetPolicy), (Method::PUT, SetPolicy)],
            Some(name),
            None,
        ),
        ["", "keys", name, _] if !use_of_key.is_empty() => (use_of_key, Some(name), None),
        ["", "keys", name, version] => (
            &[(Method::GET, Get), (Method::PATCH, Update)],
            Some(name),
            Some(version),
        ),
        ["", "keys", name, version, _] if !use_of_key.is_empty() => {
            (use_of_key, Some(name), Some(version))
        }
        ["", "rng"] => (&[(Method::POST, RandomBytes)], None, None),
        ["", "secrets"] => (&[(Method::GET, SecretList)], None, None),
        ["", "deletedsecrets"] => (&[(Method::GET, SecretListDeleted)], None, None),
        ["", "deletedsecrets", name] => (
            &[
                (Method::GET, SecretGetDeleted),
                (Method::DELETE, SecretPurge),
            ],
            Some(name),
            None,
        ),
        ["", "deletedsecrets", name, "recover"] => {
            (&[(Method::POST, SecretRecover)], Some(name), None)
        }
        ["", "secrets", "restore"] if method == Method::POST => {
            (&[(Method::POST, SecretRestore)], None, None)
        }
        ["", "secrets", name] => (
            &[
                (Method::GET, SecretGet),
                (Method::PUT, SecretSet),
                (Method::PATCH, SecretUpdate),
                (Method::DELETE, SecretDelete),
            ],
            Some(name),
            None,
        ),
        ["", "secrets", name, "versions"] => {
            (&[(Method::GET, SecretListVersions)], Some(name), None)
        }
        ["", "secrets", name, "backup"] => (&[(Method::POST, SecretBackup)], Some(name), None),
        ["", "secrets", name, version] => (
            &[(Method::GET, SecretGet), (Method::PATCH, SecretUpdate)],
            Some(name),
            Some(version),
        ),
        _ => return Err(NoRoute::Path),
    };
    let found = offered.iter().find(|(offered, _)| offered == method);
    let methods = || offered.iter().map(|(method, _)| method.clone()).collect();
    let (_, operation) = found.ok_or_else(|| NoRoute::Method(methods()))?;
    let malformed = |e: String| NoRoute::Malformed(e);
    let name = name.map(str::parse::<KeyName>).transpose();
    let version = version.filter(|version| !version.is_empty());
    let version = version.map(str::parse::<KeyVersion>).transpose();
    Ok(Call {
        operation: *operation,
        name: name.map_err(|e| malformed(e.to_string()))?,
        version: version.map_err(|e| malformed(e.to_string()))?,
    })
}
