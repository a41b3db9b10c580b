//! Compressed members anywhere in a stream: where they begin, what they hold. Over 400 lines because a hundred of
//! them are its tests, and the rest is one state machine.

use aho_corasick::{AhoCorasick, MatchKind};
use flate2::{Crc, Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::search::{Match, Searcher, Stream};

/// How compressed members begin: gzip (RFC 1952) with deflate; zlib (RFC 1950) with a 32 KiB
/// window at each level; zstd (RFC 8878).
const STARTS: [(&[u8], Kind); 6] = [
    (&[0x1f, 0x8b, 0x08], Kind::Gzip),
    (&[0x78, 0x01], Kind::Zlib),
    (&[0x78, 0x5e], Kind::Zlib),
    (&[0x78, 0x9c], Kind::Zlib),
    (&[0x78, 0xda], Kind::Zlib),
    (&[0x28, 0xb5, 0x2f, 0xfd], Kind::Zstd),
];
const LONGEST_START: usize = 4;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gzip,
    Zlib,
    Zstd,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
        }
    }

    /// How many are followed at a time. Deflate keeps 32 KiB of what it has made, zstd up to 8 MiB.
    fn most(self) -> usize {
        match self {
            Self::Gzip | Self::Zlib => 64,
            Self::Zstd => 8,
        }
    }
}

/// What was found in compressed members.
pub(super) enum Seen {
    /// A member that opened: to its end, or for long enough that chance is no explanation.
    Member { kind: &'static str, offset: u64 },
    /// A canary inside one.
    Canary {
        kind: &'static str,
        offset: u64,
        found: Match,
    },
    /// What begins as a member does, and was not opened: too many others were open.
    Passed,
}

/// Opens what looks like a compressed member anywhere in a stream, and searches what comes out.
/// One level deep. Most candidates in noise end within a few bytes; of those that go on, so many as
/// [`Kind::most`] says are followed at a time, each in constant memory. Others are counted.
pub(super) struct Members<'a> {
    searcher: &'a Searcher,
    starts: AhoCorasick,
    live: Vec<Member<'a>>,
    kept: Vec<u8>,
    start: u64,
    out: Vec<u8>,
    spare: Vec<Decompress>,
}

struct Member<'a> {
    kind: Kind,
    offset: u64,
    inflater: Inflater,
    /// Of what came out, for gzip.
    crc: Crc,
    /// Compressed bytes taken.
    taken: u64,
    produced: u64,
    search: Stream<'a>,
}

enum Inflater {
    /// Bytes of a gzip header that is not complete yet.
    GzipHeader(Vec<u8>),
    Deflate(Decompress),
    /// Bytes of a gzip trailer that is not complete yet.
    GzipTrailer(Vec<u8>),
    Zstd(Box<Decoder<'static>>),
}

#[derive(PartialEq, Eq)]
enum Progress {
    Hungry,
    Complete,
    Broken,
}

impl<'a> Members<'a> {
    const MAX_PRODUCED: u64 = 256 << 20;
    /// A member that did not end counts as opened when so many compressed bytes made sense, and became more: a few
    /// bytes of noise may stand for many, and any bytes may be stored as they are.
    const CONVINCING: u64 = 4 << 10;

    pub(super) fn new(searcher: &'a Searcher) -> Self {
        // None begins within another; of this kind of match the library looks at many bytes at once.
        let starts = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .build(STARTS.iter().map(|(bytes, _)| bytes));
        Self {
            searcher,
            starts: starts.expect("a short constant list"),
            live: Vec::new(),
            kept: Vec::new(),
            start: 0,
            out: vec![0; 16 << 10],
            spare: Vec::new(),
        }
    }

    pub(super) fn feed(&mut self, bytes: &[u8], mut seen: impl FnMut(Seen)) {
        for mut member in std::mem::take(&mut self.live) {
            let progress = member.feed(bytes, &mut self.out, &mut seen);
            self.settle(member, progress, &mut seen);
        }
        let old = self.kept.len();
        self.kept.extend_from_slice(bytes);
        let window = std::mem::take(&mut self.kept);
        let starts = self.starts.clone();
        for m in starts.find_iter(&window) {
            if m.end() <= old {
                continue;
            }
            let (_, kind) = STARTS[m.pattern().as_usize()];
            let input = &window[m.start()..];
            if !worth_trying(kind, input) {
                continue;
            }
            let alike = self.live.iter().filter(|member| member.kind == kind);
            let room = alike.count() < kind.most();
            let Some(inflater) = room.then(|| self.inflater(kind)).flatten() else {
                seen(Seen::Passed);
                continue;
            };
            let mut member = Member {
                kind,
                offset: self.start + m.start() as u64,
                inflater,
                crc: Crc::new(),
                taken: 0,
                produced: 0,
                search: self.searcher.stream(),
            };
            let progress = member.feed(input, &mut self.out, &mut seen);
            self.settle(member, progress, &mut seen);
        }
        let spent = window.len().saturating_sub(LONGEST_START - 1);
        self.start += spent as u64;
        self.kept = window;
        self.kept.drain(..spent);
    }

