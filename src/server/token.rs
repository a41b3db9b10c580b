//! Access tokens: JSON Web Tokens (RFC 7519) with the claims of Microsoft Entra's v1.0 tokens,
//! signed with ES256 (RFC 7518, 3.4).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::crypto::sha256;

use super::authority::{new_key, parse_key};
use super::{Home, Identity, ServerError};

const KEY: &str = "token.key";
/// How long a token is valid, in seconds.
pub(super) const LIFETIME: i64 = 3600;
/// What tokens are for: vaults, managed HSMs, and storage.
pub(super) const VAULT_AUDIENCE: &str = "https://vault.azure.net";
pub(super) const HSM_AUDIENCE: &str = "https://managedhsm.azure.net";
pub(super) const STORAGE_AUDIENCE: &str = "https://storage.azure.com";
const AUDIENCES: [&str; 3] = [VAULT_AUDIENCE, HSM_AUDIENCE, STORAGE_AUDIENCE];

/// The audience that a client means by a resource or a v2.0 scope.
pub(super) fn audience(asked: &str) -> Option<&'static str> {
    let resource = asked.strip_suffix("/.default").unwrap_or(asked);
    let resource = resource.strip_suffix('/').unwrap_or(resource);
    AUDIENCES
        .into_iter()
        .find(|a| a.eq_ignore_ascii_case(resource))
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) aud: String,
    pub(super) iss: String,
    pub(super) iat: i64,
    pub(super) nbf: i64,
    pub(super) exp: i64,
    pub(super) appid: Uuid,
    pub(super) oid: Uuid,
    pub(super) sub: Uuid,
    pub(super) tid: Uuid,
    pub(super) ver: String,
}

/// Why a token is refused, as the answer says it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadToken(pub(super) String);

/// Signs and checks the tokens of one directory (tenant).
pub(super) struct Tokens {
    tenant: Uuid,
    kid: String,
    point: Vec<u8>,
    signing: EncodingKey,
    checking: DecodingKey,
    /// What tokens say whose signatures were checked, by SHA-256 of audience and token. Whether one is
    /// valid now, and whether its identity is still there, is asked each time.
    checked: Mutex<HashMap<[u8; 32], Claims>>,
}

/// How many tokens are remembered.
const CHECKED_MAX: usize = 1024;

impl Tokens {
    /// With the key in `home`, made when there is none: tokens outlive a restart of the server.
    pub(super) fn open(home: &Home, tenant: Uuid) -> Result<Self, ServerError> {
        let pem = home.kept(KEY, new_key)?;
        let key = parse_key(&pem).ok_or_else(|| home.malformed(KEY, "not an ECDSA P-256 key"))?;
        let point = key.public_key_raw().to_vec();
        Ok(Self {
            tenant,
            kid: hex::encode(&sha256(&[&point])[..16]),
            signing: EncodingKey::from_ec_der(key.serialized_der()),
            checking: DecodingKey::from_ec_der(&point),
            point,
            checked: Mutex::default(),
        })
    }

    pub(super) fn tenant(&self) -> Uuid {
        self.tenant
    }

    fn issuer(&self) -> String {
        format!("https://sts.windows.net/{}/", self.tenant)
    }

    pub(super) fn issue(&self, to: &Identity, audience: &str, now: Timestamp) -> String {
        let now = now.as_second();
        let claims = Claims {
            aud: audience.to_owned(),
            iss: self.issuer(),
            iat: now,
            nbf: now,
            exp: now + LIFETIME,
            appid: to.client_id,
            oid: to.object_id,
            sub: to.object_id,
            tid: self.tenant,
            ver: "1.0".into(),
        };
        self.sign(&claims)
    }

