use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::{Compress, Compression, FlushCompress};
use rayon::prelude::*;

use super::blocks::Blocks;
use super::figures::{Figures, Hit};
use super::layout::Documented;
use super::magic::{Magic, is_btree_page};
use super::members::{Members, Seen};
use super::search::{Match, Searcher, Stream};
use super::statistics::{CHI_SQUARE_LIMIT, CHI_SQUARE_MIN, PAGE, chi_square, histogram};
use crate::lab::LabError;
use crate::lab::theft::read_at;

/// All detectors over one stream of bytes, in one pass. Memory does not depend on its length.
pub struct Scan<'a> {
    file: &'a str,
    documented: Documented,
    fed: u64,
    figures: Figures,
    canaries: Stream<'a>,
    members: Members<'a>,
    magic: Magic,
    /// The file's pages as they lie there.
    raw: Pages,
    /// The bytes that are not public, in pages.
    secret: Pages,
    blocks: Blocks,
    neighbours: Neighbours,
    deflate: Deflate,
}

impl<'a> Scan<'a> {
    /// Starts. `file` is the name that findings carry; `len`, the stream's length, decides how much
    /// of it the compressor gets.
    pub fn new(searcher: &'a Searcher, file: &'a str, documented: Documented, len: u64) -> Self {
        Self {
            file,
            neighbours: Neighbours::new(documented.secret_unit()),
            documented,
            fed: 0,
            figures: Figures::default(),
            canaries: searcher.stream(),
            members: Members::new(searcher),
            magic: Magic::new(),
            raw: Pages::default(),
            secret: Pages::default(),
            blocks: Blocks::new(),
            deflate: Deflate::new(len),
        }
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        let (file, figures) = (self.file, &mut self.figures);
        self.canaries
            .feed(bytes, |m| figures.hit(hit(file, m, None)));
        self.members.feed(bytes, |seen| note(figures, file, seen));
        self.magic
            .feed(bytes, |at, what| figures.structure(file, at, what));
        self.raw.feed(bytes, |at, page| {
            if is_btree_page(page) {
                figures.structure(file, at, "SQLite b-tree page");
            }
        });
        let (blocks, neighbours, deflate) =
            (&mut self.blocks, &mut self.neighbours, &mut self.deflate);
        let (secret, mut kept) = (&mut self.secret, 0);
        self.documented.secret(self.fed, bytes, |piece| {
            kept += piece.len() as u64;
            neighbours.feed(piece);
            secret.feed(piece, |_, page| {
                let counts = histogram(page.iter().copied());
                add(&mut figures.histogram, &counts);
                let chi = chi_square(&counts);
                figures.pages += 1;
                figures.pages_flagged += u64::from(chi > CHI_SQUARE_LIMIT);
                figures.worst_page = figures.worst_page.max(chi);
                blocks.feed(page);
                deflate.feed(page);
            });
        });
        figures.bytes += bytes.len() as u64;
        figures.documented += bytes.len() as u64 - kept;
        self.fed += bytes.len() as u64;
    }

    /// Ends the stream, and says what was seen.
    pub fn finish(mut self) -> Figures {
        let (file, figures) = (self.file, &mut self.figures);
        self.members.finish(|seen| note(figures, file, seen));
        self.magic
            .finish(|at, what| figures.structure(file, at, what));
        let rest = &self.secret.page;
        let counts = histogram(rest.iter().copied());
        add(&mut self.figures.histogram, &counts);
        self.blocks.feed(rest);
        self.deflate.feed(rest);
        (self.figures.blocks, self.figures.blocks_repeated) = self.blocks.counts();
        (self.figures.pairs, self.figures.pairs_flagged) = self.neighbours.counts();
        (self.figures.deflate_in, self.figures.deflate_out) = self.deflate.finish();
        self.figures
    }
}

/// Cuts a stream into pages.
#[derive(Default)]
struct Pages {
    page: Vec<u8>,
    at: u64,
}

