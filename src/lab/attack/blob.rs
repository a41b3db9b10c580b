use std::path::Path;

use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;

use crate::lab::theft::read_at;
use crate::lab::{Attack, Evidence, Exhibit, Lab, LabError, Outcome, StolenCopy};
use crate::resource::blob::{CHUNK_LEN, Layers};

use super::account::{Account, Blob, text};
use super::alter::{len, patched, with_tail};
use super::bout::{Bout, Reading, both_arms, control};
use super::pack;
use super::vault::Arm;

/// A specimen's blob: three whole chunks and a part of one.
const SPECIMEN_LEN: usize = 3 * CHUNK_LEN + 1000;

/// Attack 13.
pub(in crate::lab) fn chunks(lab: &Lab, exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    let attack = Attack::number(13);
    let specimen = both_arms(lab, exhibit, |arm, dir| rearranged(lab, dir, arm))?;
    let arm = |stolen: &StolenCopy| {
        let dir = lab.scratch()?;
        alter_stolen(lab, stolen, dir.path(), &mut lab.rng(&exhibit.name))
    };
    let mut stolen = arm(&exhibit.protected)?;
    stolen.control = Some(control(arm(&exhibit.twin)?));
    Ok(vec![
        attack.outcome(Some("a specimen's chunks and bytes"), exhibit, specimen),
        attack.outcome(Some("sampled extents of the stolen copy"), exhibit, stolen),
    ])
}

fn rearranged(lab: &Lab, dir: &Path, arm: &Arm) -> Result<Evidence, LabError> {
    let once = Account::specimen(&dir.join("chunks"), arm)?;
    let mut bout = rearranged_of(lab, &once)?;
    bout.merge(pack::rearranged(lab, &once)?);
    if arm.protection.key().is_some() {
        let twice = Account::specimen_of(&dir.join("layers"), arm, Layers::Two)?;
        bout.merge(rearranged_of(lab, &twice)?);
        bout.merge(pack::rearranged(lab, &twice)?);
    }
    Ok(bout.finish("chunks rearranged, cut, extended, bits flipped"))
}

fn rearranged_of(lab: &Lab, account: &Account) -> Result<Bout, LabError> {
    let blob = account.put("invoices/2026.txt", text(1, SPECIMEN_LEN))?;
    let mut bout = Bout::new(&blob.extent, &blob.truth());
    let sealed = blob.sealed()?;
    for (what, altered) in rearrangements(account, &sealed, &mut lab.rng("chunks")) {
        let reading = replaced(account, &blob, &blob.extent, &altered)?;
        bout.record(reading, None, || what);
    }
    let mut rng = lab.rng("blob flips");
    let (header, _) = account.layout();
    let sampled = (0..64).map(|_| rng.random_range(header..sealed.len()));
    let offsets: Vec<usize> = (0..header).chain(sampled).collect();
    for at in offsets {
        let byte = [sealed[at] ^ (1 << rng.random_range(0..8))];
        let at = at as u64;
        let reading = patched(&blob.extent, &[(at, &byte)], || account.read(&blob))?;
        bout.record(reading, Some(at), || "one bit flipped".to_owned());
    }
    Ok(bout)
}

/// Every rearrangement, by name.
fn rearrangements(
    account: &Account,
    sealed: &[u8],
    rng: &mut ChaCha8Rng,
) -> Vec<(String, Vec<u8>)> {
    let (header_len, chunk_len) = account.layout_of(sealed);
    let (header, body) = sealed.split_at(header_len);
    let chunks: Vec<&[u8]> = body.chunks(chunk_len).collect();
    let file = |chunks: &[&[u8]]| [header, &chunks.concat()].concat();
    let order = |of: &[usize]| file(&of.iter().map(|&i| chunks[i]).collect::<Vec<_>>());
    let mut noise = vec![0; chunk_len];
    rng.fill_bytes(&mut noise);
    let zeros = vec![0; chunk_len];
    let mut all = vec![
        ("two chunks swapped", order(&[1, 0, 2, 3])),
        ("last chunk first", order(&[3, 1, 2, 0])),
        ("a chunk repeated", order(&[0, 1, 1, 2, 3])),
        ("a chunk in another's place", order(&[0, 0, 2, 3])),
        ("a chunk dropped", order(&[0, 2, 3])),
        ("the last chunk dropped", order(&[0, 1, 2])),
        ("all but the first dropped", order(&[0])),
        ("every chunk dropped", order(&[])),
        ("the last chunk repeated", order(&[0, 1, 2, 3, 3])),
        ("a chunk of noise appended", file(&[body, &noise])),
        ("zeros appended", file(&[body, &zeros])),
        (
            "a chunk zeroed",
            file(&[chunks[0], &zeros, chunks[2], chunks[3]]),
        ),
        ("one byte appended", file(&[body, &[0]])),
        ("one byte cut off", sealed[..sealed.len() - 1].to_vec()),
        (
            "cut within a chunk",
            sealed[..header_len + chunk_len / 2].to_vec(),
        ),
        ("empty", Vec::new()),
    ];
    if header_len > 0 {
        all.push(("the header cut off", body.to_vec()));
    }
    all.into_iter()
        .map(|(what, bytes)| (what.to_owned(), bytes))
        .collect()
}

