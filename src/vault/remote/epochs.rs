//! The newest states of files, which the server's own pages tell of (docs/format.md, "Server").

use crate::base::{EpochId, VaultId};
use crate::sqlite::Position;
use crate::vault::epoch_json::{AdvanceJson, EpochJson, PositionJson};
use crate::vault::{Epoch, EpochKeeper, VaultError};

use super::RemoteVault;
use super::client::Ask;
use super::http::Answer;
use super::refusal::Refusal;
use super::wire::{json, parse};

impl EpochKeeper for RemoteVault {
    fn epoch(&self, vault: VaultId, id: EpochId) -> Result<Option<Epoch>, VaultError> {
        let answer = self.of_epochs(vault, &Ask::get(path(id)))?;
        match answer.status {
            200 => Ok(Some(parse::<EpochJson>(&answer)?.into())),
            404 if Refusal::of(&answer).says("PositionNotFound") => Ok(None),
            _ => Err(Refusal::of(&answer).general(self.url())),
        }
    }

    fn set_epoch(&self, vault: VaultId, id: EpochId, epoch: &Epoch) -> Result<(), VaultError> {
        let body = json(&EpochJson::from(epoch.clone()));
        let ask = Ask::put(path(id)).with(body).repeatable();
        let answer = self.of_epochs(vault, &ask)?;
        self.done(&answer)
    }

    fn advance_epoch(
        &self,
        vault: VaultId,
        id: EpochId,
        position: &Position,
    ) -> Result<(), VaultError> {
        let body = json(&AdvanceJson {
            position: PositionJson(position.clone()),
        });
        let ask = Ask::post(format!("{}/advance", path(id))).with(body);
        let answer = self.of_epochs(vault, &ask.repeatable())?;
        self.done(&answer)
    }
}

fn path(id: EpochId) -> String {
    format!("/atrest/v1/positions/{id}")
}

impl RemoteVault {
    fn of_epochs(&self, vault: VaultId, ask: &Ask) -> Result<Answer, VaultError> {
        match vault == self.id {
            true => self.client.ask(ask),
            false => Err(VaultError::KeyNotFound(vault.to_string())),
        }
    }

    fn done(&self, answer: &Answer) -> Result<(), VaultError> {
        match answer.status {
            204 => Ok(()),
            _ => Err(Refusal::of(answer).general(self.url())),
        }
    }
}
