use std::collections::BTreeMap;

use rusqlite::Connection;

use crate::crypto::{Secret, SecretBytes};
use crate::resource::ResourceError;

use super::{BAD_ROW, Catalog, Refused, to_json};

const LEN: usize = 32;

impl Catalog {
    /// What the keys of delegations are derived from.
    pub(in crate::resource::blob) fn delegation(&self) -> Result<Secret<LEN>, ResourceError> {
        let bytes = self.run(|c| {
            c.prepare_cached("SELECT delegation FROM service")?
                .query_row((), |row| row.get(0).map(SecretBytes::from_vec))
        })?;
        Secret::copy_from(bytes.expose()).ok_or_else(|| self.malformed(BAD_ROW))
    }

    /// Draws that anew: every key of a delegation is worth nothing from then on.
    pub(in crate::resource::blob) fn renew_delegation(&self) -> Result<(), ResourceError> {
        self.write(|c| {
            let secret = SecretBytes::random(LEN);
            c.execute("UPDATE service SET delegation = ?1", [secret.expose()])?;
            Ok(())
        })
    }

    /// The properties of the service, by name.
    pub(in crate::resource::blob) fn service_properties(
        &self,
    ) -> Result<BTreeMap<String, String>, ResourceError> {
        self.read(properties)
    }

    /// Replaces those of the service's properties that are given.
    pub(in crate::resource::blob) fn set_service_properties(
        &self,
        given: BTreeMap<String, String>,
    ) -> Result<(), ResourceError> {
        self.write(|c| {
            let mut all = properties(c)?;
            all.extend(given.clone());
            c.execute("UPDATE service SET properties = ?1", [to_json(&all)])?;
            Ok(())
        })
    }
}

fn properties(c: &Connection) -> Result<BTreeMap<String, String>, Refused> {
    let text: String = c.query_row("SELECT properties FROM service", (), |row| row.get(0))?;
    serde_json::from_str(&text).map_err(|_| Refused::Malformed)
}

pub(super) fn create(c: &Connection) -> rusqlite::Result<()> {
    let secret = SecretBytes::random(LEN);
    c.execute(
        "INSERT INTO service VALUES (1, ?1, '{}')",
        [secret.expose()],
    )?;
    Ok(())
}
