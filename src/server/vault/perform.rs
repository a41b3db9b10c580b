//! Operations on keys, each from its body to its answer (secrets: `secrets.rs`). Synchronous: it runs
//! where it may block.

use hyper::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::base::{KeyName, KeyVersion};
use crate::crypto::{CipherParameters, EncryptionAlgorithm, SignatureAlgorithm};
use crate::server::reply::one;
use crate::vault::{
    AuditOutcome, Cryptography, KeyUse, KeyVault, LocalVault, Made, Page, PendingUse, PolicyJson,
    Used, VaultError, policy_json,
};

use super::operation::Operation;
use super::out::{Out, kid};
use super::route::Call;
use super::wire::{CreateIn, Described, ImportIn, UseIn, decoded, encoded};

/// The most items of a page, and how many it has when nothing is said.
const PAGE_MAX: u32 = 25;

/// What an operation is asked with.
pub(super) struct Asked<'a> {
    pub(super) vault: &'a LocalVault,
    /// Whether that is a managed HSM: every key in it is one of its own.
    pub(super) hsm: bool,
    pub(super) call: &'a Call,
    /// `https://HOST[:PORT]`
    pub(super) base: &'a str,
    pub(super) query: &'a [(String, String)],
    pub(super) body: &'a [u8],
}

/// `{"value": ...}` of a backup.
#[derive(Deserialize)]
pub(super) struct BackupIn {
    pub(super) value: String,
}

/// `{"count": ...}` of random bytes.
#[derive(Deserialize)]
struct RandomIn {
    count: usize,
}

/// What Azure says of operations that need a hardware security module where there is none. For these
/// four its words could not be established; they are those for hardware keys in a standard vault.
fn no_hardware() -> Value {
    let message = "Hardware key operation not allowed on standard vault";
    json!({ "error": { "code": "Forbidden", "message": message } })
}

/// What is recorded of an answer: done, or refused in its words.
fn answered(status: StatusCode, body: Option<&Value>) -> AuditOutcome {
    let error = |member: &str| {
        let told = body?.get("error")?.get(member)?.as_str()?;
        Some(told.to_owned())
    };
    match (error("code"), error("message")) {
        (Some(code), Some(description)) => AuditOutcome {
            http_status: status.as_u16(),
            code: code.into(),
            description,
        },
        _ => AuditOutcome::done(status.as_u16()),
    }
}

