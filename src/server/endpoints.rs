//! What clients must be told, and how a server tells those on its machine.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::base::FileLock;

use super::control::MSI_PATH;
use super::{Home, ServerError};

/// Where a server says that it runs.
const ANNOUNCEMENT: &str = "serving.json";
const ANNOUNCEMENT_MAX: u64 = 64 << 10;

/// What a client must be told to reach the server.
#[derive(Serialize, Deserialize)]
pub struct Endpoints {
    /// Where it listens.
    pub address: SocketAddr,
    /// `https://NAME.vault.azure.net`
    pub vault_url: String,
    /// The certificate to trust.
    pub ca_file: PathBuf,
    /// `IDENTITY_HEADER`
    pub identity_header: Zeroizing<String>,
    /// The directory that issues tokens (`AZURE_TENANT_ID`).
    pub tenant: uuid::Uuid,
}

impl Endpoints {
    /// Those of the server that `home` is being served by; `None` when there is none.
    ///
    /// # Errors
    /// The file in which a server says so cannot be read.
    pub fn announced(home: &Home) -> Result<Option<Self>, ServerError> {
        let path = home.file(ANNOUNCEMENT);
        let failed = |e| ServerError::io(&path, e);
        let file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(failed)?,
        };
        match FileLock::try_exclusive(file.try_clone().map_err(failed)?) {
            // Nobody holds it: what is there was left behind by a server that was killed.
            Ok(_) => Ok(None),
            Err(TryLockError::WouldBlock) => {
                let found = serde_json::from_reader(file.take(ANNOUNCEMENT_MAX));
                found.map(Some).map_err(|e| home.malformed(ANNOUNCEMENT, e))
            }
            Err(TryLockError::Error(e)) => Err(failed(e)),
        }
    }

    /// Tells [`Endpoints::announced`] of this server, until what is returned is dropped.
    ///
    /// # Errors
    /// [`ServerError::Usage`] when another server announces itself there.
    pub fn announce(&self, home: &Home) -> Result<Announcement, ServerError> {
        let path = home.file(ANNOUNCEMENT);
        let failed = |e| ServerError::io(&path, e);
        let opened = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path);
        let lock = match FileLock::try_exclusive(opened.map_err(failed)?) {
            Ok(lock) => lock,
            Err(TryLockError::WouldBlock) => {
                return Err(ServerError::Usage(
                    "another `atrest serve` serves this working directory; stop it first, \
                     or use its address: `atrest env` prints it"
                        .into(),
                ));
            }
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        };
        let text = Zeroizing::new(serde_json::to_vec(self).expect("it has a JSON form"));
        let mut file = lock.file();
        file.set_len(0)
            .and_then(|()| file.write_all(&text))
            .map_err(failed)?;
        Ok(Announcement { _lock: lock })
    }

    /// Where programs on this machine reach it.
    pub fn http_url(&self) -> String {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            match address {
                SocketAddr::V4(_) => address.set_ip(std::net::Ipv4Addr::LOCALHOST.into()),
                SocketAddr::V6(_) => address.set_ip(std::net::Ipv6Addr::LOCALHOST.into()),
            }
        }
        format!("http://{address}")
    }

    /// The environment variables that lead an unmodified client here, and in whose place no other
    /// setting of the user's leads it to Azure: Python prefers the names in lower case. This program reads
    /// those that begin with ATREST.
    pub fn variables(&self) -> Vec<(&'static str, Zeroizing<String>)> {
        let url = self.http_url();
        let ca = self.ca_file.display().to_string();
        // The managed-identity endpoint is reached without a proxy.
        let direct = "localhost,127.0.0.1,::1".to_owned();
        let all = [
            ("HTTPS_PROXY", url.clone()),
            ("https_proxy", url.clone()),
            ("NO_PROXY", direct.clone()),
            ("no_proxy", direct),
            ("REQUESTS_CA_BUNDLE", ca.clone()),
            ("SSL_CERT_FILE", ca.clone()),
            ("NODE_EXTRA_CA_CERTS", ca.clone()),
            ("ATREST_VAULT_URL", self.vault_url.clone()),
            ("ATREST_VAULT_CA", ca),
            ("IDENTITY_ENDPOINT", format!("{url}{MSI_PATH}")),
            ("IDENTITY_HEADER", self.identity_header.to_string()),
        ];
        all.map(|(name, value)| (name, Zeroizing::new(value)))
            .into()
    }
}

/// Held by a server that others on this machine can find.
pub struct Announcement {
    _lock: FileLock,
}
