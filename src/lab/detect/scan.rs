use super::blocks::Blocks;
use super::deflate::Deflate;
use super::figures::{Figures, Hit};
use super::layout::Documented;
use super::magic::{Magic, is_btree_page};
use super::members::{Members, Seen};
use super::neighbours::Neighbours;
use super::search::{Match, Searcher, Stream};
use super::statistics::{CHI_SQUARE_LIMIT, PAGE, chi_square, histogram};

/// All detectors over one stream of bytes, in one pass. Memory does not depend on its length.
pub struct Scan<'a> {
    search: Search<'a>,
    structures: Structures<'a>,
    statistics: Statistics,
    neighbours: (Secret, Neighbours),
}

impl<'a> Scan<'a> {
    /// From so many bytes on, a piece of the stream is looked at by several threads: one a detector.
    pub const PIECE: usize = 1 << 20;

    /// Starts. `file` is the name that findings carry; `len`, the stream's length, decides which parts of
    /// it are samples.
    pub fn new(searcher: &'a Searcher, file: &'a str, documented: Documented, len: u64) -> Self {
        Self {
            search: Search::new(searcher, file),
            structures: Structures {
                file,
                magic: Magic::new(),
                pages: Pages::default(),
                figures: Figures::default(),
            },
            neighbours: (
                Secret::of(&documented),
                Neighbours::new(documented.secret_unit()),
            ),
            statistics: Statistics {
                secret: Secret::of(&documented),
                pages: Pages::default(),
                blocks: Blocks::new(len),
                deflate: Deflate::new(len),
                figures: Figures::default(),
            },
        }
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        let Self {
            search,
            structures,
            statistics,
            neighbours: (secret, neighbours),
        } = self;
        let mut neighbours = || secret.feed(bytes, |piece| neighbours.feed(piece));
        if bytes.len() < Self::PIECE {
            search.feed(bytes);
            structures.feed(bytes);
            statistics.feed(bytes);
            neighbours();
            return;
        }
        let texts = || rayon::join(|| search.feed(bytes), || structures.feed(bytes));
        rayon::join(texts, || rayon::join(|| statistics.feed(bytes), neighbours));
    }

    /// Ends the stream, and says what was seen.
    pub fn finish(mut self) -> Figures {
        let mut figures = self.statistics.finish();
        (figures.pairs, figures.pairs_flagged) = self.neighbours.1.counts();
        figures.merge(self.structures.finish());
        figures.merge(self.search.finish());
        figures
    }
}

/// The search for known texts in one stream, also within compressed members: a part of [`Scan`].
pub struct Search<'a> {
    file: &'a str,
    canaries: Stream<'a>,
    members: Members<'a>,
    /// What was found as it lies there, and in members.
    figures: [Figures; 2],
}

impl<'a> Search<'a> {
    /// Starts. `file` is the name that findings carry.
    pub fn new(searcher: &'a Searcher, file: &'a str) -> Self {
        Self {
            file,
            canaries: searcher.stream(),
            members: Members::new(searcher),
            figures: [Figures::default(), Figures::default()],
        }
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        let (file, [plain, within]) = (self.file, &mut self.figures);
        self.canaries.feed(bytes, |m| plain.hit(hit(file, m, None)));
        self.members.feed(bytes, |seen| note(within, file, seen));
    }

    /// Ends the stream, and says what was found.
    pub fn finish(mut self) -> Figures {
        let (file, [mut plain, mut within]) = (self.file, self.figures);
        self.members.finish(|seen| note(&mut within, file, seen));
        plain.merge(within);
        plain
    }
}

/// File signatures, and pages of SQLite.
struct Structures<'a> {
    file: &'a str,
    magic: Magic,
    /// The file's pages as they lie there.
    pages: Pages,
    figures: Figures,
}

impl Structures<'_> {
    fn feed(&mut self, bytes: &[u8]) {
        let (file, figures) = (self.file, &mut self.figures);
        self.magic
            .feed(bytes, |at, what| figures.structure(file, at, what));
        self.pages.feed(bytes, |at, page| {
            if is_btree_page(page) {
                figures.structure(file, at, "SQLite b-tree page");
            }
        });
    }

    fn finish(mut self) -> Figures {
        let (file, figures) = (self.file, &mut self.figures);
        self.magic
            .finish(|at, what| figures.structure(file, at, what));
        self.figures
    }
}

/// Numbers of the bytes that are not public.
struct Statistics {
    secret: Secret,
    /// The bytes that are not public, in pages.
    pages: Pages,
    blocks: Blocks,
    deflate: Deflate,
    figures: Figures,
}

impl Statistics {
    fn feed(&mut self, bytes: &[u8]) {
        let Self {
            secret,
            pages,
            blocks,
            deflate,
            figures,
        } = self;
        let mut kept = 0;
        secret.feed(bytes, |piece| {
            kept += piece.len() as u64;
            pages.feed(piece, |_, page| {
                let counts = histogram(page);
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
    }

    fn finish(mut self) -> Figures {
        let rest = &self.pages.page;
        add(&mut self.figures.histogram, &histogram(rest));
        self.blocks.feed(rest);
        self.deflate.feed(rest);
        (self.figures.blocks, self.figures.blocks_repeated) = self.blocks.counts();
        (self.figures.deflate_in, self.figures.deflate_out) = self.deflate.finish();
        self.figures
    }
}

/// A stream without its public bytes.
struct Secret {
    documented: Documented,
    fed: u64,
}

impl Secret {
    fn of(documented: &Documented) -> Self {
        Self {
            documented: documented.clone(),
            fed: 0,
        }
    }

    fn feed(&mut self, bytes: &[u8], keep: impl FnMut(&[u8])) {
        self.documented.secret(self.fed, bytes, keep);
        self.fed += bytes.len() as u64;
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
            if self.page.is_empty()
                && let Some((page, later)) = bytes.split_first_chunk()
            {
                whole(self.at, page);
                self.at += PAGE as u64;
                bytes = later;
                continue;
            }
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
        Seen::Passed => figures.members_passed += 1,
    }
}
