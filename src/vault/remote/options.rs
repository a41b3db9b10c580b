use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ureq::http::Uri;

use crate::crypto::SecretBytes;
use crate::vault::VaultError;

/// Where a vault is, whom to trust, and who asks.
#[derive(Clone, Debug)]
pub struct RemoteOptions {
    /// `https://NAME.vault.azure.net`, or `https://localhost:PORT`.
    pub url: String,
    /// The certificate (PEM) that the server's must be signed by; no other is trusted.
    pub ca_file: PathBuf,
    /// The proxy (`http://HOST:PORT`) that leads to the vault, unless its URL names this machine or an
    /// address, and to the token service.
    pub proxy: Option<String>,
    /// Who asks.
    pub credential: Credential,
}

/// What a client gets its tokens with.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A managed identity, as Azure App Service gives one to a program.
    ManagedIdentity {
        /// `IDENTITY_ENDPOINT`; over plain HTTP on this machine only.
        endpoint: String,
        /// `IDENTITY_HEADER`
        header: Arc<SecretBytes>,
    },
    /// A registered client and its secret.
    ClientSecret {
        /// `AZURE_TENANT_ID`
        tenant: String,
        /// `AZURE_CLIENT_ID`
        client: String,
        /// `AZURE_CLIENT_SECRET`
        secret: Arc<SecretBytes>,
    },
}