/// Puts `bytes` in the place of `extent`, reads `blob`, and takes it back.
fn replaced(
    account: &Account,
    blob: &Blob,
    extent: &Path,
    bytes: &[u8],
) -> Result<Reading, LabError> {
    with_tail(extent, 0, bytes, || account.read(blob))
}

fn alter_stolen(
    lab: &Lab,
    stolen: &StolenCopy,
    dir: &Path,
    rng: &mut ChaCha8Rng,
) -> Result<Evidence, LabError> {
    const EXTENTS: usize = 8;
    let (account, extents) = Account::copy_some(stolen, &lab.owner, dir, rng, EXTENTS)?;
    let mut bout = Bout::new(Path::new("extents"), "");
    for extent in extents {
        let header = extent.bytes.start + account.layout().0 as u64;
        let (file, end) = (&extent.file, extent.bytes.end);
        if end <= header {
            continue;
        }
        let blob_len = account.blob_len(&extent)?;
        let Reading::Data(truth) = account.read_like(blob_len) else {
            continue;
        };
        // What nothing refers to went when the account was opened.
        if !extent.is_there()? {
            continue;
        }
        let mut own = Bout::new(file, &truth);
        let at = rng.random_range(header..end);
        let flipped = [read_at(file, at, 1)?[0] ^ (1 << rng.random_range(0..8))];
        let read = || account.read_like(blob_len);
        own.record(patched(file, &[(at, &flipped)], read)?, Some(at), || {
            "one bit flipped".to_owned()
        });
        // Others lie behind one in a pack.
        if end == len(file)? {
            own.record(with_tail(file, end - 1, &[], read)?, Some(end - 1), || {
                "one byte cut off".to_owned()
            });
        }
        bout.merge(own);
    }
    Ok(bout.finish("bits flipped, bytes cut off"))
}

/// Attack 14.
pub(in crate::lab) fn move_chunks(lab: &Lab, exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    let evidence = both_arms(lab, exhibit, |arm, dir| moved(dir, arm))?;
    Ok(vec![Attack::number(14).outcome(
        Some("specimens"),
        exhibit,
        evidence,
    )])
}

fn moved(dir: &Path, arm: &Arm) -> Result<Evidence, LabError> {
    let account = Account::specimen(&dir.join("moves"), arm)?;
    let other_account = Account::specimen(&dir.join("others"), arm)?;
    let elsewhere = other_account
        .put("report.txt", text(2, SPECIMEN_LEN))?
        .sealed()?;
    let another = account
        .put("another.txt", text(3, SPECIMEN_LEN))?
        .sealed()?;
    let older = account.put("report.txt", text(4, SPECIMEN_LEN))?.sealed()?;
    let blob = account.put("report.txt", text(5, SPECIMEN_LEN))?;
    let sealed = blob.sealed()?;
    let (header, chunk) = account.layout();
    let mut bout = Bout::new(&blob.extent, &blob.truth());
    let donors = [
        ("another blob", another),
        ("an older version", older),
        ("another account", elsewhere),
    ];
    for (from, donor) in donors {
        for index in 0..SPECIMEN_LEN.div_ceil(CHUNK_LEN) {
            let start = header + index * chunk;
            let end = (start + chunk).min(sealed.len());
            let mut altered = sealed.clone();
            altered[start..end].copy_from_slice(&donor[start..end]);
            let reading = replaced(&account, &blob, &blob.extent, &altered)?;
            bout.record(reading, Some(start as u64), || {
                format!("chunk {index} of {from}")
            });
        }
        let mut altered = donor.clone();
        let reading = replaced(&account, &blob, &blob.extent, &altered)?;
        bout.record(reading, None, || format!("the whole extent of {from}"));
        if header > 0 {
            altered[..header].copy_from_slice(&sealed[..header]);
            let reading = replaced(&account, &blob, &blob.extent, &altered)?;
            bout.record(reading, None, || {
                format!("all chunks of {from} under the own header")
            });
        }
    }
    Ok(bout.finish("chunks and extents of other blobs, versions and accounts put in"))
}
