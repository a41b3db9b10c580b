//! The certificate authority of a working directory, and the server certificates that it signs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, SignatureScheme};

use crate::base::Clock;
use crate::crypto::{SecretBytes, sha256};

use super::hosts::{DIRECT_NAMES, LOGIN, WILDCARDS};
use super::{Home, ServerError};

/// The authority's private key (PKCS#8, PEM).
const KEY: &str = "ca.key";
/// Its certificate (PEM), which clients are told to trust.
const CERTIFICATE: &str = "ca.pem";

/// Clients refuse it afterwards; this program does not look.
const AUTHORITY_DAYS: i64 = 10 * 365;
const LEAF_DAYS: i64 = 7;
/// A running server replaces its certificate when it is this old.
const LEAF_RENEWED: SignedDuration = SignedDuration::from_hours(24);
/// Clocks of clients may be behind.
const BACKDATED: SignedDuration = SignedDuration::from_hours(1);

/// The certificate authority: ECDSA P-256, made once for each working directory, and constrained
/// (RFC 5280, 4.2.1.10) to the names that the server answers for, so that who steals its key cannot
/// impersonate anything else to those who trust it.
pub struct Authority {
    params: CertificateParams,
    key: KeyPair,
    file: PathBuf,
}

impl Authority {
    /// Opens the authority, or makes it when there is none yet.
    ///
    /// # Errors
    /// Its files cannot be read or made, or do not belong together.
    pub fn open(home: &Home, now: Timestamp) -> Result<Self, ServerError> {
        let pem = home.kept(KEY, new_key)?;
        let key = parse_key(&pem).ok_or_else(|| home.malformed(KEY, "not an ECDSA P-256 key"))?;
        let params = params(&key);
        let certificate = home.kept(CERTIFICATE, || {
            let mut params = params.clone();
            dated(&mut params, now, AUTHORITY_DAYS);
            let signed = params.self_signed(&key).expect("the parameters are fixed");
            SecretBytes::from_vec(signed.pem().into_bytes())
        })?;
        let file = home.file(CERTIFICATE);
        let authority = Self { params, key, file };
        match authority.is_vouched_for_by(&certificate, now) {
            true => Ok(authority),
            false => Err(home.malformed(CERTIFICATE, format_args!("not the certificate of {KEY}"))),
        }
    }

    /// The certificate, as a file that clients can be told to trust.
    pub fn file(&self) -> &std::path::Path {
        &self.file
    }

    /// A server certificate for all names, with a new key that is never stored.
    fn leaf(&self, now: Timestamp) -> CertifiedKey {
        self.sign(alternative_names(), now)
    }

    fn sign(&self, names: Vec<SanType>, now: Timestamp) -> CertifiedKey {
        let key = new_pair();
        let mut params = CertificateParams::default();
        dated(&mut params, now, LEAF_DAYS);
        params.distinguished_name = named("atrest server".into());
        params.subject_alt_names = names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_params(&self.params, &self.key);
        let signed = params.signed_by(&key, &issuer);
        let certificate = signed.expect("the parameters are fixed").der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("PKCS#8");
        CertifiedKey::from_der(vec![certificate], key, &aws_lc_rs::default_provider())
            .expect("certificate and key were made together")
    }

    fn is_vouched_for_by(&self, pem: &SecretBytes, now: Timestamp) -> bool {
        let certificate = CertificateDer::from_pem_slice(pem.expose());
        certificate.is_ok_and(|root| accepts(root, &self.leaf(now), "localhost", now))
    }
}

/// Whether a client that trusts `root` alone takes `leaf` for the server `name`.
fn accepts(root: CertificateDer<'static>, leaf: &CertifiedKey, name: &str, now: Timestamp) -> bool {
    let mut roots = RootCertStore::empty();
    if roots.add(root).is_err() {
        return false;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let name = ServerName::try_from(name).expect("a name");
    let seconds = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0));
    let at = UnixTime::since_unix_epoch(seconds);
    verifier.build().is_ok_and(|verifier| {
        let verified = verifier.verify_server_cert(&leaf.cert[0], &[], &name, &[], at);
        verified.is_ok()
    })
}

/// Gives each TLS connection a certificate that is young enough.
pub(super) struct Leaves {
    authority: Authority,
    clock: Arc<dyn Clock>,
    newest: Mutex<(Timestamp, Arc<CertifiedKey>)>,
}

impl Leaves {
    pub(super) fn new(authority: Authority, clock: Arc<dyn Clock>) -> Self {
        let now = clock.now();
        let first = Arc::new(authority.leaf(now));
        Self {
            authority,
            clock,
            newest: Mutex::new((now, first)),
        }
    }

    fn newest(&self) -> Arc<CertifiedKey> {
        let now = self.clock.now();
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(newest.0) >= LEAF_RENEWED {
            *newest = (now, Arc::new(self.authority.leaf(now)));
        }
        newest.1.clone()
    }
}

