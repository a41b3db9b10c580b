use std::path::Path;

use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::lab::theft::read_at;
use crate::lab::{Attack, Documented, Evidence, Exhibit, Lab, LabError, Outcome};
use crate::sqlite::PageSize;

use super::alter::{len, patched, read_all, with_tail};
use super::bout::{Bout, Reading, both_arms, control};
use super::database::Database;
use super::vault::Arm;

/// The page size of an exhibit's protected copy, for specimens like it: from the header of the file,
/// sealed or (fileformat2.html, section 1.3) plain. The default when it says nothing sensible.
pub(super) fn page_size(exhibit: &Exhibit) -> Result<PageSize, LabError> {
    let layout = Documented::of(&exhibit.protected.path)?;
    let bytes = match layout.header {
        0 => match read_at(&exhibit.protected.path, 16, 2)?[..] {
            [0, 1] => 65_536,
            [high, low] => u32::from(u16::from_be_bytes([high, low])),
            _ => 0,
        },
        _ => u32::try_from(layout.unit).expect("at most 64 KiB"),
    };
    Ok(PageSize::new(bytes).unwrap_or(PageSize::DEFAULT))
}

/// Attack 6.
pub(in crate::lab) fn transplant(lab: &Lab, exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    let attack = Attack::number(6);
    let size = page_size(exhibit)?;
    let other = both_arms(lab, exhibit, |arm, dir| {
        from_another_database(dir, arm, size)
    })?;
    let verified = both_arms(lab, exhibit, |arm, dir| {
        from_a_fork(dir, arm, size, Database::verify)
    })?;
    let read = both_arms(lab, exhibit, |arm, dir| {
        from_a_fork(dir, arm, size, Database::read)
    })?;
    let place = both_arms(lab, exhibit, |arm, dir| from_another_place(dir, arm, size))?;
    Ok(vec![
        attack.outcome(
            Some("from another place in the same database"),
            exhibit,
            place,
        ),
        attack.outcome(
            Some("from another database under the same customer key"),
            exhibit,
            other,
        ),
        attack.outcome(
            Some("from a fork of the same database, to the same page number, found by `atrest sql verify`"),
            exhibit,
            verified,
        ),
        attack.declared(
            "from a fork of the same database, read before a verification",
            exhibit,
            read,
            "a fork has the same data encryption key and the same identity, so a page of it reads as \
             authentic. `atrest sql verify` finds it, since the pages do not sum up to what the vault \
             remembers, and nothing does before. It takes write access to the disk.",
        ),
    ])
}

/// Each page of a specimen in the place of the next one, which is gone.
fn from_another_place(dir: &Path, arm: &Arm, size: PageSize) -> Result<Evidence, LabError> {
    let victim = Database::specimen(dir, "copied", arm, size, 1)?;
    let did = "pages put in the next one's place";
    transplanted(&victim, &victim, 1, Database::read, did)
}

/// Each page of one specimen to the same number in another one, whose layout is the same.
fn from_another_database(dir: &Path, arm: &Arm, size: PageSize) -> Result<Evidence, LabError> {
    let donor = Database::specimen(dir, "donor", arm, size, 1)?;
    let victim = Database::specimen(dir, "victim", arm, size, 2)?;
    let did = "pages of another database put in";
    transplanted(&donor, &victim, 0, Database::read, did)
}

/// A copy is restored twice, both go on writing, and pages of one are put into the other, whose newest
/// state its vault remembers.
fn from_a_fork(
    dir: &Path,
    arm: &Arm,
    size: PageSize,
    read: fn(&Database) -> Reading,
) -> Result<Evidence, LabError> {
    let mut original = Database::specimen(dir, "forked", arm, size, 3)?.remembered(arm)?;
    let elsewhere = tempfile::tempdir_in(dir).map_err(|e| LabError::io(dir, e))?;
    let mut fork = original.fork(elsewhere.path())?;
    for (database, amount) in [(&mut original, 1_000_000), (&mut fork, 2_000_000)] {
        let connection = database.open()?;
        let connection = connection.connect()?;
        connection.execute("UPDATE ledger SET amount = amount + ?1", [amount])?;
        drop(connection);
        database.measure()?;
    }
    transplanted(&fork, &original, 0, read, "pages of a fork put in")
}

