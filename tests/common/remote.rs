//! A server in the test's own process, and a client of its vault.

#![allow(dead_code, reason = "each test uses a part")]

use std::net::Ipv4Addr;
use std::sync::Arc;

use atrest::base::ManualClock;
use atrest::crypto::SecretBytes;
use atrest::server::{Endpoints, ServeOptions, Server};
use atrest::vault::{Credential, LocalVault, RemoteOptions, RemoteVault, VaultSettings};
use atrest::world::{InitOptions, WhichVault, Workspace};
use jiff::Timestamp;
use tempfile::TempDir;

/// A working directory without a customer's key, served; its vault's clock stands where it is put.
pub struct InProcess {
    pub server: Server,
    pub clock: Arc<ManualClock>,
    /// The served vault itself.
    pub local: LocalVault,
    pub dir: TempDir,
}

impl InProcess {
    pub fn start(settings: &VaultSettings, at: Timestamp) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(at));
        let init = InitOptions {
            environment: "production".parse().unwrap(),
            customer_key: None,
            passphrase: None,
            vault: *settings,
        };
        let work = dir.path().join("work");
        let workspace = Workspace::init(&work, init, clock.clone()).unwrap();
        let local = workspace.vault(&WhichVault::Customer).unwrap();
        let options = ServeOptions {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            vault: "customer".parse().unwrap(),
            identity: "administrator".into(),
            imds: false,
            any_token: false,
            plain_http: false,
            throttle: None,
            inject: vec![],
            inject_seed: 0,
            timing: false,
            events: None,
        };
        let server = Server::start(workspace, &options, clock.clone()).unwrap();
        Self {
            server,
            clock,
            local,
            dir,
        }
    }

    pub fn vault(&self) -> RemoteVault {
        RemoteVault::open(&options(self.server.endpoints())).unwrap()
    }
}

/// The vault under its own name, through the proxy, by the managed identity.
pub fn options(endpoints: &Endpoints) -> RemoteOptions {
    RemoteOptions {
        url: endpoints.vault_url.clone(),
        ca_file: endpoints.ca_file.clone(),
        proxy: Some(endpoints.http_url()),
        credential: Credential::ManagedIdentity {
            endpoint: format!("{}/msi/token", endpoints.http_url()),
            header: secret(&endpoints.identity_header),
        },
    }
}

/// The same without the proxy.
pub fn direct(endpoints: &Endpoints) -> RemoteOptions {
    RemoteOptions {
        url: format!("https://localhost:{}", endpoints.address.port()),
        proxy: None,
        ..options(endpoints)
    }
}

pub fn secret(text: &str) -> Arc<SecretBytes> {
    Arc::new(SecretBytes::from_vec(text.as_bytes().to_vec()))
}
