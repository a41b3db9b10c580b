//! The file of identities (docs/format.md, "Server").

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::crypto::{Secret, SecretBytes, random_bytes, sha256};

use super::permission::VaultPolicies;
use super::{Assignment, Home, Role, Scope, ServerError};

pub(super) const FILE: &str = "identities.json";
const VERSION: u64 = 2;
/// The one before, in which every role counted everywhere and no vault had access policies.
const ROLES_EVERYWHERE: u64 = 1;
/// How long 256 bits are in base64url without padding.
const SECRET_TEXT_LEN: usize = 43;
/// The identity that is there from the start.
pub(super) const ADMINISTRATOR: &str = "administrator";

/// Somebody who gets tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// What the audit records call it.
    pub name: String,
    /// Its object id, `oid` in tokens.
    pub object_id: Uuid,
    /// Its client id, `appid` in tokens.
    pub client_id: Uuid,
    /// What it may do, and where.
    pub roles: Vec<Assignment>,
    /// SHA-256 of its client secret, where it has one. The secret is 256 random bits, which nobody
    /// guesses: a slow hash would protect it no better.
    #[serde(with = "hex::serde")]
    pub(super) secret_sha256: Vec<u8>,
}

impl Identity {
    /// Whether `secret` is its client secret.
    pub(super) fn has_secret(&self, secret: &str) -> bool {
        bool::from(sha256(&[secret.as_bytes()])[..].ct_eq(&self.secret_sha256[..]))
    }
}

/// What `identities.json` says.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Registry {
    version: u64,
    /// The directory that issues the tokens.
    pub(super) tenant: Uuid,
    /// What a client of the managed-identity endpoint must show (`IDENTITY_HEADER`).
    pub(super) identity_header: Zeroizing<String>,
    pub(super) identities: Vec<Identity>,
    /// The vaults in which access policies decide, and no roles.
    #[serde(default)]
    pub(super) access_policies: Vec<VaultPolicies>,
}

impl Registry {
    pub(super) fn new() -> Self {
        Self {
            version: VERSION,
            tenant: new_uuid(),
            identity_header: new_secret(),
            identities: vec![Identity {
                name: ADMINISTRATOR.into(),
                object_id: new_uuid(),
                client_id: new_uuid(),
                roles: Role::administrators()
                    .into_iter()
                    .map(|role| Assignment {
                        role,
                        scope: Scope::Everywhere,
                    })
                    .collect(),
                secret_sha256: Vec::new(),
            }],
            access_policies: Vec::new(),
        }
    }

    pub(super) fn to_json(&self) -> SecretBytes {
        SecretBytes::from_vec(serde_json::to_vec_pretty(self).expect("it has a JSON form"))
    }

    pub(super) fn by_name(&self, name: &str) -> Option<&Identity> {
        self.identities.iter().find(|i| i.name == name)
    }

    pub(super) fn by_client(&self, id: &str) -> Option<&Identity> {
        let id: Uuid = id.parse().ok()?;
        self.identities.iter().find(|i| i.client_id == id)
    }

    pub(super) fn by_object(&self, id: Uuid) -> Option<&Identity> {
        self.identities.iter().find(|i| i.object_id == id)
    }

    /// Whether a client of the managed-identity endpoint showed the right header.
    pub(super) fn has_header(&self, shown: &str) -> bool {
        let (shown, right) = (
            sha256(&[shown.as_bytes()]),
            sha256(&[self.identity_header.as_bytes()]),
        );
        shown.ct_eq(&right).into()
    }
}

pub(super) fn read(home: &Home) -> Result<Registry, ServerError> {
    /// Read first: what else a newer version wrote need not be understood to refuse it.
    #[derive(Deserialize)]
    struct Version {
        version: u64,
    }
    let text = home.kept(FILE, || Registry::new().to_json())?;
    let malformed = |e: serde_json::Error| home.malformed(FILE, e);
    let Version { version } = serde_json::from_slice(text.expose()).map_err(malformed)?;
    if version > VERSION {
        return Err(ServerError::Newer {
            path: home.file(FILE).display().to_string(),
            version,
        });
    }
    let mut registry: Registry = serde_json::from_slice(text.expose()).map_err(malformed)?;
    let everywhere = |identity: &Identity| {
        let mut roles = identity.roles.iter();
        roles.all(|assigned| assigned.scope == Scope::Everywhere)
    };
    match version {
        VERSION => {}
        ROLES_EVERYWHERE
            if registry.access_policies.is_empty()
                && registry.identities.iter().all(everywhere) =>
        {
            registry.version = VERSION;
        }
        _ => return Err(home.malformed(FILE, format_args!("no format version {version}"))),
    }
    // An empty one would be shown by whoever shows none.
    if registry.identity_header.len() != SECRET_TEXT_LEN {
        return Err(home.malformed(FILE, "identity_header has another length"));
    }
    let with = &registry.access_policies;
    let twice = |(at, of): (usize, &VaultPolicies)| with[..at].iter().any(|b| b.vault == of.vault);
    if with.iter().enumerate().any(twice) {
        return Err(home.malformed(FILE, "a vault has access policies twice"));
    }
    let fits = |identity: &Identity| matches!(identity.secret_sha256.len(), 0 | 32);
    match registry.identities.iter().all(fits) {
        true => Ok(registry),
        false => Err(home.malformed(FILE, "a secret_sha256 has another length")),
    }
}