/// Each page of the donor so many places further on in the victim.
fn transplanted(
    donor: &Database,
    victim: &Database,
    further: u64,
    read: fn(&Database) -> Reading,
    did: &str,
) -> Result<Evidence, LabError> {
    let mut bout = Bout::new(&victim.path, &victim.truth);
    let page_len = usize::try_from(victim.page_size).expect("at most 64 KiB");
    for number in 1 + further..=donor.pages()?.min(victim.pages()?) {
        let page = read_at(&donor.path, donor.page_at(number - further), page_len)?;
        let at = victim.page_at(number);
        if page == read_at(&victim.path, at, page_len)? {
            continue;
        }
        let reading = patched(&victim.path, &[(at, &page)], || read(victim))?;
        bout.record(reading, Some(at), || {
            format!(
                "page {} of the donor was accepted as {number}",
                number - further
            )
        });
    }
    Ok(bout.finish(did))
}

/// Attack 7.
pub(in crate::lab) fn alter(lab: &Lab, exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    let attack = Attack::number(7);
    let size = page_size(exhibit)?;
    let flips = both_arms(lab, exhibit, |arm, dir| {
        flip_everywhere(lab, dir, arm, size)
    })?;
    let moved = both_arms(lab, exhibit, |arm, dir| swap_and_zero(dir, arm, size))?;
    let stolen = stolen_and_twin(lab, exhibit, |database, rng, plain| {
        alter_stolen(database, rng, plain)
    })?;
    Ok(vec![
        attack.outcome(
            Some("every byte of a specimen's header and of two of its pages, sampled ones of the others"),
            exhibit,
            flips,
        ),
        attack.outcome(
            Some("each page of a specimen swapped with the next, and zeroed"),
            exhibit,
            moved,
        ),
        attack.outcome(
            Some("sampled bytes and pages of the stolen copy"),
            exhibit,
            stolen,
        ),
    ])
}

/// Flips a bit in each byte of the header block, of page 1 and of one other page, and in sampled
/// bytes of all others. The control flips sampled bytes only: it needs one success.
fn flip_everywhere(lab: &Lab, dir: &Path, arm: &Arm, size: PageSize) -> Result<Evidence, LabError> {
    /// Bytes of each other page that are flipped.
    const SAMPLED: u64 = 16;
    let protected = arm.is_protected();
    let specimen = Database::specimen(dir, "flipped", arm, size, 4)?;
    let (page, pages) = (specimen.page_size, specimen.pages()?);
    let mut rng = lab.rng("flips");
    let whole = rng.random_range(2..=pages);
    let mut in_pages: Vec<u64> = Vec::new();
    for number in 1..=pages {
        let at = specimen.page_at(number);
        if protected && (number == 1 || number == whole) {
            in_pages.extend(at..at + page);
        } else {
            in_pages.extend((0..SAMPLED).map(|_| at + rng.random_range(0..page)));
        }
    }
    let in_header: Vec<u64> = (0..specimen.header_len()).collect();
    let mut flip = |at: u64| (at, 1 << rng.random_range(0..8));
    let in_header: Vec<(u64, u8)> = in_header.into_iter().map(&mut flip).collect();
    let in_pages: Vec<(u64, u8)> = in_pages.into_iter().map(&mut flip).collect();
    let header = in_parts(dir, &specimen, &in_header, |_| Ok(Database::read))?;
    let mut all = in_parts(dir, &specimen, &in_pages, Database::rereader)?;
    let harmless = [header.harmless(), all.harmless()];
    all.merge(header);
    let mut evidence = all.finish("bits flipped");
    if protected {
        evidence.summary.push_str(&match harmless {
            [0, 0] => String::new(),
            [n, 0] => format!(
                " The {n} without effect lie in one of the header's two copies, while the other one \
                 was authentic and whole."
            ),
            [n, m] => format!(" Of those without effect, {n} lie in the header and {m} in pages."),
        });
    }
    Ok(evidence)
}

