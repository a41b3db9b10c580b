use rusqlite::Connection;

use crate::crypto::SecretBytes;
use crate::resource::ResourceError;

use super::Catalog;

/// Length of an access key, in bytes, as of Azure's.
const KEY_LEN: usize = 64;

impl Catalog {
    /// The two access keys, by which clients sign their requests.
    pub(in crate::resource::blob) fn access_keys(&self) -> Result<[SecretBytes; 2], ResourceError> {
        self.run(|c| {
            let key = |number: u8| {
                c.prepare_cached("SELECT key FROM access_keys WHERE number = ?1")?
                    .query_row([number], |row| row.get(0).map(SecretBytes::from_vec))
            };
            Ok([key(1)?, key(2)?])
        })
    }

    /// Draws access key `number` (1 or 2) anew.
    pub(in crate::resource::blob) fn renew_access_key(
        &self,
        number: u8,
    ) -> Result<(), ResourceError> {
        self.write(|c| Ok(replace(c, number)?))
    }
}

pub(super) fn replace(c: &Connection, number: u8) -> rusqlite::Result<()> {
    let key = SecretBytes::random(KEY_LEN);
    c.execute(
        "INSERT OR REPLACE INTO access_keys VALUES (?1, ?2)",
        (number, key.expose()),
    )?;
    Ok(())
}
