//! Audit records in the shape of Azure's diagnostic logs, category `AuditEvent`
//! (learn.microsoft.com/azure/key-vault/general/logging).

use jiff::Timestamp;
use serde::Serialize;

use crate::base::VaultId;

use super::AuditRecord;

/// A record as Azure's logs have it: one object, with the members of their common schema. What is not
/// known is an empty text, or missing among the claims and properties.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent<'a> {
    time: Timestamp,
    resource_id: String,
    operation_name: &'a str,
    operation_version: &'a str,
    category: &'static str,
    result_type: &'a str,
    /// The status of HTTP where there was a request, else the refusal's code.
    result_signature: &'a str,
    result_description: &'a str,
    /// Milliseconds, as a text.
    duration_ms: String,
    caller_ip_address: &'a str,
    correlation_id: &'a str,
    identity: Identity<'a>,
    properties: Properties<'a>,
}

#[derive(Debug, Serialize)]
struct Identity<'a> {
    claim: Claims<'a>,
}

#[derive(Debug, Serialize)]
struct Claims<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    oid: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    appid: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    upn: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Properties<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    algorithm: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    client_info: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    request_uri: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_status_code: Option<u16>,
}

impl<'a> AuditEvent<'a> {
    /// A record of the vault `vault`. The resource is named after the vault's identity, in a
    /// subscription of zeros.
    pub fn of(record: &'a AuditRecord, vault: VaultId) -> Self {
        let status = record.http_status.map(reason);
        Self {
            time: record.time,
            resource_id: format!(
                "/SUBSCRIPTIONS/00000000-0000-0000-0000-000000000000/RESOURCEGROUPS/ATREST\
                 /PROVIDERS/MICROSOFT.KEYVAULT/VAULTS/{}",
                vault.to_string().to_ascii_uppercase()
            ),
            operation_name: &record.operation_name,
            operation_version: &record.operation_version,
            category: "AuditEvent",
            result_type: &record.result_type,
            result_signature: status.unwrap_or(&record.result_signature),
            result_description: &record.result_description,
            duration_ms: (record.duration_microseconds.saturating_add(500) / 1000).to_string(),
            caller_ip_address: &record.caller_ip_address,
            correlation_id: &record.correlation_id,
            identity: Identity {
                claim: Claims {
                    oid: &record.object_id,
                    appid: &record.client_id,
                    upn: &record.identity,
                },
            },
            properties: Properties {
                id: record
                    .kid
                    .as_deref()
                    .map(|kid| id(kid, &record.request_uri)),
                algorithm: &record.algorithm,
                client_info: &record.client_info,
                request_uri: &record.request_uri,
                http_status_code: record.http_status,
            },
        }
    }
}

/// What a key is called at the host that was asked, `https://HOST/keys/NAME/VERSION`; or `kid` as it is.
fn id(kid: &str, uri: &str) -> String {
    let after = uri.find("://").map(|at| at + 3);
    let host = after.and_then(|after| Some(after + uri.get(after..)?.find('/')?));
    match (host, kid.split_once('/')) {
        (Some(end), Some((_, path))) => format!("{}/{path}", &uri[..end]),
        _ => kid.to_owned(),
    }
}

/// The reason phrase of a status (RFC 9110, 15).
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Unknown",
    }
}