impl Pages {
    /// Calls `whole` with each page that is complete, and where it begins.
    fn feed(&mut self, mut bytes: &[u8], mut whole: impl FnMut(u64, &[u8; PAGE])) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PAGE - self.page.len()));
            self.page.extend_from_slice(now);
            bytes = later;
            if let Ok(page) = self.page.as_slice().try_into() {
                whole(self.at, page);
                self.at += PAGE as u64;
                self.page.clear();
            }
        }
    }
}

fn add(sum: &mut [u64], counts: &[u32; 256]) {
    for (sum, &count) in sum.iter_mut().zip(counts) {
        *sum += u64::from(count);
    }
}

fn hit(file: &str, found: Match, inside: Option<String>) -> Hit {
    Hit {
        file: file.to_owned(),
        offset: found.offset,
        canary: found.canary,
        encoding: found.encoding,
        xor_key: (found.key != 0).then_some(found.key),
        inside,
    }
}

fn note(figures: &mut Figures, file: &str, seen: Seen) {
    match seen {
        Seen::Member { kind, offset } => {
            figures.members += 1;
            figures.structure(file, offset, &format!("{kind} member"));
        }
        Seen::Canary {
            kind,
            offset,
            found,
        } => figures.hit(hit(file, found, Some(format!("{kind} at {offset}")))),
    }
}

/// The XOR of each unit with the next one. Two units under one keystream (a nonce used again in
/// counter mode) XOR to the XOR of their plaintexts, which is not random.
struct Neighbours {
    unit: usize,
    current: Vec<u8>,
    previous: Vec<u8>,
    pairs: u64,
    flagged: u64,
}

impl Neighbours {
    /// `unit`: how many bytes one nonce seals. Short units are taken several together.
    fn new(unit: usize) -> Self {
        const SHORTEST: usize = 2048;
        Self {
            unit: unit * SHORTEST.div_ceil(unit).max(1),
            current: Vec::new(),
            previous: Vec::new(),
            pairs: 0,
            flagged: 0,
        }
    }

    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(self.unit - self.current.len()));
            self.current.extend_from_slice(now);
            bytes = later;
            if self.current.len() == self.unit {
                self.compare();
                std::mem::swap(&mut self.current, &mut self.previous);
                self.current.clear();
            }
        }
    }

    fn compare(&mut self) {
        let (pairs, flagged) = xor_pages(&self.previous, &self.current);
        self.pairs += pairs;
        self.flagged += flagged;
    }

    fn counts(&mut self) -> (u64, u64) {
        if !self.current.is_empty() {
            self.compare();
        }
        (self.pairs, self.flagged)
    }
}

/// Pieces of two byte strings, at most a page each, and how many of them XOR to something that is
/// not random. Pieces that are too short for the statistic are left out.
fn xor_pages(a: &[u8], b: &[u8]) -> (u64, u64) {
    let whole = |(a, b): &(&[u8], &[u8])| a.len() == b.len() && a.len() as u64 >= CHI_SQUARE_MIN;
    let pieces = a.chunks(PAGE).zip(b.chunks(PAGE)).filter(whole);
    pieces.fold((0, 0), |(pairs, flagged), (a, b)| {
        let counts = histogram(a.iter().zip(b).map(|(a, b)| a ^ b));
        let alarm = chi_square(&counts) > CHI_SQUARE_LIMIT;
        (pairs + 1, flagged + u64::from(alarm))
    })
}

/// The XOR of two copies of one file, unit by unit at equal places, where they differ: the same
/// unit sealed twice under one keystream shows. Returns differing pieces, and flagged ones.
pub fn xor_of_copies(a: &Path, b: &Path) -> Result<(u64, u64), LabError> {
    let layout = Documented::of(a)?;
    let (mut pairs, mut flagged) = (0, 0);
    let mut at = layout.header;
    loop {
        let mine = read_at(a, at, layout.unit)?;
        let theirs = read_at(b, at, layout.unit)?;
        if mine.len() < layout.unit || theirs.len() < layout.unit {
            return Ok((pairs, flagged));
        }
        if mine != theirs {
            let [mine, theirs] = [mine, theirs].map(|unit| {
                let mut secret = Vec::with_capacity(unit.len());
                layout.secret(layout.header, &unit, |piece| {
                    secret.extend_from_slice(piece)
                });
                secret
            });
            let (pair, alarm) = xor_pages(&mine, &theirs);
            pairs += pair;
            flagged += alarm;
        }
        at += layout.unit as u64;
    }
}