impl std::fmt::Debug for Leaves {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Leaves")
    }
}

impl ResolvesServerCert for Leaves {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let speaks = hello
            .signature_schemes()
            .contains(&SignatureScheme::ECDSA_NISTP256_SHA256);
        speaks.then(|| self.newest())
    }
}

fn new_pair() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("the system gives random bytes")
}

/// A new ECDSA P-256 key, PKCS#8 as PEM.
pub(super) fn new_key() -> SecretBytes {
    SecretBytes::from_vec(new_pair().serialize_pem().into_bytes())
}

/// The key that [`new_key`] wrote.
pub(super) fn parse_key(pem: &SecretBytes) -> Option<KeyPair> {
    let text = std::str::from_utf8(pem.expose()).ok()?;
    KeyPair::from_pkcs8_pem_and_sign_algo(text, &PKCS_ECDSA_P256_SHA256).ok()
}

fn named(name: String) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// All that the authority's certificate says, except when it is valid. The name is made from the
/// key: two authorities in one file of trusted certificates are told apart.
fn params(key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    let digest = sha256(&[key.public_key_raw()]);
    let id = hex::encode(&digest[..4]);
    params.distinguished_name = named(format!("atrest simulator {id}, not a public authority"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let names = WILDCARDS.iter().chain(&[LOGIN]).chain(DIRECT_NAMES);
    let mut permitted: Vec<_> = names
        .map(|name| GeneralSubtree::DnsName((*name).to_owned()))
        .collect();
    permitted.push(GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        32,
    )));
    permitted.push(GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(
        IpAddr::V6(Ipv6Addr::LOCALHOST),
        128,
    )));
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: permitted,
        excluded_subtrees: Vec::new(),
    });
    params
}

fn alternative_names() -> Vec<SanType> {
    let wildcards = WILDCARDS.iter().map(|zone| format!("*.{zone}"));
    let names = [LOGIN].into_iter().chain(DIRECT_NAMES.iter().copied());
    let mut all: Vec<_> = wildcards
        .chain(names.map(str::to_owned))
        .map(|name| SanType::DnsName(name.try_into().expect("ASCII")))
        .collect();
    all.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
    all.push(SanType::IpAddress(Ipv6Addr::LOCALHOST.into()));
    all
}

fn dated(params: &mut CertificateParams, now: Timestamp, days: i64) {
    let at = |time: Timestamp| {
        let seconds = u64::try_from(time.as_second()).unwrap_or(0);
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    let until = now.saturating_add(SignedDuration::from_hours(24 * days));
    params.not_before = at(now
        .saturating_sub(BACKDATED)
        .unwrap_or(Timestamp::UNIX_EPOCH));
    params.not_after = at(until.unwrap_or(Timestamp::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn whoever_steals_the_authority_impersonates_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(&Home::of(dir.path()).unwrap(), now()).unwrap();
        let root = CertificateDer::from_pem_file(authority.file()).unwrap();
        let takes = |name: &str| {
            let san = match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.try_into().unwrap()),
            };
            accepts(root.clone(), &authority.sign(vec![san], now()), name, now())
        };
        for name in [
            "a.vault.azure.net",
            "login.microsoftonline.com",
            "localhost",
            "127.0.0.1",
            "::1",
        ] {
            assert!(takes(name), "{name}");
        }
        for name in [
            "example.com",
            "azure.net",
            "evilvault.azure.net",
            "microsoftonline.com",
            "10.0.0.1",
        ] {
            assert!(!takes(name), "{name}");
        }
        // All of its names are taken from the certificate that the server shows.
        let leaf = authority.leaf(now());
        for name in [
            "a.vault.azure.net",
            "a.managedhsm.azure.net",
            "a.blob.core.windows.net",
            "::1",
        ] {
            assert!(accepts(root.clone(), &leaf, name, now()), "{name}");
        }
    }

    #[test]
    fn files_of_an_authority_that_do_not_belong_together_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::of(dir.path()).unwrap();
        let open = |now| Authority::open(&home, now).is_ok();
        assert!(open(now()) && open(now()));
        let (key, certificate) = (home.file(KEY), home.file(CERTIFICATE));
        let right = [&key, &certificate].map(|file| std::fs::read(file).unwrap());
        std::fs::write(&key, new_key().expose()).unwrap();
        assert!(!open(now()), "another key");
        for bytes in [
            &b""[..],
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            std::fs::write(&key, bytes).unwrap();
            assert!(!open(now()), "no key");
        }
        std::fs::write(&key, &right[0]).unwrap();
        std::fs::write(&certificate, b"").unwrap();
        assert!(!open(now()), "no certificate");
        std::fs::write(&certificate, &right[1]).unwrap();
        assert!(open(now()));
    }
}