impl Asked<'_> {
    /// Does it, and records it unless the vault has.
    pub(super) fn perform_recorded(&self) -> Result<(StatusCode, Option<Value>), VaultError> {
        let done = self.perform();
        let (path, outcome) = match &done {
            _ if self.vault.is_recorded() => return done,
            // Who could not decide cannot record.
            Err(error) if error.http_status() >= 500 => return done,
            Err(error) => (self.call.path(), AuditOutcome::refused(error)),
            Ok((status, body)) => (
                self.told_path(body.as_ref()).or_else(|| self.call.path()),
                answered(*status, body.as_ref()),
            ),
        };
        let operation = self.call.operation.audited();
        let recorded = self.vault.record(operation, path.as_deref(), outcome);
        done.and_then(|done| recorded.map(|()| done))
    }

    /// The path of the version that an answer tells of.
    fn told_path(&self, body: Option<&Value>) -> Option<String> {
        let body = body?;
        let id = body.pointer("/key/kid").or_else(|| body.get("id"))?;
        id.as_str()?.strip_prefix(self.base).map(str::to_owned)
    }

    /// Does it; gives the answer's body, or none (204).
    fn perform(&self) -> Result<(StatusCode, Option<Value>), VaultError> {
        let Self { vault, call, .. } = self;
        let name = || {
            let name = call.name.as_ref();
            name.expect("a route that needs a name has one")
        };
        // These come often, and their answers tell nothing of the vault's settings.
        if call.operation.is_use() {
            return Ok((StatusCode::OK, Some(self.use_key(name())?)));
        }
        let out = Out {
            base: self.base,
            settings: vault.settings()?,
        };
        let version = call.version;
        let body = match call.operation {
            Operation::Create => {
                let mut spec = self.json::<CreateIn>()?.spec()?;
                spec.hsm |= self.hsm;
                out.bundle(&vault.create_key(name(), &spec)?)
            }
            Operation::Import => {
                let (key, mut spec) = self.json::<ImportIn>()?.key()?;
                spec.hsm |= self.hsm;
                out.bundle(&vault.import_key(name(), key, &spec)?)
            }
            Operation::Get => out.bundle(&vault.key(name(), version)?),
            Operation::Update => {
                let update = self.json::<Described>()?.update()?;
                out.bundle(&vault.update_key(name(), version, &update)?)
            }
            Operation::Delete => out.deleted(&vault.delete_key(name())?),
            Operation::List => {
                let found = vault.keys(self.page()?)?;
                self.list(
                    "keys",
                    found,
                    |b| b.kid.name.to_string(),
                    |b| out.item(b, false),
                )
            }
            Operation::ListVersions => {
                let found = vault.key_versions(name(), self.page::<KeyVersion>()?)?;
                let path = format!("keys/{}/versions", name());
                self.list(
                    &path,
                    found,
                    |b| b.kid.version.to_string(),
                    |b| out.item(b, true),
                )
            }
            Operation::ListDeleted => {
                let found = vault.deleted_keys(self.page()?)?;
                let last = |d: &crate::vault::DeletedKey| d.bundle.kid.name.to_string();
                self.list("deletedkeys", found, last, |d| out.deleted_item(d))
            }
            Operation::GetDeleted => out.deleted(&vault.deleted_key(name())?),
            Operation::Recover => out.bundle(&vault.recover_key(name())?),
            Operation::Purge => {
                vault.purge_key(name())?;
                return Ok((StatusCode::NO_CONTENT, None));
            }
            Operation::Backup => json!({ "value": encoded(&vault.backup_key(name())?) }),
            Operation::Restore => {
                let backup = decoded("value", &self.json::<BackupIn>()?.value)?;
                out.bundle(&vault.restore_key(backup.expose())?)
            }
            Operation::Rotate => out.bundle(&vault.rotate_key(name())?),
            Operation::GetPolicy => self.policy(&vault.rotation_policy(name())?, name()),
            Operation::SetPolicy => {
                let policy = self.json::<PolicyJson>()?.wanted()?;
                self.policy(&vault.set_rotation_policy(name(), &policy)?, name())
            }
            Operation::RandomBytes => {
                let asked = self.json::<RandomIn>()?;
                json!({ "value": encoded(vault.random_bytes(asked.count)?.expose()) })
            }
            Operation::GetAttestation
            | Operation::Release
            | Operation::SecureWrap
            | Operation::SecureUnwrap => {
                vault.key(name(), version)?;
                return Ok((StatusCode::FORBIDDEN, Some(no_hardware())));
            }
            _ => return self.perform_on_secrets(&out),
        };
        Ok((StatusCode::OK, Some(body)))
    }

    /// Encrypt, decrypt, wrap, unwrap, sign, verify.
    fn use_key(&self, name: &KeyName) -> Result<Value, VaultError> {
        let mut attempt = 1;
        loop {
            let pending = self.begin_use(name, attempt)?;
            if let Some(body) = self.vault.finish(pending)? {
                return Ok(body);
            }
            attempt += 1;
        }
    }

    /// The use of a key, up to its decision.
    pub(super) fn begin_use(
        &self,
        name: &KeyName,
        attempt: u32,
    ) -> Result<PendingUse<Value>, VaultError> {
        let asked = self.json::<UseIn>()?;
        let cipher = || {
            asked
                .alg
                .parse::<EncryptionAlgorithm>()
                .map_err(VaultError::BadParameter)
        };
        let signature = || {
            asked
                .alg
                .parse::<SignatureAlgorithm>()
                .map_err(VaultError::BadParameter)
        };
        let [iv, aad, tag] = asked.parameters()?;
        let with = CipherParameters {
            iv: iv.as_deref(),
            aad: aad.as_deref(),
            tag: tag.as_deref(),
        };
        let value = asked.value()?;
        let value = value.expose();
        let digest;
        let what = match self.call.operation {
            Operation::Encrypt => KeyUse::Encrypt(cipher()?, value, with),
            Operation::Decrypt => KeyUse::Decrypt(cipher()?, value, with),
            Operation::Wrap => KeyUse::Wrap(cipher()?, value),
            Operation::Unwrap => KeyUse::Unwrap(cipher()?, value),
            Operation::Sign => KeyUse::Sign(signature()?, value),
            _ => {
                digest = asked.digest()?;
                KeyUse::Verify(signature()?, digest.expose(), value)
            }
        };
        let pending = (self.vault).begin_use(&what, name, self.call.version, attempt)?;
        Ok(pending.map(|Used { kid: used, value }| {
            let told = |value: String| json!({ "kid": kid(self.base, &used), "value": value });
            match value {
                Made::Bytes(bytes) => told(encoded(&bytes)),
                Made::Secret(bytes) => told(encoded(bytes.expose())),
                Made::Valid(valid) => json!({ "value": valid }),
                Made::Ciphertext(made) => {
                    let mut body = told(encoded(&made.value));
                    for (name, bytes) in [("iv", made.iv), ("tag", made.tag), ("aad", aad)] {
                        if let Some(bytes) = bytes {
                            body[name] = encoded(&bytes).into();
                        }
                    }
                    body
                }
            }
        }))
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, VaultError> {
        // What is wrong is told without the value, which may be a key.
        serde_json::from_slice(self.body).map_err(|e| {
            let why = match e.classify() {
                serde_json::error::Category::Data => "a field is missing or of the wrong type",
                _ => "not JSON",
            };
            let (line, column) = (e.line(), e.column());
            VaultError::BadParameter(format!("the body, line {line}, column {column}: {why}"))
        })
    }

    fn policy(&self, policy: &crate::vault::RotationPolicy, name: &KeyName) -> Value {
        policy_json(&format!("{}/keys/{name}", self.base), policy)
    }

    fn limit(&self) -> Result<u32, VaultError> {
        match one(self.query, "maxresults") {
            None => Ok(PAGE_MAX),
            Some(text) => {
                let limit = text.parse().ok().filter(|n| (1..=PAGE_MAX).contains(n));
                let why = || format!("maxresults is a number from 1 to {PAGE_MAX}.");
                limit.ok_or_else(|| VaultError::BadParameter(why()))
            }
        }
    }

    /// One more than is answered is asked for: whether there is a next page.
    pub(super) fn page<T: std::str::FromStr>(&self) -> Result<Page<T>, VaultError> {
        let limit = Some(self.limit()? + 1);
        let after = match one(self.query, "$skiptoken") {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| {
                let why = "$skiptoken is not one that a page was answered with.";
                VaultError::BadParameter(why.into())
            })?),
        };
        Ok(Page { after, limit })
    }

    pub(super) fn list<T>(
        &self,
        path: &str,
        mut found: Vec<T>,
        last: impl Fn(&T) -> String,
        item: impl Fn(&T) -> Value,
    ) -> Value {
        let limit = self.limit().unwrap_or(PAGE_MAX);
        let more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let next = found.last().filter(|_| more).map(|end| {
            let version = one(self.query, "api-version").unwrap_or_default();
            let query = form_urlencoded::Serializer::new(String::new())
                .append_pair("api-version", version)
                .append_pair("$skiptoken", &last(end))
                .append_pair("maxresults", &limit.to_string())
                .finish();
            format!("{}/{path}?{query}", self.base)
        });
        let items: Vec<_> = found.iter().map(item).collect();
        json!({ "value": items, "nextLink": next })
    }
}