pub(super) fn new_uuid() -> Uuid {
    uuid::Builder::from_random_bytes(random_bytes()).into_uuid()
}

/// 256 random bits, in base64url.
pub(super) fn new_secret() -> Zeroizing<String> {
    Zeroizing::new(URL_SAFE_NO_PAD.encode(Secret::<32>::random().expose()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::Identities;
    use super::*;

    #[test]
    fn identities_that_this_program_did_not_write_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::of(dir.path()).unwrap();
        let file = home.file(FILE);
        let identities = Identities::open(&home).unwrap();
        let role = |scope: &str| Assignment {
            role: "Key Vault Reader".parse().unwrap(),
            scope: scope.parse().unwrap(),
        };
        identities
            .add("app", &[role("payroll/keys/wages")])
            .unwrap();
        identities
            .use_policies(&"payroll".parse().unwrap(), true)
            .unwrap();
        let good = fs::read_to_string(&file).unwrap();
        let opens = |text: &str| {
            fs::write(&file, text).unwrap();
            Identities::open(&home).is_ok()
        };
        assert!(opens(&good));
        let header = good
            .split(',')
            .find(|field| field.contains("identity_header"));
        let header = header.unwrap().trim().to_owned();
        for (from, to) in [
            ("\"version\": 2", "\"version\": 0"),
            // What version 1 does not have.
            ("\"version\": 2", "\"version\": 1"),
            ("\"version\": 2", "\"version\": 3, \"more\": {}"),
            ("\"version\": 2,", ""),
            (
                "\"access_policies\": [",
                "\"access_policies\": [{\"vault\": \"payroll\", \"policies\": []},",
            ),
            ("payroll/keys/wages", "payroll/certificates/wages"),
            ("\"wrapKey\"", "\"wrap\""),
            ("\"vault\": \"payroll\"", "\"vault\": \"../payroll\""),
            (
                "\"vault\": \"payroll\"",
                "\"vault\": \"payroll\", \"more\": 1",
            ),
            ("Key Vault Reader", "Owner"),
            ("\"tenant\": \"", "\"tenant\": \"x"),
            ("\"name\": \"app\"", "\"name\": \"app\", \"admin\": true"),
            ("{", ""),
            (&header, "\"identity_header\": \"\""),
            ("\"secret_sha256\": \"\"", "\"secret_sha256\": \"00\""),
        ] {
            assert!(good.contains(from), "{from}");
            assert!(!opens(&good.replacen(from, to, 1)), "{from} -> {to}");
        }
        assert!(!opens(&" ".repeat(2 << 20)), "longer than 1 MiB");
        let Err(newer) = ({
            fs::write(&file, good.replacen("\"version\": 2", "\"version\": 3", 1)).unwrap();
            Identities::open(&home)
        }) else {
            panic!("a newer version was read")
        };
        assert!(
            matches!(newer, ServerError::Newer { version: 3, .. }),
            "{newer}"
        );
    }

    #[test]
    fn a_file_from_before_roles_had_a_scope_means_what_it_meant() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::of(dir.path()).unwrap();
        let identities = Identities::open(&home).unwrap();
        let everywhere = Assignment {
            role: "Key Vault Reader".parse().unwrap(),
            scope: Scope::Everywhere,
        };
        identities
            .add("app", std::slice::from_ref(&everywhere))
            .unwrap();
        let file = home.file(FILE);
        let now = fs::read_to_string(&file).unwrap();
        let older = now.replace("\"version\": 2", "\"version\": 1");
        let (head, _) = older.split_once(",\n  \"access_policies\"").unwrap();
        fs::write(&file, format!("{head}\n}}")).unwrap();
        assert_eq!(identities.all().unwrap()[1].roles, [everywhere]);
    }
}
