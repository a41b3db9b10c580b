//! Where a role counts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::base::KeyName;
use crate::world::WhichVault;

use super::Role;
use super::permission::Permission;
use super::role::DataAction;

/// What is asked of a vault, as far as it matters for who may.
pub(super) struct Wanted<'a> {
    pub(super) vault: &'a WhichVault,
    /// The vault's name for clients.
    pub(super) shown: &'a str,
    pub(super) target: Target<'a>,
    /// What a role must permit.
    pub(super) action: DataAction,
    /// What an access policy must permit.
    pub(super) permission: Permission,
    /// The request's path.
    pub(super) path: &'a str,
}

/// Of what something is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target<'a> {
    /// Of the vault: lists, and what has no name yet.
    Vault,
    /// Of one of its keys or secrets.
    Named(&'a KeyName),
    /// What belongs to each of its keys alike: whoever may do it with one key may.
    AnyKey,
}

/// Where a role counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In every vault.
    Everywhere,
    /// In one vault.
    Vault(WhichVault),
    /// For one key of a vault, with all its versions.
    Key(WhichVault, KeyName),
    /// For one secret of a vault, with all its versions.
    Secret(WhichVault, KeyName),
}

impl Scope {
    fn covers(&self, wanted: &Wanted<'_>) -> bool {
        let named = |vault: &WhichVault, name: &KeyName, secret: bool| {
            let is_it = match wanted.target {
                Target::Vault => false,
                Target::Named(wanted) => wanted == name,
                Target::AnyKey => true,
            };
            let of_secrets = matches!(wanted.permission, Permission::Secret(_));
            vault == wanted.vault && is_it && of_secrets == secret
        };
        match self {
            Self::Everywhere => true,
            Self::Vault(vault) => vault == wanted.vault,
            Self::Key(vault, name) => named(vault, name, false),
            Self::Secret(vault, name) => named(vault, name, true),
        }
    }

    /// The vault that it names.
    pub fn vault(&self) -> Option<&WhichVault> {
        match self {
            Self::Everywhere => None,
            Self::Vault(vault) | Self::Key(vault, _) | Self::Secret(vault, _) => Some(vault),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everywhere => f.write_str("*"),
            Self::Vault(vault) => write!(f, "{vault}"),
            Self::Key(vault, name) => write!(f, "{vault}/keys/{name}"),
            Self::Secret(vault, name) => write!(f, "{vault}/secrets/{name}"),
        }
    }
}

impl FromStr for Scope {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let parts: Vec<_> = s.split('/').collect();
        let vault = |text: &str| text.parse::<WhichVault>().map_err(|e| e.to_string());
        let name = |text: &str| text.parse::<KeyName>().map_err(|e| e.to_string());
        Ok(match parts[..] {
            ["*"] => Self::Everywhere,
            [of] => Self::Vault(vault(of)?),
            [of, "keys", key] => Self::Key(vault(of)?, name(key)?),
            [of, "secrets", secret] => Self::Secret(vault(of)?, name(secret)?),
            _ => {
                return Err(format!(
                    "{:?} is no scope: expected VAULT, VAULT/keys/NAME or VAULT/secrets/NAME",
                    s.chars().take(200).collect::<String>()
                ));
            }
        })
    }
}

/// A role, and where it counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Assignment {
    /// The role.
    pub role: Role,
    /// Where.
    pub scope: Scope,
}

/// As `identities.json` has it: the role alone where it counts everywhere.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Everywhere(Role),
    Scoped(Scoped),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scoped {
    role: Role,
    #[serde(with = "as_text")]
    scope: Scope,
}