/// Flips bits of `specimen` and reads it after each, as `reader` says; each thread on a copy of its
/// own.
fn in_parts<R: FnMut(&Database) -> Reading>(
    dir: &Path,
    specimen: &Database,
    flips: &[(u64, u8)],
    reader: impl Fn(&Database) -> Result<R, LabError> + Sync,
) -> Result<Bout, LabError> {
    let part = |flips: &[(u64, u8)]| -> Result<Bout, LabError> {
        let own = tempfile::tempdir_in(dir).map_err(|e| LabError::io(dir, e))?;
        let specimen = specimen.fork(own.path())?;
        let bytes = read_all(&specimen.path)?;
        let mut read = reader(&specimen)?;
        let mut bout = Bout::new(&specimen.path, &specimen.truth);
        for &(at, bit) in flips {
            let byte = bytes[usize::try_from(at).expect("a small file")] ^ bit;
            let reading = patched(&specimen.path, &[(at, &[byte])], || read(&specimen))?;
            bout.record(reading, Some(at), || {
                format!("bits {bit:#04x} flipped, and other data was read")
            });
        }
        Ok(bout)
    };
    let threads = rayon::current_num_threads();
    let parts: Vec<&[(u64, u8)]> = flips.chunks(flips.len().div_ceil(threads).max(1)).collect();
    let parts: Vec<Bout> = parts.into_par_iter().map(part).collect::<Result<_, _>>()?;
    let mut sum = Bout::new(&specimen.path, &specimen.truth);
    parts.into_iter().for_each(|part| sum.merge(part));
    Ok(sum)
}

fn swap_and_zero(dir: &Path, arm: &Arm, size: PageSize) -> Result<Evidence, LabError> {
    let specimen = Database::specimen(dir, "swapped", arm, size, 5)?;
    let mut bout = Bout::new(&specimen.path, &specimen.truth);
    for number in 1..=specimen.pages()? {
        // By an ordinary read: what only a verification notices was read until then.
        zero_page(&specimen, number, Database::read, &mut bout)?;
        if number > 1 {
            swap_pages(&specimen, (number - 1, number), Database::read, &mut bout)?;
        }
    }
    Ok(bout.finish("pages swapped and zeroed"))
}

fn zero_page(
    database: &Database,
    number: u64,
    read: fn(&Database) -> Reading,
    bout: &mut Bout,
) -> Result<(), LabError> {
    let at = database.page_at(number);
    let zeros = vec![0; usize::try_from(database.page_size).expect("at most 64 KiB")];
    let reading = patched(&database.path, &[(at, &zeros)], || read(database))?;
    bout.record(reading, Some(at), || format!("page {number} zeroed"));
    Ok(())
}

fn swap_pages(
    database: &Database,
    (a, b): (u64, u64),
    read: fn(&Database) -> Reading,
    bout: &mut Bout,
) -> Result<(), LabError> {
    let page_len = usize::try_from(database.page_size).expect("at most 64 KiB");
    let places = [a, b].map(|n| database.page_at(n));
    let first = read_at(&database.path, places[0], page_len)?;
    let second = read_at(&database.path, places[1], page_len)?;
    let patches = [(places[0], &second[..]), (places[1], &first[..])];
    let reading = patched(&database.path, &patches, || read(database))?;
    bout.record(reading, Some(places[0]), || {
        format!("pages {a} and {b} swapped")
    });
    Ok(())
}

/// How many alterations of a database of `size` bytes are tried: each costs reading all of it.
fn trials(size: u64) -> u64 {
    const BUDGET: u64 = 256 << 20;
    (BUDGET / size.max(1)).clamp(2, 24)
}

