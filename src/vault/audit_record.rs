//! An audit record: its fields, its row, and its place in the chain of MACs.

use jiff::Timestamp;
use rusqlite::{Connection, Row, named_params};
use serde::{Deserialize, Serialize};

use crate::crypto::{Secret, hmac_sha256};

use super::rows::column_time;

/// One record. The fields are those of Azure Key Vault's `AuditEvent` ([`super::AuditEvent`] has its
/// shape); no key bytes and no data bytes are in it. An empty text: nobody knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuditRecord {
    /// Its place in the chain, from 1.
    pub number: u64,
    /// When it was decided.
    pub time: Timestamp,
    /// What was asked: an [`super::AuditOperation`].
    pub operation_name: String,
    /// The version of the API by which it was asked.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub operation_version: String,
    /// Of which key or version, where the operation concerns one.
    pub kid: Option<String>,
    /// By which algorithm a key was used.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub algorithm: String,
    /// Whether it was done: `Success` or `Failed`.
    pub result_type: String,
    /// `OK`, `Accepted` (begun; another record says how it ended), or a code as
    /// [`super::VaultError::code`] gives it.
    pub result_signature: String,
    /// What the caller was told, when it failed.
    pub result_description: String,
    /// How long it took until it was recorded, without the sync.
    pub duration_microseconds: u64,
    /// Who asked: the name given to `LocalVault::acting_as`, or the request's.
    pub identity: String,
    /// His object id.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub object_id: String,
    /// The client id of his program.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_id: String,
    /// From which address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub caller_ip_address: String,
    /// What a client finds its request by; or 32 hexadecimal digits, random for each operation.
    pub correlation_id: String,
    /// What the client's program says that it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_info: String,
    /// What was asked for over HTTP.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub request_uri: String,
    /// The status of the answer over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
}

impl AuditRecord {
    /// Its MAC in a chain under `audit_key`, after a record with the MAC `previous` (docs/format.md,
    /// "Vault"); zeros come before the first.
    pub fn mac(&self, audit_key: &Secret<32>, previous: &[u8; 32]) -> [u8; 32] {
        hmac_sha256(audit_key, &[&self.to_bytes(previous)])
    }

    pub(super) fn to_bytes(&self, previous: &[u8; 32]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1024);
        bytes.extend_from_slice(b"record2\0");
        bytes.extend_from_slice(previous);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.time.as_microsecond().to_le_bytes());
        bytes.extend_from_slice(&self.duration_microseconds.to_le_bytes());
        bytes.extend_from_slice(&self.http_status.unwrap_or_default().to_le_bytes());
        let fields: [&str; 14] = [
            &self.operation_name,
            &self.operation_version,
            self.kid.as_deref().unwrap_or_default(),
            &self.algorithm,
            &self.result_type,
            &self.result_signature,
            &self.result_description,
            &self.identity,
            &self.object_id,
            &self.client_id,
            &self.caller_ip_address,
            &self.correlation_id,
            &self.client_info,
            &self.request_uri,
        ];
        for field in fields {
            let len = u32::try_from(field.len()).expect("SQLite's texts are shorter than 4 GiB");
            bytes.extend_from_slice(&len.to_le_bytes());
            bytes.extend_from_slice(field.as_bytes());
        }
        bytes
    }

    pub(super) fn insert(&self, db: &Connection, mac: &[u8; 32]) -> rusqlite::Result<()> {
        db.prepare_cached(
            "INSERT INTO audit (number, time, operation_name, operation_version, kid, algorithm,
                                result_type, result_signature, result_description, duration,
                                identity, object_id, client_id, caller_ip_address,
                                correlation_id, client_info, request_uri, http_status, mac)
             VALUES (:number, :time, :operation_name, :operation_version, :kid, :algorithm,
                     :result_type, :result_signature, :result_description, :duration,
                     :identity, :object_id, :client_id, :caller_ip_address,
                     :correlation_id, :client_info, :request_uri, :http_status, :mac)",
        )?
        .execute(named_params! {
            ":number": self.number.cast_signed(),
            ":time": self.time.as_microsecond(),
            ":operation_name": self.operation_name,
            ":operation_version": self.operation_version,
            ":kid": self.kid,
            ":algorithm": self.algorithm,
            ":result_type": self.result_type,
            ":result_signature": self.result_signature,
            ":result_description": self.result_description,
            ":duration": self.duration_microseconds.cast_signed(),
            ":identity": self.identity,
            ":object_id": self.object_id,
            ":client_id": self.client_id,
            ":caller_ip_address": self.caller_ip_address,
            ":correlation_id": self.correlation_id,
            ":client_info": self.client_info,
            ":request_uri": self.request_uri,
            ":http_status": self.http_status,
            ":mac": mac,
        })?;
        Ok(())
    }

    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            number: row.get::<_, i64>("number")?.cast_unsigned(),
            time: column_time(row, "time")?,
            operation_name: row.get("operation_name")?,
            operation_version: row.get("operation_version")?,
            kid: row.get("kid")?,
            algorithm: row.get("algorithm")?,
            result_type: row.get("result_type")?,
            result_signature: row.get("result_signature")?,
            result_description: row.get("result_description")?,
            duration_microseconds: row.get::<_, i64>("duration")?.cast_unsigned(),
            identity: row.get("identity")?,
            object_id: row.get("object_id")?,
            client_id: row.get("client_id")?,
            caller_ip_address: row.get("caller_ip_address")?,
            correlation_id: row.get("correlation_id")?,
            client_info: row.get("client_info")?,
            request_uri: row.get("request_uri")?,
            http_status: row.get("http_status")?,
        })
    }
}