    /// The stream ended: what was still open counts when it gave enough.
    pub(super) fn finish(&mut self, mut seen: impl FnMut(Seen)) {
        for member in std::mem::take(&mut self.live) {
            self.settle(member, Progress::Broken, &mut seen);
        }
    }

    fn settle(&mut self, member: Member<'a>, progress: Progress, seen: &mut impl FnMut(Seen)) {
        let enough = match progress {
            Progress::Hungry if member.produced < Self::MAX_PRODUCED => {
                self.live.push(member);
                return;
            }
            Progress::Complete => member.produced >= 16,
            _ => {
                member.taken >= Self::CONVINCING
                    && member.produced > member.taken + member.taken / 16
            }
        };
        if enough {
            seen(Seen::Member {
                kind: member.kind.name(),
                offset: member.offset,
            });
        }
        if let Inflater::Deflate(inflater) = member.inflater {
            self.spare.push(inflater);
        }
    }

    fn inflater(&mut self, kind: Kind) -> Option<Inflater> {
        Some(match kind {
            Kind::Gzip => Inflater::GzipHeader(Vec::new()),
            Kind::Zlib => Inflater::Deflate(match self.spare.pop() {
                Some(mut spare) => {
                    spare.reset(true);
                    spare
                }
                None => Decompress::new(true),
            }),
            Kind::Zstd => {
                let mut decoder = Decoder::new().ok()?;
                // 8 MiB of window at most: what a header asks for is not trusted.
                decoder.set_parameter(DParameter::WindowLogMax(23)).ok()?;
                Inflater::Zstd(Box::new(decoder))
            }
        })
    }
}

/// What the bytes right after the start rule out: reserved gzip flags, a zlib stream whose first
/// block is of the reserved type.
fn worth_trying(kind: Kind, input: &[u8]) -> bool {
    match kind {
        Kind::Gzip => input.get(3).is_none_or(|flags| flags & 0xe0 == 0),
        Kind::Zlib => input.get(2).is_none_or(|first| first & 6 != 6),
        Kind::Zstd => true,
    }
}

impl Member<'_> {
    fn feed(&mut self, input: &[u8], out: &mut [u8], seen: &mut impl FnMut(Seen)) -> Progress {
        if let Inflater::GzipHeader(kept) = &mut self.inflater {
            kept.extend_from_slice(input);
            return match gzip_header_len(kept) {
                Ok(Some(len)) => {
                    let body = kept.split_off(len);
                    self.inflater = Inflater::Deflate(Decompress::new(false));
                    self.open(&body, out, seen)
                }
                Ok(None) => Progress::Hungry,
                Err(()) => Progress::Broken,
            };
        }
        self.open(input, out, seen)
    }

    fn open(&mut self, mut input: &[u8], out: &mut [u8], seen: &mut impl FnMut(Seen)) -> Progress {
        loop {
            let (used, made, progress) = match &mut self.inflater {
                Inflater::GzipHeader(_) => unreachable!("its header was read"),
                Inflater::GzipTrailer(kept) => {
                    let missing = input.len().min(GZIP_TRAILER - kept.len());
                    kept.extend_from_slice(&input[..missing]);
                    return trailer_fits(kept, &self.crc);
                }
                Inflater::Deflate(inflater) => deflate_step(inflater, input, out),
                Inflater::Zstd(decoder) => zstd_step(decoder, input, out),
            };
            let (kind, offset) = (self.kind.name(), self.offset);
            self.taken += used as u64;
            self.produced += made as u64;
            self.search.feed(&out[..made], |found| {
                seen(Seen::Canary {
                    kind,
                    offset,
                    found,
                });
            });
            input = &input[used..];
            if self.kind == Kind::Gzip {
                self.crc.update(&out[..made]);
                if progress == Progress::Complete {
                    self.inflater = Inflater::GzipTrailer(Vec::new());
                    continue;
                }
            }
            let stuck = used == 0 && made == 0;
            let enough = self.produced >= Members::MAX_PRODUCED;
            let waits = stuck || (input.is_empty() && made < out.len());
            if progress != Progress::Hungry || enough || waits {
                return progress;
            }
        }
    }
}

