mod aead;
mod blob;
mod derive;
mod memory;
mod open;
mod rotate;
mod sql;
mod vault;
mod wrap;

use super::BenchError;
use super::session::Session;

/// One subject of measurement.
#[derive(Debug)]
pub struct Station {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it measures.
    pub title: &'static str,
    /// Whether it reads and writes files.
    pub on_disk: bool,
    pub(super) run: fn(&mut Session<'_>) -> Result<(), BenchError>,
}

/// All of them, from what is cheapest to what is whole.
pub static STATIONS: [Station; 9] = [
    Station {
        name: "memory",
        title: "Copying memory, AES-CTR and GMAC by themselves: what no sealing of the same bytes can beat",
        on_disk: false,
        run: memory::run,
    },
    Station {
        name: "aead",
        title: "AES-256-GCM: seal and open by library, size and threads, and as sealed files do it",
        on_disk: false,
        run: aead::run,
    },
    Station {
        name: "derive",
        title: "Keys: derivation, expansion, random bytes, the lookup of an unwrapped key, passphrases",
        on_disk: false,
        run: derive::run,
    },
    Station {
        name: "wrap",
        title: "Wrapping and unwrapping a data encryption key: the bare operation, the vault, the server",
        on_disk: true,
        run: wrap::run,
    },
    Station {
        name: "sql",
        title: "SQL: six kinds of work on plain and on sealed SQLite",
        on_disk: true,
        run: sql::run,
    },
    Station {
        name: "blob",
        title: "Blobs: put, get and ranged read, sealed and plain, beside copies of the same file",
        on_disk: true,
        run: blob::run,
    },
    Station {
        name: "rotate",
        title: "Rotation of a key (rewrap of many resources), and re-encryption under a new data key",
        on_disk: true,
        run: rotate::run,
    },
    Station {
        name: "vault",
        title: "The vault's server: requests a second and their latency",
        on_disk: true,
        run: vault::run,
    },
    Station {
        name: "open",
        title: "Opening a database, and a cold start of the program",
        on_disk: true,
        run: open::run,
    },
];