    fn sign(&self, claims: &Claims) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.kid.clone());
        encode(&header, claims, &self.signing).expect("the key was parsed as ECDSA P-256")
    }

    /// What `token` says, when this server signed it for `audience` and it is valid `now`.
    pub(super) fn check(
        &self,
        token: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<Claims, BadToken> {
        let hash = sha256(&[audience.as_bytes(), b"\0", token.as_bytes()]);
        let known = self.remembered().get(&hash).cloned();
        let claims = match known {
            Some(claims) => claims,
            None => {
                let claims = self.check_signature(token, audience)?;
                let mut checked = self.remembered();
                if checked.len() >= CHECKED_MAX {
                    checked.clear();
                }
                checked.insert(hash, claims.clone());
                claims
            }
        };
        let now = now.as_second();
        match claims {
            _ if claims.tid != self.tenant => {
                Err(BadToken("The token is of another tenant.".into()))
            }
            _ if now < claims.nbf => Err(BadToken("The token is not yet valid.".into())),
            _ if claims.exp <= now => Err(BadToken("The token has expired.".into())),
            claims => Ok(claims),
        }
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Claims>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `token` says, when this server signed it for `audience`, whenever.
    fn check_signature(&self, token: &str, audience: &str) -> Result<Claims, BadToken> {
        let mut rules = Validation::new(Algorithm::ES256);
        rules.set_required_spec_claims(&["exp", "nbf", "aud", "iss"]);
        rules.set_issuer(&[self.issuer()]);
        rules.set_audience(&[audience]);
        // By the injected clock, by the caller.
        rules.validate_exp = false;
        rules.validate_nbf = false;
        decode::<Claims>(token, &self.checking, &rules)
            .map(|token| token.claims)
            .map_err(|e| {
                BadToken(match e.kind() {
                    ErrorKind::InvalidAudience => {
                        format!("AKV10022: Invalid audience. Expected {audience}.")
                    }
                    ErrorKind::InvalidIssuer => {
                        format!("AKV10032: Invalid issuer. Expected {}.", self.issuer())
                    }
                    _ => "The token is not one that this server signed.".into(),
                })
            })
    }

    /// The public key, as a JSON Web Key Set (RFC 7517).
    pub(super) fn key_set(&self) -> serde_json::Value {
        let coordinate = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({ "keys": [{
            "kty": "EC", "use": "sig", "alg": "ES256", "crv": "P-256", "kid": self.kid,
            "x": coordinate(&self.point[1..33]), "y": coordinate(&self.point[33..]),
        }] })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Identities;
    use super::*;

    struct Fixture {
        tokens: Tokens,
        identity: Identity,
        now: Timestamp,
        _dir: tempfile::TempDir,
    }

    fn fixture() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::of(dir.path()).unwrap();
        let identities = Identities::open(&home).unwrap();
        Fixture {
            tokens: Tokens::open(&home, identities.tenant().unwrap()).unwrap(),
            identity: identities.all().unwrap().remove(0),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            _dir: dir,
        }
    }

    impl Fixture {
        fn token(&self) -> String {
            self.tokens.issue(&self.identity, VAULT_AUDIENCE, self.now)
        }

        fn accepts(&self, token: &str) -> bool {
            self.tokens.check(token, VAULT_AUDIENCE, self.now).is_ok()
        }

        fn with(&self, change: impl FnOnce(&mut Claims)) -> String {
            let mut claims = self
                .tokens
                .check(&self.token(), VAULT_AUDIENCE, self.now)
                .unwrap();
            change(&mut claims);
            self.tokens.sign(&claims)
        }
    }

    #[test]
    fn a_token_for_others_or_of_others_opens_nothing() {
        let f = fixture();
        assert!(f.accepts(&f.with(|_| {})));
        assert!(!f.accepts(&f.with(|c| c.aud = "https://storage.azure.com".into())));
        assert!(!f.accepts(&f.with(|c| c.aud = "https://vault.azure.net.evil".into())));
        assert!(!f.accepts(&f.with(|c| c.iss = "https://sts.windows.net/other/".into())));
        assert!(!f.accepts(&f.with(|c| c.tid = Uuid::nil())));
        let other = fixture();
        assert!(!f.accepts(&other.token()));
    }

    #[test]
    fn a_token_outside_its_time_opens_nothing() {
        let f = fixture();
        let now = f.now.as_second();
        assert!(f.accepts(&f.with(|c| (c.nbf, c.exp) = (now, now + 1))));
        assert!(!f.accepts(&f.with(|c| c.nbf = now + 1)));
        assert!(!f.accepts(&f.with(|c| c.exp = now)));
    }

    #[test]
    fn a_token_that_is_remembered_expires_and_stays_for_its_audience() {
        let f = fixture();
        let token = f.token();
        let check = |audience, after: i64| {
            let then = f.now + jiff::SignedDuration::from_secs(after);
            f.tokens.check(&token, audience, then).is_ok()
        };
        assert!(check(VAULT_AUDIENCE, 0));
        assert_eq!(f.tokens.remembered().len(), 1);
        assert!(check(VAULT_AUDIENCE, LIFETIME - 1));
        assert!(!check(VAULT_AUDIENCE, LIFETIME));
        assert!(!check(VAULT_AUDIENCE, -1));
        assert!(!check("https://storage.azure.com", 0));
        let others = (0..2 * CHECKED_MAX as i64).map(|n| f.with(|c| c.iat = n));
        assert!(others.into_iter().all(|other| f.accepts(&other)));
        assert!(f.tokens.remembered().len() <= CHECKED_MAX);
        // None of what does not fit is remembered.
        f.tokens.remembered().clear();
        assert!(!f.accepts(&format!("{}AAAA", &token[..token.len() - 4])));
        assert_eq!(f.tokens.remembered().len(), 0);
    }

    #[test]
    fn a_token_that_nobody_signed_opens_nothing() {
        let f = fixture();
        let token = f.token();
        let [header, claims, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
        assert!(f.accepts(&token));
        let encoded = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let none = encoded(json!({ "alg": "none", "typ": "JWT" }));
        let hs256 = encoded(json!({ "alg": "HS256", "typ": "JWT" }));
        // The public key as the secret of a MAC: the classical confusion.
        let mac = jsonwebtoken::crypto::sign(
            format!("{hs256}.{claims}").as_bytes(),
            &EncodingKey::from_secret(&f.tokens.point),
            Algorithm::HS256,
        );
        for forged in [
            format!("{none}.{claims}."),
            format!("{none}.{claims}.{signature}"),
            format!("{hs256}.{claims}.{}", mac.unwrap()),
            format!("{header}.{claims}."),
            format!("{header}.{claims}"),
            format!("{header}..{signature}"),
            String::new(),
            "..".into(),
        ] {
            assert!(!f.accepts(&forged), "{forged}");
        }
        // Each byte of it counts, as far as it carries bits.
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'Q' } else { b'A' };
            let altered = String::from_utf8(bytes).unwrap();
            assert!(!f.accepts(&altered), "byte {at}");
        }
    }

    #[test]
    fn a_scope_names_the_audience_that_the_client_means() {
        for asked in [
            "https://vault.azure.net",
            "https://vault.azure.net/",
            "https://vault.azure.net/.default",
        ] {
            assert_eq!(audience(asked), Some(VAULT_AUDIENCE));
        }
        for asked in [
            "",
            "https://graph.microsoft.com/.default",
            "https://vault.azure.net.evil",
        ] {
            assert_eq!(audience(asked), None);
        }
    }
}