/// What follows the data of a gzip member, 4 bytes each: CRC32, and ISIZE, which is the length of what was
/// compressed, modulo 2^32 (RFC 1952 section 2.3.1).
const GZIP_TRAILER: usize = 8;

/// Whether a trailer is that of what came out, whose length is counted in 32 bits as well. Without it any bytes that end as deflate does would be a member.
fn trailer_fits(trailer: &[u8], crc: &Crc) -> Progress {
    let expected = [crc.sum().to_le_bytes(), crc.amount().to_le_bytes()].concat();
    match trailer.len() {
        GZIP_TRAILER if trailer == expected => Progress::Complete,
        GZIP_TRAILER => Progress::Broken,
        _ => Progress::Hungry,
    }
}

fn deflate_step(
    inflater: &mut Decompress,
    input: &[u8],
    out: &mut [u8],
) -> (usize, usize, Progress) {
    let (before_in, before_out) = (inflater.total_in(), inflater.total_out());
    let status = inflater.decompress(input, out, FlushDecompress::None);
    let used = usize::try_from(inflater.total_in() - before_in).expect("within the input");
    let made = usize::try_from(inflater.total_out() - before_out).expect("within the output");
    let progress = match status {
        Ok(Status::StreamEnd) => Progress::Complete,
        Ok(Status::Ok | Status::BufError) => Progress::Hungry,
        Err(_) => Progress::Broken,
    };
    (used, made, progress)
}

fn zstd_step(decoder: &mut Decoder<'_>, input: &[u8], out: &mut [u8]) -> (usize, usize, Progress) {
    let (mut from, mut to) = (InBuffer::around(input), OutBuffer::around(out));
    let progress = match decoder.run(&mut from, &mut to) {
        Ok(0) => Progress::Complete,
        Ok(_) => Progress::Hungry,
        Err(_) => Progress::Broken,
    };
    (from.pos(), to.pos(), progress)
}

