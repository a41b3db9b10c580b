//! The root key's file: 64 lower-case hexadecimal digits and a newline, readable by its owner only.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use crate::base::write_private_new;
use crate::crypto::Secret;

use super::VaultError;

/// Length of a key file, in bytes.
const LEN: usize = 65;

/// Reads the 32-byte key of a key file.
///
/// # Errors
/// [`VaultError::Store`] when it cannot be read, when others than its owner may read or write it,
/// or when its content is anything but 64 lower-case hexadecimal digits and a newline.
pub fn read_key_file(path: &Path) -> Result<Secret<32>, VaultError> {
    let bad = |why: String| VaultError::Store {
        path: path.display().to_string(),
        why,
    };
    // Without O_NONBLOCK a pipe in the file's place would hang the reader.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)
        .map_err(|e| match e.kind() {
            ErrorKind::NotFound => {
                bad("no such key file; give the one that the vault was made with".into())
            }
            _ => bad(e.to_string()),
        })?;
    let metadata = file.metadata().map_err(|e| bad(e.to_string()))?;
    if !metadata.is_file() {
        return Err(bad("not a regular file, so not a key file".into()));
    }
    if metadata.mode() & 0o077 != 0 {
        let mode = metadata.mode() & 0o777;
        return Err(bad(format!(
            "mode {mode:03o} lets others than its owner use this key file; run `chmod 600` on it, and change the root key if someone may have read it"
        )));
    }
    let malformed =
        || bad("not a key file: expected 64 lower-case hexadecimal digits and a newline".into());
    if metadata.len() != LEN as u64 {
        return Err(malformed());
    }
    let mut text = Zeroizing::new([0; LEN]);
    file.read_exact(&mut text[..]).map_err(|_| malformed())?;
    parse(&text).ok_or_else(malformed)
}

/// Makes a key file with a random key at `path`, which must not exist, mode 0600.
pub(super) fn create_key_file(path: &Path) -> Result<Secret<32>, VaultError> {
    let key = Secret::random();
    let mut text = Zeroizing::new([b'\n'; LEN]);
    hex::encode_to_slice(key.expose(), &mut text[..LEN - 1]).expect("64 digits for 32 bytes");
    write_private_new(path, &text[..]).map_err(|e| VaultError::Store {
        path: path.display().to_string(),
        why: format!("cannot make the key file: {e}"),
    })?;
    Ok(key)
}

fn parse(text: &[u8; LEN]) -> Option<Secret<32>> {
    let (digits, newline) = text.split_at(LEN - 1);
    if newline != b"\n" || digits.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let mut decoded = Ok(());
    let key = Secret::init_with(|out| decoded = hex::decode_to_slice(digits, out));
    decoded.ok().map(|()| key)
}
