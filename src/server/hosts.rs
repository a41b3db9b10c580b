//! Which host names the server answers for, and what each of them is.

use std::fmt;
use std::net::IpAddr;

use hyper::Request;
use hyper::header::HOST;

use crate::world::VaultKind;

const VAULT: &str = "vault.azure.net";
const MANAGED_HSM: &str = "managedhsm.azure.net";
const BLOB: &str = "blob.core.windows.net";
/// The host of tokens.
pub(super) const LOGIN: &str = "login.microsoftonline.com";
/// The zones in which one label more is a host.
pub(super) const WILDCARDS: &[&str] = &[VAULT, MANAGED_HSM, BLOB];
/// The names by which the server is reached without the proxy, beside its addresses.
pub(super) const DIRECT_NAMES: &[&str] = &["localhost"];

/// The host of the vault `name`.
pub(super) fn vault_host(kind: VaultKind, name: &str) -> String {
    let zone = match kind {
        VaultKind::Vault => VAULT,
        VaultKind::ManagedHsm => MANAGED_HSM,
    };
    format!("{name}.{zone}")
}

/// What a host name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// A key vault or a managed HSM, by its name.
    Vault(VaultKind, String),
    /// The token service.
    Login,
    /// A storage account's blobs, by its name.
    Blob(String),
    /// The server itself, reached without the proxy.
    Direct,
}

/// A host and its port, as a request names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostPort {
    /// In lower case; an IPv6 address without brackets.
    pub(super) host: String,
    pub(super) port: Option<u16>,
}

impl HostPort {
    /// Parses `host`, `host:port` or `[address]:port` (RFC 9110, 7.2).
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest.split_once(']')?;
                address.parse::<std::net::Ipv6Addr>().ok()?;
                (
                    address,
                    after.strip_prefix(':').or(after.is_empty().then_some(""))?,
                )
            }
            None => text.split_once(':').unwrap_or((text, "")),
        };
        let named = |b: u8| b.is_ascii_alphanumeric() || b"-.:".contains(&b);
        if host.is_empty() || host.len() > 253 || !host.bytes().all(named) {
            return None;
        }
        let port = match port {
            "" if !text.ends_with(':') => None,
            digits if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
            _ => return None,
        };
        Some(Self {
            host: host.to_ascii_lowercase(),
            port,
        })
    }

    /// The host that a request is for: its only `Host`, with which an absolute URI must agree
    /// (RFC 9112, 3.2).
    pub(super) fn of<B>(request: &Request<B>) -> Option<Self> {
        let mut named = request.headers().get_all(HOST).iter();
        let (Some(named), None) = (named.next(), named.next()) else {
            return None;
        };
        let host = Self::parse(named.to_str().ok()?)?;
        let authority = request.uri().authority().map(|a| Self::parse(a.as_str()));
        authority
            .is_none_or(|authority| authority.as_ref() == Some(&host))
            .then_some(host)
    }

    /// What the host is; `None` when the server does not answer for it.
    pub(super) fn service(&self) -> Option<Service> {
        let in_zone = |zone: &str| {
            let label = self.host.strip_suffix(zone)?.strip_suffix('.')?;
            (!label.is_empty() && !label.contains(['.', ':'])).then(|| label.to_owned())
        };
        if self.host == LOGIN {
            return Some(Service::Login);
        }
        if let Some(name) = in_zone(VAULT) {
            return Some(Service::Vault(VaultKind::Vault, name));
        }
        if let Some(name) = in_zone(MANAGED_HSM) {
            return Some(Service::Vault(VaultKind::ManagedHsm, name));
        }
        if let Some(name) = in_zone(BLOB) {
            return Some(Service::Blob(name));
        }
        self.is_own().then_some(Service::Direct)
    }

    /// Whether this is the machine itself, or an address of it, and no name that anybody could have
    /// pointed at it (DNS rebinding).
    pub(super) fn is_own(&self) -> bool {
        DIRECT_NAMES.contains(&self.host.as_str()) || self.host.parse::<IpAddr>().is_ok()
    }

    /// What a proxy may be asked to connect to: a host of Azure's at its HTTPS port.
    pub(super) fn proxied(&self) -> Option<Service> {
        let service = self.service()?;
        (self.port == Some(443) && service != Service::Direct).then_some(service)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        match self.port {
            Some(port) if port != 443 => write!(f, ":{port}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is asked for: no panic, and what is led on ends in a zone, at port 443.
        #[test]
        fn no_text_leads_the_proxy_elsewhere(
            text in prop_oneof![".*", "[a-zA-Z0-9.:\\[\\]@-]{0,20}(\\.vault\\.azure\\.net)?[a-z.:@0-9]{0,8}(:443)?"],
        ) {
            if proxied(&text).is_some() {
                let host = text.to_ascii_lowercase();
                let host = host.strip_suffix(":443").unwrap();
                let mut zones = WILDCARDS.iter();
                let known = host == LOGIN || zones.any(|zone| host.ends_with(&format!(".{zone}")));
                prop_assert!(known, "{}", text);
            }
        }
    }

    fn proxied(text: &str) -> Option<Service> {
        HostPort::parse(text)?.proxied()
    }

    #[test]
    fn the_proxy_connects_to_nothing_but_the_four_kinds_of_host() {
        let vault = Some(Service::Vault(VaultKind::Vault, "a".into()));
        assert_eq!(proxied("a.vault.azure.net:443"), vault);
        assert_eq!(proxied("A.Vault.Azure.NET:443"), vault);
        assert_eq!(
            proxied("login.microsoftonline.com:443"),
            Some(Service::Login)
        );
        for host in ["a.blob.core.windows.net:443", "a.managedhsm.azure.net:443"] {
            assert!(proxied(host).is_some(), "{host}");
        }
        for host in [
            "",
            ":443",
            "a.vault.azure.net",
            "a.vault.azure.net:",
            "a.vault.azure.net:80",
            "a.vault.azure.net:443:443",
            "a.vault.azure.net:00000443000",
            "a.vault.azure.net:+443",
            "a.vault.azure.net.:443",
            "vault.azure.net:443",
            ".vault.azure.net:443",
            "a.b.vault.azure.net:443",
            "avault.azure.net:443",
            "a.vault.azure.net.evil.example:443",
            "a.vault.azure.net@evil.example:443",
            "evil.example:443",
            "x.login.microsoftonline.com:443",
            "localhost:443",
            "127.0.0.1:443",
            "169.254.169.254:443",
            "[::1]:443",
            "[a.vault.azure.net]:443",
            "a.vault.azure.net\0:443",
            "a\u{2025}vault.azure.net:443",
        ] {
            assert_eq!(proxied(host), None, "{host}");
        }
    }

    #[test]
    fn a_name_that_somebody_points_here_is_not_the_machine_itself() {
        let own = |text| HostPort::parse(text).is_some_and(|host| host.is_own());
        for host in [
            "localhost",
            "localhost:8443",
            "127.0.0.1:1",
            "[::1]:8443",
            "169.254.169.254",
        ] {
            assert!(own(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "[::1",
        ] {
            assert!(!own(host), "{host}");
        }
    }

    #[test]
    fn an_identifier_names_the_host_as_the_client_reached_it() {
        let shown = |text| HostPort::parse(text).unwrap().to_string();
        assert_eq!(shown("a.vault.azure.net:443"), "a.vault.azure.net");
        assert_eq!(shown("LOCALHOST:8443"), "localhost:8443");
        assert_eq!(shown("[::1]:8443"), "[::1]:8443");
    }
}
