use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::{Compress, Compression, FlushCompress};
use rayon::prelude::*;

use super::blocks::Blocks;
use super::figures::{Figures, Hit};
use super::magic::{Magic, is_btree_page};
use super::members::{Members, Seen};
use super::search::{Match, Searcher, Stream};
use super::statistics::{CHI_SQUARE_LIMIT, PAGE, chi_square, histogram};
use crate::lab::LabError;

/// What the format documents as public: a header that is no noise and need not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Documented {
    /// Length of the header, in bytes.
    pub header: u64,
    /// Length of the sealed units behind it, in bytes: what is XORed with its neighbour.
    pub unit: usize,
}

impl Documented {
    /// No header, pages as units: any file.
    pub const NONE: Self = Self {
        header: 0,
        unit: PAGE,
    };

    /// By the first bytes of a file (docs/format.md). A file that only pretends to be one of ours
    /// hides its first page at most from the statistics, and nothing from the search.
    pub fn of(start: &[u8]) -> Self {
        let (header, unit) = match start.get(..8) {
            Some(b"atrestDB") => (4096, PAGE),
            Some(b"atrestBX") => (128, 65_536 + 16),
            Some(b"atrestBA") => (1552, PAGE),
            _ => return Self::NONE,
        };
        Self { header, unit }
    }
}

/// All detectors over one stream of bytes, in one pass. Memory does not depend on its length.
pub struct Scan<'a> {
    file: &'a str,
    documented: Documented,
    fed: u64,
    figures: Figures,
    canaries: Stream<'a>,
    members: Members<'a>,
    magic: Magic,
    page: Vec<u8>,
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
            documented,
            fed: 0,
            figures: Figures::default(),
            canaries: searcher.stream(),
            members: Members::new(searcher),
            magic: Magic::new(),
            page: Vec::with_capacity(PAGE),
            blocks: Blocks::new(),
            neighbours: Neighbours::new(documented.unit),
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
        let header_left = self.documented.header.saturating_sub(self.fed);
        let skip = header_left.min(bytes.len() as u64);
        figures.bytes += bytes.len() as u64;
        figures.documented += skip;
        self.fed += bytes.len() as u64;
        let mut rest = &bytes[usize::try_from(skip).expect("within a slice")..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(PAGE - self.page.len()));
            self.page.extend_from_slice(now);
            rest = later;
            if self.page.len() == PAGE {
                self.finish_page();
            }
        }
    }

    /// Ends the stream, and says what was seen.
    pub fn finish(mut self) -> Figures {
        let (file, figures) = (self.file, &mut self.figures);
        self.members.finish(|seen| note(figures, file, seen));
        self.magic
            .finish(|at, what| figures.structure(file, at, what));
        if !self.page.is_empty() {
            let counts = histogram(self.page.iter().copied());
            add(&mut self.figures.histogram, &counts);
            self.blocks.feed(&self.page);
            self.deflate.feed(&self.page);
        }
        (self.figures.blocks, self.figures.blocks_repeated) = self.blocks.counts();
        (self.figures.pairs, self.figures.pairs_flagged) = self.neighbours.counts();
        (self.figures.deflate_in, self.figures.deflate_out) = self.deflate.finish();
        self.figures
    }

    fn finish_page(&mut self) {
        let page: &[u8; PAGE] = self.page.as_slice().try_into().expect("a whole page");
        let counts = histogram(page.iter().copied());
        add(&mut self.figures.histogram, &counts);
        let chi = chi_square(&counts);
        self.figures.worst_page = self.figures.worst_page.max(chi);
        self.figures.pages_flagged += u64::from(chi > CHI_SQUARE_LIMIT);
        let at = self.documented.header + self.figures.pages * PAGE as u64;
        self.figures.pages += 1;
        if is_btree_page(page) {
            self.figures.structure(self.file, at, "SQLite b-tree page");
        }
        self.blocks.feed(page);
        self.neighbours.feed(page);
        self.deflate.feed(page);
        self.page.clear();
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
    fn new(unit: usize) -> Self {
        Self {
            unit: unit.max(PAGE),
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

/// Pages of two byte strings, and how many of them XOR to something that is not random.
fn xor_pages(a: &[u8], b: &[u8]) -> (u64, u64) {
    let pages = a.chunks_exact(PAGE).zip(b.chunks_exact(PAGE));
    pages.fold((0, 0), |(pairs, flagged), (a, b)| {
        let counts = histogram(a.iter().zip(b).map(|(a, b)| a ^ b));
        let alarm = chi_square(&counts) > CHI_SQUARE_LIMIT;
        (pairs + 1, flagged + u64::from(alarm))
    })
}

/// The XOR of two copies of one file, page by page at equal places, where they differ: the same
/// unit sealed twice under one keystream shows. Returns differing pages, and flagged ones.
pub fn xor_of_copies(a: &Path, b: &Path, documented: Documented) -> Result<(u64, u64), LabError> {
    let (mut pairs, mut flagged) = (0, 0);
    let mut at = documented.header;
    const STEP: usize = 1 << 18;
    loop {
        let (mine, theirs) = (
            crate::lab::theft::read_at(a, at, STEP)?,
            crate::lab::theft::read_at(b, at, STEP)?,
        );
        for (mine, theirs) in mine.chunks_exact(PAGE).zip(theirs.chunks_exact(PAGE)) {
            if mine != theirs {
                let (pair, alarm) = xor_pages(mine, theirs);
                pairs += pair;
                flagged += alarm;
            }
        }
        if mine.len() < STEP || theirs.len() < STEP {
            return Ok((pairs, flagged));
        }
        at += STEP as u64;
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
    let mut scan: Option<Scan<'_>> = None;
    loop {
        let n = file.read(&mut buffer).map_err(failed)?;
        let bytes = &buffer[..n];
        let scan =
            scan.get_or_insert_with(|| Scan::new(searcher, &name, Documented::of(bytes), len));
        if n == 0 {
            break;
        }
        scan.feed(bytes);
        progress(n as u64);
    }
    Ok(scan.map(Scan::finish).unwrap_or_default())
}
