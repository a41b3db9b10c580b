//! Wraps and unwraps a data key with the customer's key. Nothing here knows of atrest: the same file runs
//! against Azure. cargo add azure_identity azure_security_keyvault_keys rand tokio

use azure_core::error::ErrorKind;
use azure_identity::ManagedIdentityCredential;
use azure_security_keyvault_keys::models::{EncryptionAlgorithm, KeyOperationParameters};
use azure_security_keyvault_keys::{KeyClient, ResourceExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let vault = std::env::var("VAULT_URL");
    let vault = vault.unwrap_or_else(|_| "https://customer.vault.azure.net".into());
    let client = KeyClient::new(&vault, ManagedIdentityCredential::new(None)?, None)?;
    let key = client.get_key("customer-key", None).await?.into_model()?;
    let id = key.resource_id()?;
    println!("key       {}", id.source_id);

    let data_key: [u8; 32] = rand::random();
    let asked = |value: &[u8]| KeyOperationParameters {
        algorithm: Some(EncryptionAlgorithm::RsaOaep256),
        value: Some(value.to_vec()),
        ..Default::default()
    };
    let name = id.name.as_str();
    let wrapped = match client.wrap_key(name, asked(&data_key).try_into()?, None).await {
        Ok(done) => done.into_model()?,
        Err(e) => return refused(e),
    };
    let version = id.version.as_deref().unwrap_or_default();
    let wrapped = wrapped.result.unwrap_or_default();
    println!("wrapped   {} bytes", wrapped.len());
    match client.unwrap_key(name, version, asked(&wrapped).try_into()?, None).await {
        Ok(done) => {
            let same = done.into_model()?.result.as_deref() == Some(&data_key[..]);
            println!("unwrapped {}", if same { "the same key" } else { "ANOTHER KEY" });
            Ok(())
        }
        Err(e) => refused(e),
    }
}

fn refused(e: azure_core::Error) -> Result<(), Box<dyn std::error::Error>> {
    match e.kind() {
        ErrorKind::HttpResponse { status, error_code, .. } => {
            println!("refused   {status} {}", error_code.as_deref().unwrap_or("?"));
            Ok(())
        }
        _ => Err(e.into()),
    }
}
