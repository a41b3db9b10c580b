//! Keys as JSON, on their way out, and what secrets share with them.

use serde_json::{Map, Value, json};

use crate::base::KeyVersionRef;
use crate::crypto::{KeyFamily, PublicJwk};
use crate::vault::{DeletedKey, KeyAttributes, KeyBundle, KeyOperation, Tags, VaultSettings};

use super::wire::encoded;

/// How keys of a vault are told to a client.
pub(super) struct Out<'a> {
    /// `https://HOST[:PORT]`, as the client reached the vault.
    pub(super) base: &'a str,
    pub(super) settings: VaultSettings,
}

impl Out<'_> {
    /// Those that keys and secrets have.
    pub(super) fn attributes(&self, attributes: &KeyAttributes) -> Value {
        let mut out = json!({
            "enabled": attributes.enabled,
            "created": attributes.created.as_second(),
            "updated": attributes.updated.as_second(),
            "recoveryLevel": self.settings.recovery_level().name(),
            "recoverableDays": self.settings.retention_days,
        });
        if let Some(time) = attributes.not_before {
            out["nbf"] = time.as_second().into();
        }
        if let Some(time) = attributes.expires {
            out["exp"] = time.as_second().into();
        }
        out
    }

    fn key_attributes(&self, bundle: &KeyBundle) -> Value {
        let mut out = self.attributes(&bundle.attributes);
        out["exportable"] = bundle.exportable.into();
        out
    }

    /// `KeyBundle`
    pub(super) fn bundle(&self, bundle: &KeyBundle) -> Value {
        let kty = match bundle.kind.family() {
            KeyFamily::Rsa => "RSA",
            KeyFamily::Ec(_) => "EC",
            KeyFamily::Oct => "oct",
        };
        let suffix = if bundle.hsm { "-HSM" } else { "" };
        let operations: Vec<_> = bundle
            .operations
            .iter()
            .map(KeyOperation::to_string)
            .collect();
        let mut key = json!({
            "kid": kid(self.base, &bundle.kid),
            "kty": format!("{kty}{suffix}"),
            "key_ops": operations,
        });
        let public = bundle
            .public_key
            .as_ref()
            .and_then(|key| key.jwk(bundle.kind));
        match public {
            Some(PublicJwk::Rsa { n, e }) => {
                key["n"] = encoded(&n).into();
                key["e"] = encoded(&e).into();
            }
            Some(PublicJwk::Ec { crv, x, y }) => {
                key["crv"] = crv.name().into();
                key["x"] = encoded(&x).into();
                key["y"] = encoded(&y).into();
            }
            // The API tells neither of a symmetric key; who parses a JSON Web Key ignores what he does not
            // know (RFC 7517, section 4).
            None => {
                key["atrest"] = json!({ "kind": bundle.kind, "thumbprint": bundle.thumbprint });
            }
        }
        let attributes = self.key_attributes(bundle);
        let out = json!({ "key": key, "attributes": attributes });
        with_tags(out, &bundle.tags)
    }

    /// `DeletedKeyBundle`
    pub(super) fn deleted(&self, deleted: &DeletedKey) -> Value {
        self.with_deletion(self.bundle(&deleted.bundle), deleted)
    }

    /// `KeyItem`; of a list of keys without, of a list of versions with the version.
    pub(super) fn item(&self, bundle: &KeyBundle, version: bool) -> Value {
        let kid = match version {
            true => kid(self.base, &bundle.kid),
            false => format!("{}/keys/{}", self.base, bundle.kid.name),
        };
        let attributes = self.key_attributes(bundle);
        with_tags(
            json!({ "kid": kid, "attributes": attributes }),
            &bundle.tags,
        )
    }

    /// `DeletedKeyItem`
    pub(super) fn deleted_item(&self, deleted: &DeletedKey) -> Value {
        self.with_deletion(self.item(&deleted.bundle, false), deleted)
    }

    fn with_deletion(&self, mut out: Value, deleted: &DeletedKey) -> Value {
        let name = &deleted.bundle.kid.name;
        out["recoveryId"] = format!("{}/deletedkeys/{name}", self.base).into();
        out["deletedDate"] = deleted.deleted.as_second().into();
        out["scheduledPurgeDate"] = deleted.scheduled_purge.as_second().into();
        out
    }
}

/// The identifier of a key version, as a client reaches it by `base`.
pub(super) fn kid(base: &str, key: &KeyVersionRef) -> String {
    format!("{base}/keys/{}/{}", key.name, key.version)
}

/// `out`, with the tags when there are any.
pub(super) fn with_tags(mut out: Value, tags: &Tags) -> Value {
    let tags: Map<_, _> = tags
        .as_map()
        .iter()
        .map(|(name, value)| (name.clone(), value.clone().into()))
        .collect();
    if !tags.is_empty() {
        out["tags"] = tags.into();
    }
    out
}
