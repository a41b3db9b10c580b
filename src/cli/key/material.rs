//! A private key from a file.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::crypto::KeyEncryptionKey;

use super::CliError;

/// The largest file that is read, in bytes: RSA-4096 as PEM has some 3,300.
const MAX_LEN: u64 = 64 * 1024;

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

const ADVICE: &str = "give a private key as PKCS#8 (PEM or DER), RSA of 2048, 3072 or 4096 bits or on an elliptic curve, or exactly 32 bytes for oct-256";

/// Reads a private key: PKCS#8 as PEM (RFC 7468) or DER, or 32 bytes for a symmetric one.
pub(super) fn read(path: &Path) -> Result<KeyEncryptionKey, CliError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_LEN as usize + 1));
    File::open(path)
        .and_then(|file| file.take(MAX_LEN + 1).read_to_end(&mut bytes))
        .map_err(|e| CliError::at(path, e, ADVICE))?;
    let parsed = match bytes.len() {
        32 => KeyEncryptionKey::from_oct(&bytes),
        _ if bytes.starts_with(b"-----BEGIN") => KeyEncryptionKey::from_pkcs8(
            &der(&bytes).map_err(|why| CliError::at(path, why, ADVICE))?,
        ),
        _ => KeyEncryptionKey::from_pkcs8(&bytes),
    };
    parsed.map_err(|_| CliError::at(path, "no key that can be used", ADVICE))
}

/// The bytes that a PEM text encodes.
fn der(pem: &[u8]) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let text = std::str::from_utf8(pem).map_err(|_| "not a PEM text")?;
    let body = text
        .trim_end()
        .strip_prefix(PEM_BEGIN)
        .and_then(|t| t.strip_suffix(PEM_END));
    let Some(body) = body else {
        return Err(match text.lines().next() {
            Some("-----BEGIN ENCRYPTED PRIVATE KEY-----") => {
                "the key is encrypted: decrypt it with `openssl pkcs8 -in FILE -out NEWFILE`"
            }
            Some("-----BEGIN RSA PRIVATE KEY-----") => {
                "a PKCS#1 key: convert it with `openssl pkcs8 -topk8 -nocrypt -in FILE -out NEWFILE`"
            }
            _ => "not one PEM block with a private key",
        });
    };
    let digits: Zeroizing<Vec<u8>> =
        Zeroizing::new(body.bytes().filter(|b| !b.is_ascii_whitespace()).collect());
    STANDARD
        .decode(&*digits)
        .map(Zeroizing::new)
        .map_err(|_| "its base64 is damaged")
}