fn alter_stolen(
    database: &Database,
    rng: &mut ChaCha8Rng,
    plain: bool,
) -> Result<Evidence, LabError> {
    let (size, pages) = (len(&database.path)?, database.pages()?);
    let mut bout = Bout::new(&database.path, &database.truth);
    for trial in 0..trials(size) {
        // The control needs one success, and reads everything in order to see it.
        if plain && bout.succeeded() {
            break;
        }
        let page = |rng: &mut ChaCha8Rng| rng.random_range(1..=pages);
        match trial % 4 {
            2 if pages > 1 => {
                let a = rng.random_range(1..pages);
                let b = rng.random_range(a + 1..=pages);
                swap_pages(database, (a, b), Database::verify, &mut bout)?;
            }
            3 => zero_page(database, page(rng), Database::verify, &mut bout)?,
            _ => {
                let at = rng.random_range(database.header_len()..size);
                let byte = read_at(&database.path, at, 1)?[0] ^ (1 << rng.random_range(0..8));
                // The first one goes all the way through SQLite, the others through `verify`.
                let read = || {
                    if trial == 0 {
                        database.read()
                    } else {
                        database.verify()
                    }
                };
                let reading = patched(&database.path, &[(at, &[byte])], read)?;
                bout.record(reading, Some(at), || "one bit flipped".to_owned());
            }
        }
    }
    Ok(bout.finish("bits flipped, pages swapped and zeroed"))
}

/// Runs `attack` on a copy of the stolen copy, and on one of its twin as the control.
fn stolen_and_twin(
    lab: &Lab,
    exhibit: &Exhibit,
    attack: impl Fn(&Database, &mut ChaCha8Rng, bool) -> Result<Evidence, LabError>,
) -> Result<Evidence, LabError> {
    let arm = |plain: bool| {
        let dir = lab.scratch()?;
        let stolen = match plain {
            true => &exhibit.twin,
            false => &exhibit.protected,
        };
        let database = Database::copy(stolen, &lab.owner, dir.path())?;
        attack(&database, &mut lab.rng(&exhibit.name), plain)
    };
    let mut evidence = arm(false)?;
    evidence.control = Some(control(arm(true)?));
    Ok(evidence)
}

/// Attack 8.
pub(in crate::lab) fn cut(lab: &Lab, exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    let attack = Attack::number(8);
    let size = page_size(exhibit)?;
    let specimen = both_arms(lab, exhibit, |arm, dir| {
        let specimen = Database::specimen(dir, "cut", arm, size, 6)?;
        cut_and_append(&specimen, &mut lab.rng("cuts"), false)
    })?;
    let stolen = stolen_and_twin(lab, exhibit, cut_and_append)?;
    Ok(vec![
        attack.outcome(Some("a specimen"), exhibit, specimen),
        attack.outcome(Some("the stolen copy"), exhibit, stolen),
    ])
}

fn cut_and_append(
    database: &Database,
    rng: &mut ChaCha8Rng,
    stop_early: bool,
) -> Result<Evidence, LabError> {
    let (size, page, pages) = (len(&database.path)?, database.page_size, database.pages()?);
    let page_len = usize::try_from(page).expect("at most 64 KiB");
    let mut noise = vec![0; page_len];
    rng.fill_bytes(&mut noise);
    let last = read_at(&database.path, database.page_at(pages), page_len)?;
    let inside = database.page_at(pages) + rng.random_range(1..page);
    let without_header = read_at(
        &database.path,
        database.header_len().max(page),
        usize::try_from(size).expect("a file of this machine"),
    )?;
    let zeros = vec![0; page_len];
    let cases: [(&str, u64, &[u8]); 8] = [
        ("everything cut off", 0, &[]),
        ("cut in the middle of the last page", inside, &[]),
        ("the last page cut off", database.page_at(pages), &[]),
        ("all but page 1 cut off", database.page_at(1) + page, &[]),
        ("the last page appended again", size, &last),
        ("random bytes appended", size, &noise),
        ("zeros appended", size, &zeros),
        ("the first page or header cut off", 0, &without_header),
    ];
    let mut bout = Bout::new(&database.path, &database.truth);
    for (what, at, tail) in cases {
        if stop_early && bout.succeeded() {
            break;
        }
        let reading: Reading = with_tail(&database.path, at, tail, || database.verify())?;
        bout.record(reading, Some(at), || what.to_owned());
    }
    Ok(bout.finish("cut and lengthened"))
}