/// The deflate ratio of evenly spread samples.
struct Deflate {
    compressor: Compress,
    every: u64,
    pages: u64,
    input: Vec<u8>,
    out: Vec<u8>,
    total: (u64, u64),
}

impl Deflate {
    /// Bytes that the compressor gets at most.
    const SAMPLE: u64 = 4 << 20;
    /// Bytes of one sample: two windows of deflate.
    const RUN: usize = 64 << 10;

    fn new(len: u64) -> Self {
        Self {
            compressor: Compress::new(Compression::fast(), false),
            every: len.div_ceil(Self::SAMPLE).max(1),
            pages: 0,
            input: Vec::with_capacity(Self::RUN),
            out: vec![0; 2 * Self::RUN],
            total: (0, 0),
        }
    }

    fn feed(&mut self, page: &[u8]) {
        let run = self.pages / (Self::RUN / PAGE) as u64;
        self.pages += 1;
        if run.is_multiple_of(self.every) {
            self.input.extend_from_slice(page);
        }
        if self.input.len() >= Self::RUN {
            self.compress();
        }
    }

    fn compress(&mut self) {
        self.compressor.reset();
        let finish = FlushCompress::Finish;
        // The output has room for twice the input, more than deflate's worst case.
        let done = self.compressor.compress(&self.input, &mut self.out, finish);
        if done.is_ok() {
            self.total.0 += self.compressor.total_in();
            self.total.1 += self.compressor.total_out();
        }
        self.input.clear();
    }

    fn finish(mut self) -> (u64, u64) {
        // Below a kilobyte the compressor's own overhead decides.
        if self.input.len() >= 1024 {
            self.compress();
        }
        self.total
    }
}

/// Runs all detectors over every file below `root`, which may be one file. Findings carry paths
/// relative to `root`. `progress` is told bytes done.
pub fn scan_copy(
    root: &Path,
    searcher: &Searcher,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Figures, LabError> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(root)
        .follow_links(false)
        .sort_by_file_name()
    {
        let entry = entry.map_err(|e| LabError::io(root, e.into()))?;
        if entry.file_type().is_file() {
            files.push(entry.into_path());
        }
    }
    scan_files(root, &files, searcher, progress)
}

/// As [`scan_copy`], over the files given.
pub(in crate::lab) fn scan_files(
    root: &Path,
    files: &[std::path::PathBuf],
    searcher: &Searcher,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Figures, LabError> {
    let one = |path: &std::path::PathBuf| scan_file(root, path, searcher, progress);
    let all: Vec<Figures> = files.par_iter().map(one).collect::<Result<_, _>>()?;
    let mut sum = Figures::default();
    all.into_iter().for_each(|figures| sum.merge(figures));
    Ok(sum)
}

fn scan_file(
    root: &Path,
    path: &Path,
    searcher: &Searcher,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Figures, LabError> {
    let failed = |e| LabError::io(path, e);
    let mut file = File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    let name = match path.strip_prefix(root) {
        Ok(relative) if relative != Path::new("") => relative.to_string_lossy(),
        _ => path.file_name().unwrap_or_default().to_string_lossy(),
    };
    let mut buffer = vec![0; 1 << 17];
    let mut scan = Scan::new(searcher, &name, Documented::of(path)?, len);
    loop {
        let n = file.read(&mut buffer).map_err(failed)?;
        if n == 0 {
            return Ok(scan.finish());
        }
        scan.feed(&buffer[..n]);
        progress(n as u64);
    }
}
