use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::base::{KeyName, write_atomic};
use crate::crypto::{Curve, KeyKind, PublicJwk, PublicKey, SignatureAlgorithm, sha256};
use crate::lab::LabError;
use crate::vault::{Cryptography, KeySpec, KeyVault, VaultError};

/// The key of the customer's vault that signs reports.
pub const SIGNING_KEY: &str = "atrest-report";

/// The signature's file, beside the report.
pub const SIGNATURE_FILE: &str = "report.jws";

/// How reports are signed: ECDSA on P-256 with SHA-256 (RFC 7518, `ES256`).
const ALGORITHM: SignatureAlgorithm = SignatureAlgorithm::Es256;
const KIND: KeyKind = KeyKind::EcP256;

/// The public key in the signature's header (RFC 7517).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Jwk {
    kty: String,
    crv: String,
    x: String,
    y: String,
}

/// The signature's header (RFC 7515, section 4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    alg: String,
    cty: String,
    kid: String,
    jwk: Jwk,
}

/// A signature over a report: a JSON Web Signature whose payload, the bytes of `report.json`, is
/// detached (RFC 7515, appendix F).
#[derive(Clone, Debug)]
pub struct ReportSignature {
    /// The signing key's identifier, as the signer gives it.
    pub kid: String,
    /// SHA-256 of the public key (X.509 SubjectPublicKeyInfo, DER), 64 hexadecimal digits: as `atrest key
    /// show` tells it of the vault's key.
    pub thumbprint: String,
    key: PublicKey,
    protected: String,
    signature: Vec<u8>,
}

/// Who signed, and where the signature lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signed {
    /// The signature's file.
    pub path: PathBuf,
    /// The key's identifier.
    pub kid: String,
    /// As [`ReportSignature::thumbprint`].
    pub thumbprint: String,
}

/// Signs the report in the file `report` with the vault's key [`SIGNING_KEY`], which is made when the vault has
/// none, and writes [`SIGNATURE_FILE`] beside it. The vault records it as it does each use of a key.
///
/// # Errors
/// The vault's rules; [`VaultError::BadParameter`] when the key is no P-256 key; failures of the file system.
pub fn sign_report<V>(report: &Path, vault: &V) -> Result<Signed, LabError>
where
    V: KeyVault + Cryptography + ?Sized,
{
    let name: KeyName = SIGNING_KEY.parse().expect("a key name");
    let bundle = match vault.key(&name, None) {
        Err(VaultError::KeyNotFound(_)) => vault.create_key(&name, &KeySpec::new(KIND))?,
        found => found?,
    };
    let point = bundle.public_key.as_ref().and_then(|k| k.jwk(bundle.kind));
    let (Some(key), Some(PublicJwk::Ec { x, y, .. }), KIND) =
        (&bundle.public_key, point, bundle.kind)
    else {
        return Err(LabError::Vault(VaultError::BadParameter(format!(
            "the key {SIGNING_KEY} is {}, and reports are signed with {KIND}: delete it, and the next report makes one",
            bundle.kind
        ))));
    };
    let header = Header {
        alg: ALGORITHM.to_string(),
        cty: "application/json".to_owned(),
        kid: bundle.kid.to_string(),
        jwk: Jwk {
            kty: "EC".to_owned(),
            crv: "P-256".to_owned(),
            x: URL_SAFE_NO_PAD.encode(x),
            y: URL_SAFE_NO_PAD.encode(y),
        },
    };
    let header = serde_json::to_vec(&header).map_err(|e| LabError::Report(e.to_string()))?;
    let protected = URL_SAFE_NO_PAD.encode(header);
    let bytes = fs::read(report).map_err(|e| LabError::io(report, e))?;
    let digest = digest(&protected, &bytes);
    let version = bundle.kid.version;
    let made = vault.sign(&name, Some(version), ALGORITHM, &digest)?;
    let signature = URL_SAFE_NO_PAD.encode(&made.value);
    let path = report.with_file_name(SIGNATURE_FILE);
    let text = format!("{protected}..{signature}\n");
    write_atomic(&path, text.as_bytes()).map_err(|e| LabError::io(&path, e))?;
    Ok(Signed {
        path,
        kid: bundle.kid.to_string(),
        thumbprint: thumbprint(key),
    })
}

impl ReportSignature {
    /// Reads one. Nothing of it is to be believed before [`ReportSignature::fits`] says so.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let malformed = || "it is no JSON Web Signature with a detached payload".to_owned();
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed());
        let parts: Vec<&str> = text.trim_end().split('.').collect();
        let [protected, "", signature] = parts[..] else {
            return Err(malformed());
        };
        let header: Header =
            serde_json::from_slice(&decode(protected)?).map_err(|_| malformed())?;
        if header.alg != ALGORITHM.name() {
            return Err(format!(
                "its algorithm is {:?}, and reports are signed by {ALGORITHM}",
                header.alg
            ));
        }
        let no_key = || "the key in it is no public key on P-256".to_owned();
        if (header.jwk.kty.as_str(), header.jwk.crv.as_str()) != ("EC", "P-256") {
            return Err(no_key());
        }
        let key = PublicKey::from_jwk(&PublicJwk::Ec {
            crv: Curve::P256,
            x: decode(&header.jwk.x)?,
            y: decode(&header.jwk.y)?,
        });
        let key = key.ok_or_else(no_key)?;
        Ok(Self {
            kid: header.kid,
            thumbprint: thumbprint(&key),
            key,
            protected: protected.to_owned(),
            signature: decode(signature)?,
        })
    }

    /// Whether it is one over exactly these bytes, by the key that it names.
    pub fn fits(&self, report: &[u8]) -> bool {
        let digest = self.digest(report);
        let fits = self.key.verify(KIND, ALGORITHM, &digest, &self.signature);
        fits.unwrap_or(false)
    }

    /// Asks a vault whether its key [`SIGNING_KEY`], in the version that the signature names, made it.
    ///
    /// # Errors
    /// The vault's rules.
    pub fn is_of<V>(&self, vault: &V, report: &[u8]) -> Result<bool, VaultError>
    where
        V: KeyVault + Cryptography + ?Sized,
    {
        let name: KeyName = SIGNING_KEY.parse().expect("a key name");
        let versions = vault.key_versions(&name, crate::vault::Page::all())?;
        let Some(ours) = versions.iter().find(|b| b.kid.to_string() == self.kid) else {
            return Ok(false);
        };
        let (version, digest) = (Some(ours.kid.version), self.digest(report));
        let made = vault.verify(&name, version, ALGORITHM, &digest, &self.signature)?;
        Ok(made.value && ours.thumbprint == self.thumbprint)
    }

    fn digest(&self, report: &[u8]) -> [u8; 32] {
        digest(&self.protected, report)
    }
}

/// What is signed (RFC 7515, section 5.1): the header, a full stop, the report, both in base64url.
fn digest(protected: &str, report: &[u8]) -> [u8; 32] {
    let payload = URL_SAFE_NO_PAD.encode(report);
    sha256(&[protected.as_bytes(), b".", payload.as_bytes()])
}

fn thumbprint(key: &PublicKey) -> String {
    hex::encode(sha256(&[key.der()]))
}