/// Length of the gzip header (RFC 1952 section 2.3) that `bytes` begin with; `None` when they end
/// within it, an error when it is longer than one extra field (64 KiB at most) and as much of names.
fn gzip_header_len(bytes: &[u8]) -> Result<Option<usize>, ()> {
    const LIMIT: usize = 128 << 10;
    let text_end = |at: usize| Some(at + 1 + bytes.get(at..)?.iter().position(|&b| b == 0)?);
    let parse = || {
        let flags = *bytes.get(3)?;
        let mut at = 10;
        if flags & 4 != 0 {
            let len = bytes.get(at..at + 2)?;
            at += 2 + usize::from(u16::from_le_bytes([len[0], len[1]]));
        }
        for flag in [8, 16] {
            if flags & flag != 0 {
                at = text_end(at)?;
            }
        }
        if flags & 2 != 0 {
            at += 2;
        }
        (at <= bytes.len()).then_some(at)
    };
    match parse() {
        Some(len) if len <= LIMIT => Ok(Some(len)),
        None if bytes.len() <= LIMIT => Ok(None),
        _ => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::CanarySet;
    use std::io::Write;

    const SECRET: &str = "Kim Akers, IBAN NL91ABNA0417164300";

    fn document() -> Vec<u8> {
        let mut text = Vec::new();
        for i in 0..40_000 {
            writeln!(text, "line {i}: nothing to see {:x}", i * 7919).unwrap();
        }
        writeln!(text, "{SECRET}").unwrap();
        text
    }

    fn compressed() -> Vec<(&'static str, Vec<u8>)> {
        let (text, level) = (document(), flate2::Compression::default());
        let mut gzip = flate2::GzBuilder::new()
            .filename("ledger.csv")
            .extra([1, 2, 3])
            .write(Vec::new(), level);
        gzip.write_all(&text).unwrap();
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), level);
        zlib.write_all(&text).unwrap();
        vec![
            ("gzip", gzip.finish().unwrap()),
            ("zlib", zlib.finish().unwrap()),
            ("zstd", zstd::encode_all(&text[..], 3).unwrap()),
        ]
    }

    fn run(data: &[u8], piece: usize) -> (Vec<(&'static str, u64)>, usize) {
        let (opened, canaries, _) = run_all(data, piece);
        (opened, canaries)
    }

    /// Members that opened, canaries in them, and beginnings that were passed over.
    fn run_all(data: &[u8], piece: usize) -> (Vec<(&'static str, u64)>, usize, usize) {
        let mut set = CanarySet::default();
        set.plant([SECRET]);
        let searcher = Searcher::new(&set).unwrap();
        let mut members = Members::new(&searcher);
        let (mut opened, mut canaries, mut passed) = (Vec::new(), 0, 0);
        let mut seen = |s| match s {
            Seen::Member { kind, offset } => opened.push((kind, offset)),
            Seen::Canary { .. } => canaries += 1,
            Seen::Passed => passed += 1,
        };
        for part in data.chunks(piece) {
            members.feed(part, &mut seen);
        }
        members.finish(&mut seen);
        (opened, canaries, passed)
    }

    #[test]
    fn a_canary_deep_in_a_compressed_member_is_found_however_the_data_is_cut() {
        for (kind, member) in compressed() {
            let mut data = vec![0xaa; 777];
            data.extend(&member);
            data.extend([0xaa; 777]);
            for piece in [1, 100, 65_536, 1 << 24] {
                let (opened, canaries) = run(&data, piece);
                assert!(opened.contains(&(kind, 777)), "{kind} in pieces of {piece}");
                assert_eq!(canaries, 1, "{kind} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_member_that_decoys_hide_is_found_or_counted_as_not_looked_at() {
        let mut small = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        // Compressible: a stored text would be found in the decoys' blocks as well.
        small.write_all(&[b' '; 500]).unwrap();
        small.write_all(SECRET.as_bytes()).unwrap();
        let small = small.finish().unwrap();
        // Each begins a stored block of 65,535 bytes, and so stays open over all that follows.
        let decoy = [0x78, 0x01, 0x00, 0xff, 0xff, 0x00, 0x00];
        for (decoys, found) in [(0, 1), (9, 1), (60, 1), (80, 1)] {
            let data = [decoy.repeat(decoys), small.clone()].concat();
            for piece in [100, 1 << 16] {
                let (_, canaries, passed) = run_all(&data, piece);
                assert_eq!(canaries, found, "{decoys} decoys");
                assert_eq!(passed, decoys.saturating_sub(64), "{decoys} decoys");
            }
        }
        let endless = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0][..], &decoy[2..]].concat();
        let data = [endless.repeat(64), small].concat();
        assert_eq!(run_all(&data, 1000), (Vec::new(), 0, 1));
    }

    #[test]
    fn a_member_with_a_header_as_long_as_the_standard_allows_is_opened() {
        let longest = flate2::GzBuilder::new().extra([7; 65_535]);
        let longest = longest.filename([b'n'; 5000]);
        let mut gzip = longest.write(Vec::new(), flate2::Compression::best());
        gzip.write_all(SECRET.as_bytes()).unwrap();
        let gzip = gzip.finish().unwrap();
        for piece in [1000, 1 << 20] {
            assert_eq!(run(&gzip, piece), (vec![("gzip", 0)], 1));
        }
    }

    #[test]
    fn a_cut_member_still_gives_up_what_it_holds() {
        let (_, gzip) = compressed().swap_remove(0);
        assert_eq!(run(&gzip[..gzip.len() / 2], 4096).0, [("gzip", 0)]);
    }

    #[test]
    fn a_gzip_member_whose_checksum_is_not_that_of_its_data_is_none() {
        let mut small = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        small.write_all(b"a short text, and no more of it").unwrap();
        let small = small.finish().unwrap();
        for piece in [1, 100] {
            assert_eq!(run(&small, piece).0, [("gzip", 0)]);
            for at in [small.len() - 8, small.len() - 1] {
                let mut altered = small.clone();
                altered[at] ^= 1;
                assert_eq!(run(&altered, piece).0, []);
            }
        }
    }

    #[test]
    fn noise_holds_no_members() {
        use rand::{Rng, SeedableRng};
        let mut noise = vec![0; 8 << 20];
        rand_chacha::ChaCha8Rng::seed_from_u64(2).fill_bytes(&mut noise);
        assert_eq!(run(&noise, 1 << 18), (vec![], 0));
    }
}
