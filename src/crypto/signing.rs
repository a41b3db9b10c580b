//! Signatures over digests with a key of a vault.

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256K1_SHA256_FIXED, ECDSA_P384_SHA384_FIXED,
    ECDSA_P521_SHA512_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RSA_PSS_SHA256,
    RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, UnparsedPublicKey, VerificationAlgorithm,
};

use super::stack::scrubbed;
use super::{KeyEncryptionKey, KeyFamily, KeyKind, KeyUseError, PublicKey, SignatureAlgorithm};

impl KeyEncryptionKey {
    /// Signs a digest that the caller has computed. RSA signatures are as long as the modulus,
    /// ECDSA ones are r and s, each as long as a coordinate.
    ///
    /// # Errors
    /// [`KeyUseError::Algorithm`]; [`KeyUseError::Parameter`] for a digest of another length.
    pub fn sign(
        &self,
        algorithm: SignatureAlgorithm,
        digest: &[u8],
    ) -> Result<Vec<u8>, KeyUseError> {
        let digest = digest_for(self.kind(), algorithm, digest)?;
        match encoding(algorithm) {
            Some(encoding) => {
                let key = self
                    .rsa_signing()
                    .ok_or_else(|| cannot(self.kind(), algorithm))?;
                let mut signature = vec![0; key.public_modulus_len()];
                scrubbed(|| key.sign_digest(encoding, &digest, &mut signature))
                    .expect("every RSA size offered takes every digest");
                Ok(signature)
            }
            None => {
                let key = self.ec().ok_or_else(|| cannot(self.kind(), algorithm))?;
                let signature =
                    scrubbed(|| key.sign_digest(&digest)).expect("the curve's own digest");
                Ok(signature.as_ref().to_vec())
            }
        }
    }

    /// Whether `signature` is one of this key over `digest`.
    ///
    /// # Errors
    /// As [`KeyEncryptionKey::sign`]. A malformed signature is none: `false`.
    pub fn verify(
        &self,
        algorithm: SignatureAlgorithm,
        digest: &[u8],
        signature: &[u8],
    ) -> Result<bool, KeyUseError> {
        let key = self.public_key();
        let key = key.ok_or_else(|| cannot(self.kind(), algorithm))?;
        key.verify(self.kind(), algorithm, digest, signature)
    }
}

impl PublicKey {
    /// Whether `signature` is one over `digest` of the private key to this one, which is of `kind`.
    ///
    /// # Errors
    /// As [`KeyEncryptionKey::verify`].
    pub fn verify(
        &self,
        kind: KeyKind,
        algorithm: SignatureAlgorithm,
        digest: &[u8],
        signature: &[u8],
    ) -> Result<bool, KeyUseError> {
        let digest = digest_for(kind, algorithm, digest)?;
        let key = UnparsedPublicKey::new(verification(algorithm), self.der());
        Ok(key.verify_digest(&digest, signature).is_ok())
    }
}

/// The digest, when the algorithm is one for this kind of key.
fn digest_for(
    kind: KeyKind,
    algorithm: SignatureAlgorithm,
    digest: &[u8],
) -> Result<Digest, KeyUseError> {
    let fits = match algorithm.curve() {
        Some(curve) => kind == curve.kind(),
        None => kind.family() == KeyFamily::Rsa,
    };
    if !fits {
        return Err(cannot(kind, algorithm));
    }
    let hash = match algorithm.digest_len() {
        32 => &digest::SHA256,
        48 => &digest::SHA384,
        _ => &digest::SHA512,
    };
    Digest::import_less_safe(digest, hash).map_err(|_| {
        KeyUseError::Parameter("the value is no digest of the length that the algorithm signs")
    })
}

fn cannot(kind: KeyKind, algorithm: SignatureAlgorithm) -> KeyUseError {
    KeyUseError::Algorithm {
        kind,
        algorithm: algorithm.name(),
    }
}

/// How RSA pads; `None` for ECDSA.
fn encoding(algorithm: SignatureAlgorithm) -> Option<&'static dyn RsaEncoding> {
    Some(match algorithm {
        SignatureAlgorithm::Rs256 => &RSA_PKCS1_SHA256,
        SignatureAlgorithm::Rs384 => &RSA_PKCS1_SHA384,
        SignatureAlgorithm::Rs512 => &RSA_PKCS1_SHA512,
        SignatureAlgorithm::Ps256 => &RSA_PSS_SHA256,
        SignatureAlgorithm::Ps384 => &RSA_PSS_SHA384,
        SignatureAlgorithm::Ps512 => &RSA_PSS_SHA512,
        _ => return None,
    })
}

fn verification(algorithm: SignatureAlgorithm) -> &'static dyn VerificationAlgorithm {
    match algorithm {
        SignatureAlgorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
        SignatureAlgorithm::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
        SignatureAlgorithm::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
        SignatureAlgorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
        SignatureAlgorithm::Ps384 => &RSA_PSS_2048_8192_SHA384,
        SignatureAlgorithm::Ps512 => &RSA_PSS_2048_8192_SHA512,
        SignatureAlgorithm::Es256 => &ECDSA_P256_SHA256_FIXED,
        SignatureAlgorithm::Es384 => &ECDSA_P384_SHA384_FIXED,
        SignatureAlgorithm::Es512 => &ECDSA_P521_SHA512_FIXED,
        SignatureAlgorithm::Es256K => &ECDSA_P256K1_SHA256_FIXED,
    }
}