impl RemoteOptions {
    /// The vault at `url`, reached as environment variables say: those that `atrest env` prints, or
    /// the names that Azure's client libraries know. A client's secret goes before a managed identity, as
    /// there.
    ///
    /// # Errors
    /// [`VaultError::BadParameter`] names the variable that is missing.
    pub fn from_variables(
        url: &str,
        ca_file: Option<&Path>,
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, VaultError> {
        let text = |name: &str| {
            let value = variable(name).filter(|value| !value.is_empty());
            let not_text = || bad(format!("{name} is not UTF-8"));
            value
                .map(|value| value.into_string().map_err(|_| not_text()))
                .transpose()
        };
        let secret = |text: String| Arc::new(SecretBytes::from_vec(text.into_bytes()));
        let registered = [
            text("AZURE_TENANT_ID")?,
            text("AZURE_CLIENT_ID")?,
            text("AZURE_CLIENT_SECRET")?,
        ];
        let managed = [text("IDENTITY_ENDPOINT")?, text("IDENTITY_HEADER")?];
        let credential = match (registered, managed) {
            ([Some(tenant), Some(client), Some(key)], _) => Credential::ClientSecret {
                tenant,
                client,
                secret: secret(key),
            },
            (_, [Some(endpoint), Some(header)]) => Credential::ManagedIdentity {
                endpoint,
                header: secret(header),
            },
            _ => {
                return Err(bad(format!(
                    "the vault at {url} asks who calls: set IDENTITY_ENDPOINT and IDENTITY_HEADER as \
                     `atrest env` prints them, or AZURE_TENANT_ID, AZURE_CLIENT_ID and \
                     AZURE_CLIENT_SECRET as `atrest identity add` does"
                )));
            }
        };
        let ca_file = ca_file.ok_or_else(|| {
            bad(format!(
                "the vault at {url} is trusted by a certificate: name it with --vault-ca or \
                 ATREST_VAULT_CA (`atrest env` prints it)"
            ))
        })?;
        Ok(Self {
            url: url.to_owned(),
            ca_file: ca_file.to_owned(),
            // Other programs prefer the one in lower case.
            proxy: text("https_proxy")?.map_or_else(|| text("HTTPS_PROXY"), |it| Ok(Some(it)))?,
            credential,
        })
    }
}

/// The vault's URL without a path: `https://HOST[:PORT]`, in lower case; and whether it is reached
/// without a proxy.
pub(super) fn base(url: &str) -> Result<(String, bool), VaultError> {
    let not = |why: &str| {
        bad(format!(
            "{:?} is not a vault's URL: {why}; give https://NAME.vault.azure.net or https://localhost:PORT",
            url.chars().take(200).collect::<String>()
        ))
    };
    let uri: Uri = url.parse().map_err(|_| not("it does not parse"))?;
    let authority = uri
        .authority()
        .filter(|_| uri.scheme_str() == Some("https"))
        .ok_or_else(|| not("it does not begin with https://"))?;
    if authority.as_str().contains('@') {
        return Err(not("it holds a user's name"));
    }
    if uri.path() != "/" && !uri.path().is_empty() || uri.query().is_some() {
        return Err(not("it names more than a host"));
    }
    let host = authority.host().to_ascii_lowercase();
    let base = match authority.port_u16() {
        None | Some(443) => format!("https://{host}"),
        Some(port) => format!("https://{host}:{port}"),
    };
    let direct = is_this_machine(&host) || bare(&host).parse::<IpAddr>().is_ok();
    Ok((base, direct))
}

/// An endpoint that may be shown a secret: over TLS, or on this machine.
pub(super) fn endpoint(url: &str) -> Result<(), VaultError> {
    let uri: Option<Uri> = url.parse().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    match uri.as_ref().and_then(Uri::scheme_str) {
        Some("https") => Ok(()),
        Some("http") if is_this_machine(host) => Ok(()),
        _ => Err(bad(
            "IDENTITY_ENDPOINT is shown a secret: it must be at https, or at http on this machine",
        )),
    }
}

fn is_this_machine(host: &str) -> bool {
    let address = bare(host).parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn bare(host: &str) -> &str {
    let inside = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    inside.unwrap_or(host)
}

fn bad(why: impl Into<String>) -> VaultError {
    VaultError::BadParameter(why.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_is_not_one_host_over_https_is_refused() {
        for (url, expected, direct) in [
            (
                "https://a.vault.azure.net",
                "https://a.vault.azure.net",
                false,
            ),
            (
                "https://A.Vault.Azure.NET:443/",
                "https://a.vault.azure.net",
                false,
            ),
            ("https://localhost:8443", "https://localhost:8443", true),
            ("https://[::1]:8443/", "https://[::1]:8443", true),
            ("https://10.0.0.1", "https://10.0.0.1", true),
        ] {
            assert_eq!(base(url).unwrap(), (expected.to_owned(), direct), "{url}");
        }
        for url in [
            "",
            "a.vault.azure.net",
            "http://a.vault.azure.net",
            "https://",
            "https://me@a.vault.azure.net",
            "https://a.vault.azure.net/keys",
            "https://a.vault.azure.net/?x",
            "file:///etc/passwd",
        ] {
            assert!(base(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_secret_is_not_sent_in_the_clear_to_another_machine() {
        for url in [
            "http://127.0.0.1:80/msi/token",
            "http://localhost/x",
            "http://[::1]:1/x",
            "https://identity.example/x",
        ] {
            assert!(endpoint(url).is_ok(), "{url}");
        }
        for url in [
            "http://10.0.0.1/msi/token",
            "http://localhost.evil.example/x",
            "http://127.0.0.1.evil.example/x",
            "localhost/x",
            "",
        ] {
            assert!(endpoint(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_variable_that_is_missing_is_named() {
        let given = |names: &'static [&'static str]| {
            RemoteOptions::from_variables("https://localhost", Some("ca".as_ref()), &move |name| {
                names.contains(&name).then(|| name.to_lowercase().into())
            })
        };
        let managed = given(&["IDENTITY_ENDPOINT", "IDENTITY_HEADER", "HTTPS_PROXY"]).unwrap();
        assert!(matches!(
            managed.credential,
            Credential::ManagedIdentity { .. }
        ));
        assert_eq!(managed.proxy.as_deref(), Some("https_proxy"));
        let all = given(&[
            "IDENTITY_ENDPOINT",
            "IDENTITY_HEADER",
            "AZURE_TENANT_ID",
            "AZURE_CLIENT_ID",
            "AZURE_CLIENT_SECRET",
        ]);
        assert!(matches!(
            all.unwrap().credential,
            Credential::ClientSecret { .. }
        ));
        let half = given(&["IDENTITY_ENDPOINT", "AZURE_CLIENT_SECRET"]).unwrap_err();
        assert!(half.to_string().contains("IDENTITY_HEADER"), "{half}");
        let no_ca = RemoteOptions::from_variables("https://localhost", None, &|_| Some("x".into()));
        assert!(no_ca.unwrap_err().to_string().contains("ATREST_VAULT_CA"));
    }
}
