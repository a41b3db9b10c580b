//! What is remembered of files, in the JSON of a server's own pages (docs/format.md, "Server"), both
//! ways.

use serde::{Deserialize, Serialize};

use crate::sqlite::Position;

use super::{Epoch, FreshnessCheck};

/// `{"check": ..., "position": ...}`
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochJson {
    check: FreshnessCheck,
    position: Option<PositionJson>,
}

/// A position's bytes in hexadecimal.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PositionJson(pub Position);

impl TryFrom<String> for PositionJson {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut bytes = [0; Position::LEN];
        let decoded = hex::decode_to_slice(text, &mut bytes).ok();
        let position = decoded.and_then(|()| Position::from_bytes(&bytes));
        position.map(Self).ok_or("not a position")
    }
}

impl From<PositionJson> for String {
    fn from(PositionJson(position): PositionJson) -> Self {
        hex::encode(position.to_bytes())
    }
}

impl From<Epoch> for EpochJson {
    fn from(epoch: Epoch) -> Self {
        Self {
            check: epoch.check,
            position: epoch.position.map(PositionJson),
        }
    }
}

impl From<EpochJson> for Epoch {
    fn from(told: EpochJson) -> Self {
        Self {
            check: told.check,
            position: told.position.map(|PositionJson(position)| position),
        }
    }
}

/// `{"position": ...}`
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdvanceJson {
    /// The position to remember, unless what is remembered is newer.
    pub position: PositionJson,
}
