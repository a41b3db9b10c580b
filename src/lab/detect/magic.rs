use aho_corasick::{AhoCorasick, MatchKind};

use super::statistics::PAGE;

/// How file formats begin, each long enough that it does not turn up by chance (the shorter ones
/// are checked further, in [`plausible`]).
const SIGNATURES: &[(&str, &[u8])] = &[
    ("SQLite database", b"SQLite format 3\0"),
    (
        "SQLite write-ahead log",
        &[0x37, 0x7f, 0x06, 0x82, 0x00, 0x2d, 0xe2, 0x18],
    ),
    (
        "SQLite write-ahead log",
        &[0x37, 0x7f, 0x06, 0x83, 0x00, 0x2d, 0xe2, 0x18],
    ),
    (
        "SQLite rollback journal",
        &[0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7],
    ),
    ("PDF document", b"%PDF-1."),
    ("PNG image", b"\x89PNG\r\n\x1a\n"),
    ("JPEG image", b"\xff\xd8\xff\xe0\x00\x10JFIF"),
    ("GIF image", b"GIF89a"),
    ("ZIP archive or Office document", b"PK\x03\x04"),
    (
        "OLE document",
        &[0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1],
    ),
    ("7-Zip archive", &[0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c]),
    ("xz archive", &[0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]),
    ("RAR archive", b"Rar!\x1a\x07"),
    ("ELF program", &[0x7f, 0x45, 0x4c, 0x46, 0x02, 0x01, 0x01]),
    ("XML document", b"<?xml version="),
    ("RTF document", b"{\\rtf1\\"),
    ("PEM key or certificate", b"-----BEGIN "),
];

/// How much of a file follows a signature before it can be judged.
const LOOK_AHEAD: usize = 32;

/// Finds file signatures at any offset, and SQLite b-tree pages at page offsets.
pub(super) struct Magic {
    automaton: AhoCorasick,
    kept: Vec<u8>,
    start: u64,
}

impl Magic {
    pub(super) fn new() -> Self {
        // None begins within another; of this kind of match the library looks at many bytes at once.
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .build(SIGNATURES.iter().map(|(_, bytes)| bytes));
        Self {
            automaton: automaton.expect("a short constant list"),
            kept: Vec::new(),
            start: 0,
        }
    }

    /// Looks through the next bytes; `found` is told an offset and what begins there.
    pub(super) fn feed(&mut self, bytes: &[u8], found: impl FnMut(u64, &'static str)) {
        self.kept.extend_from_slice(bytes);
        let judged = self.kept.len().saturating_sub(LOOK_AHEAD);
        self.look(judged, found);
        self.kept.drain(..judged);
        self.start += judged as u64;
    }

    /// Looks through what is left at the end.
    pub(super) fn finish(&mut self, found: impl FnMut(u64, &'static str)) {
        self.look(self.kept.len(), found);
        self.kept.clear();
    }

    fn look(&self, judged: usize, mut found: impl FnMut(u64, &'static str)) {
        for m in self.automaton.find_iter(&self.kept) {
            let (name, _) = SIGNATURES[m.pattern().as_usize()];
            if m.start() < judged && plausible(&self.kept[m.start()..]) {
                found(self.start + m.start() as u64, name);
            }
        }
    }
}

/// Whether a ZIP's local header (APPNOTE.TXT 4.3.7) makes sense; other signatures are long enough.
fn plausible(bytes: &[u8]) -> bool {
    if !bytes.starts_with(b"PK\x03\x04") {
        return true;
    }
    let Some(header) = bytes.get(..30) else {
        return false;
    };
    let u16_at = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let known_method = matches!(u16_at(8), 0 | 8 | 9 | 12 | 14 | 93 | 95 | 98);
    u16_at(4) <= 63 && known_method && (1..=1024).contains(&u16_at(26))
}

/// Whether `page` is laid out as a b-tree page of SQLite (fileformat2.html, section 1.6): type,
/// cell count, start of the content, and every cell pointer within it.
pub(super) fn is_btree_page(page: &[u8; PAGE]) -> bool {
    let header_len = match page[0] {
        2 | 5 => 12,
        10 | 13 => 8,
        _ => return false,
    };
    let u16_at = |at: usize| usize::from(u16::from_be_bytes([page[at], page[at + 1]]));
    let (free, cells, content) = (u16_at(1), u16_at(3), u16_at(5));
    let pointers = header_len..header_len + 2 * cells;
    let in_order = cells > 0 && pointers.end <= content && content < PAGE;
    in_order
        && (free == 0 || (content..PAGE).contains(&free))
        && page[7] <= 60
        && pointers
            .step_by(2)
            .all(|at| (content..PAGE).contains(&u16_at(at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(data: &[u8], piece: usize) -> Vec<(u64, &'static str)> {
        let (mut magic, mut all) = (Magic::new(), Vec::new());
        for part in data.chunks(piece) {
            magic.feed(part, |at, what| all.push((at, what)));
        }
        magic.finish(|at, what| all.push((at, what)));
        all
    }

    #[test]
    fn every_signature_is_seen_once_wherever_it_lies() {
        for (name, bytes) in SIGNATURES.iter().filter(|(n, _)| !n.starts_with("ZIP")) {
            let mut data = vec![b'.'; 100];
            data.extend_from_slice(bytes);
            data.extend([b'.'; 100]);
            for piece in [1, 33, 1000] {
                assert_eq!(found(&data, piece), [(100, *name)]);
            }
            data.truncate(100 + bytes.len());
            assert_eq!(found(&data, 1000), [(100, *name)], "at the very end");
        }
    }

    #[test]
    fn two_letters_and_two_digits_are_no_archive() {
        let mut zip = b"PK\x03\x04\x14\x00\x00\x00\x08\x00".to_vec();
        zip.extend([0; 16]);
        zip.extend(b"\x05\x00\x00\x00a.txt");
        assert_eq!(found(&zip, 7).len(), 1);
        zip[8] = 0x77;
        assert_eq!(found(&zip, 7).len(), 0);
    }
}