/// A field that is written as its text.
pub(super) mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(in crate::server) fn serialize<T: Display, S: Serializer>(
        value: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(in crate::server) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(from)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl From<Written> for Assignment {
    fn from(written: Written) -> Self {
        match written {
            Written::Everywhere(role) => Self {
                role,
                scope: Scope::Everywhere,
            },
            Written::Scoped(Scoped { role, scope }) => Self { role, scope },
        }
    }
}

impl From<Assignment> for Written {
    fn from(Assignment { role, scope }: Assignment) -> Self {
        match scope {
            Scope::Everywhere => Self::Everywhere(role),
            scope => Self::Scoped(Scoped { role, scope }),
        }
    }
}

impl Assignment {
    pub(super) fn permits(&self, wanted: &Wanted<'_>) -> bool {
        self.scope.covers(wanted) && self.role.permits(wanted.action)
    }
}

impl fmt::Display for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scope {
            Scope::Everywhere => write!(f, "{}", self.role),
            scope => write!(f, "{} ({scope})", self.role),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{KeyPermission, SecretPermission};

    fn covers(scope: &str, vault: &str, name: Option<&str>, permission: Permission) -> bool {
        let name = name.map(|n| n.parse::<KeyName>().unwrap());
        covers_target(
            scope,
            vault,
            name.as_ref().map_or(Target::Vault, Target::Named),
            permission,
        )
    }

    fn covers_target(scope: &str, vault: &str, target: Target<'_>, permission: Permission) -> bool {
        let vault = vault.parse().unwrap();
        let wanted = Wanted {
            vault: &vault,
            shown: "shown",
            target,
            action: DataAction::KeysRead,
            permission,
            path: "/",
        };
        scope.parse::<Scope>().unwrap().covers(&wanted)
    }

    #[test]
    fn a_role_counts_nowhere_but_in_its_scope() {
        let key = Permission::Key(KeyPermission::Get);
        let secret = Permission::Secret(SecretPermission::Get);
        for permission in [key, secret] {
            assert!(covers("*", "payroll", Some("wages"), permission));
            assert!(covers("payroll", "payroll", Some("wages"), permission));
            assert!(covers("payroll", "payroll", None, permission));
            assert!(!covers("payroll", "customer", Some("wages"), permission));
            assert!(!covers("payroll/keys/wages", "payroll", None, permission));
            assert!(!covers(
                "payroll/keys/wages",
                "payroll",
                Some("wage"),
                permission
            ));
            assert!(!covers(
                "payroll/keys/wages",
                "customer",
                Some("wages"),
                permission
            ));
        }
        assert!(covers("payroll/keys/wages", "payroll", Some("Wages"), key));
        assert!(!covers(
            "payroll/keys/wages",
            "payroll",
            Some("wages"),
            secret
        ));
        assert!(covers(
            "payroll/secrets/wages",
            "payroll",
            Some("wages"),
            secret
        ));
        assert!(!covers(
            "payroll/secrets/wages",
            "payroll",
            Some("wages"),
            key
        ));
        let any = |scope| covers_target(scope, "payroll", Target::AnyKey, key);
        assert!(any("payroll/keys/wages") && any("payroll") && any("*"));
        assert!(!any("payroll/secrets/wages") && !any("customer/keys/wages") && !any("customer"));
        for bad in [
            "",
            "/",
            "**",
            "payroll/",
            "payroll/keys",
            "payroll/keys/",
            "payroll/keys/a/b",
            "payroll/certificates/a",
            "a.b",
            "payroll/keys/a_b",
        ] {
            assert!(bad.parse::<Scope>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_assignment_is_written_as_it_is_read() {
        let role = r#""Key Vault Reader""#;
        let scoped = format!(r#"{{"role":{role},"scope":"payroll/keys/wages"}}"#);
        for text in [role, &scoped] {
            let read: Assignment = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
        }
        for bad in [
            r#""Owner""#.to_owned(),
            scoped.replace("keys", "certificates"),
            scoped.replace("\"scope\"", "\"more\":1,\"scope\""),
            format!(r#"{{"role":{role}}}"#),
        ] {
            assert!(serde_json::from_str::<Assignment>(&bad).is_err(), "{bad}");
        }
    }
}
