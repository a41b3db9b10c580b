//! The documents: invoices as text and JSON, exports as CSV, contracts as PDF, scans as PNG. Text
//! compresses, scans do not.

use std::io::Write;

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;

use crate::resource::blob::BlobName;

use super::people::{address, company, iban, person, pick, put};
use super::{Sample, Stream, marker_at};

/// Markers in the documents, one each.
pub(super) const MARKERS: usize = 10;

/// One document: its name, and how to make its bytes.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its name: a path of words and digits.
    pub name: BlobName,
    sample: Sample,
    number: u32,
    marker: Option<String>,
}

const GOODS: [&str; 8] = [
    "Gasket set",
    "Bearing 6204",
    "Hydraulic hose",
    "Filter element",
    "Control panel",
    "Pump seal",
    "Conveyor belt",
    "Flow meter",
];

impl Sample {
    /// The documents: about one for 1700 rows, and ten at least.
    pub fn documents(&self) -> Vec<Document> {
        let count = u32::try_from((self.rows / 1700).clamp(10, 2000)).expect("at most 2000");
        let document = |number: u32| {
            let name = match number % 10 {
                0..=3 => format!("invoices/2025/INV-{number:05}.txt"),
                4 | 5 => format!("invoices/2025/INV-{number:05}.json"),
                6 => format!("exports/ledger-{number:05}.csv"),
                7 | 8 => format!("contracts/contract-{number:05}.pdf"),
                _ => format!("scans/receipt-{number:05}.png"),
            };
            let first = super::database::MARKERS;
            let markers = first..first + MARKERS;
            Document {
                name: BlobName::parse(&name).expect("words and digits"),
                sample: *self,
                number,
                marker: marker_at(u64::from(number), u64::from(count), markers)
                    .map(|marker| self.marker(marker)),
            }
        };
        (0..count).map(document).collect()
    }
}

impl Document {
    /// The marker that is planted in it, if any.
    pub fn marker(&self) -> Option<&str> {
        self.marker.as_deref()
    }

    /// Its bytes, always the same: from about 1 KiB to 3 MiB.
    pub fn bytes(&self) -> Vec<u8> {
        let mut rng = self.sample.rng(Stream::Document(self.number));
        let marker = self.marker.as_deref().unwrap_or("none");
        match self.number % 10 {
            0..=3 => text_invoice(&mut rng, self.number, marker),
            4 | 5 => json_invoice(&mut rng, self.number, marker),
            6 => csv_export(&mut rng, marker),
            7 | 8 => pdf_contract(&mut rng, marker),
            _ => png_scan(&mut rng, marker),
        }
    }
}

fn text_invoice(rng: &mut ChaCha8Rng, number: u32, marker: &str) -> Vec<u8> {
    let [mut name, mut place, mut bank, mut text] = [const { String::new() }; 4];
    company(rng, &mut name);
    address(rng, &mut place);
    iban(rng, &mut bank);
    put(
        &mut text,
        format_args!("INVOICE INV-{number:05}\n\n{name}\n{place}\n\nYour reference: {marker}\n\n"),
    );
    let mut total = 0;
    for _ in 0..rng.random_range(12..60) {
        let (goods, count) = (pick(rng, &GOODS), rng.random_range(1..40));
        let price = rng.random_range(200..90_000) * count;
        total += price;
        put(
            &mut text,
            format_args!("{goods:<24}{count:>6}{:>14}\n", cents(price)),
        );
    }
    put(
        &mut text,
        format_args!(
            "{:<30}{:>14}\n\nPay to {bank} within 30 days.\n",
            "Total",
            cents(total)
        ),
    );
    text.into_bytes()
}

fn json_invoice(rng: &mut ChaCha8Rng, number: u32, marker: &str) -> Vec<u8> {
    let [mut name, mut place, mut bank] = [const { String::new() }; 3];
    company(rng, &mut name);
    address(rng, &mut place);
    iban(rng, &mut bank);
    let line = |rng: &mut ChaCha8Rng| {
        serde_json::json!({
            "goods": pick(rng, &GOODS),
            "count": rng.random_range(1..40),
            "cents": rng.random_range(200..90_000),
        })
    };
    let lines: Vec<_> = (0..rng.random_range(10..200)).map(|_| line(rng)).collect();
    let invoice = serde_json::json!({
        "number": format!("INV-{number:05}"),
        "customer": { "name": name, "address": place, "iban": bank },
        "reference": marker,
        "lines": lines,
    });
    serde_json::to_vec_pretty(&invoice).expect("plain values serialize")
}

fn csv_export(rng: &mut ChaCha8Rng, marker: &str) -> Vec<u8> {
    let mut text = String::from("posted,account,debit,credit,party,reference\n");
    let rows = rng.random_range(1_000..12_000);
    let mut name = String::new();
    for row in 0..rows {
        company(rng, &mut name);
        let (day, account) = (rng.random_range(1..=28), rng.random_range(1000..7000));
        let amount = cents(rng.random_range(100..9_000_000));
        let reference = if row == rows / 2 { marker } else { "" };
        put(
            &mut text,
            format_args!("2025-11-{day:02},{account},{amount},0.00,\"{name}\",{reference}\n"),
        );
    }
    text.into_bytes()
}

/// A document of one page of PDF 1.4 with its text compressed, as most are, and attached noise.
fn pdf_contract(rng: &mut ChaCha8Rng, marker: &str) -> Vec<u8> {
    let [mut left, mut right, mut page] = [const { String::new() }; 3];
    company(rng, &mut left);
    person(rng, &mut right);
    put(
        &mut page,
        format_args!("BT /F1 11 Tf 72 720 Td ({left} and {right} agree:) Tj\n"),
    );
    for clause in 1..rng.random_range(40..200) {
        let goods = pick(rng, &GOODS);
        let price = cents(rng.random_range(10_000..9_000_000));
        put(
            &mut page,
            format_args!("0 -14 Td ({clause}. {goods}, at {price}, as ordered.) Tj\n"),
        );
    }
    page.push_str("ET\n");
    let mut seal = vec![0; rng.random_range(20_000..600_000)];
    rng.fill_bytes(&mut seal);
    let objects: [Vec<u8>; 5] = [
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_vec(),
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R >>".to_vec(),
        stream(
            "/Filter /FlateDecode",
            &deflated(page.as_bytes(), Compression::default()),
        ),
        stream("/Type /EmbeddedFile", &seal),
    ];
    let mut pdf = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n".to_vec();
    let mut offsets = Vec::new();
    for (number, object) in (1..).zip(&objects) {
        offsets.push(pdf.len());
        pdf.extend_from_slice(format!("{number} 0 obj\n").as_bytes());
        pdf.extend_from_slice(object);
        pdf.extend_from_slice(b"\nendobj\n");
    }
    let table = pdf.len();
    let mut tail = format!("xref\n0 {}\n0000000000 65535 f \n", offsets.len() + 1);
    for offset in &offsets {
        put(&mut tail, format_args!("{offset:010} 00000 n \n"));
    }
    let size = offsets.len() + 1;
    put(
        &mut tail,
        format_args!(
            "trailer\n<< /Size {size} /Root 1 0 R /Info << /Subject ({marker}) >> >>\n\
             startxref\n{table}\n%%EOF\n"
        ),
    );
    pdf.extend_from_slice(tail.as_bytes());
    pdf
}

fn stream(entries: &str, bytes: &[u8]) -> Vec<u8> {
    let mut out = format!("<< {entries} /Length {} >>\nstream\n", bytes.len()).into_bytes();
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\nendstream");
    out
}

/// A grey picture of noise, as a scanner's sensor gives (PNG, ISO/IEC 15948).
fn png_scan(rng: &mut ChaCha8Rng, marker: &str) -> Vec<u8> {
    let (width, height) = (
        rng.random_range(400..1800_u32),
        rng.random_range(400..1700_u32),
    );
    let mut rows = Vec::new();
    for _ in 0..height {
        rows.push(0); // no filter
        let start = rows.len();
        rows.resize(start + width as usize, 0);
        rng.fill_bytes(&mut rows[start..]);
    }
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend_from_slice(&[8, 0, 0, 0, 0]);
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut png, b"IHDR", &header);
    chunk(
        &mut png,
        b"tEXt",
        &[b"Comment\0", marker.as_bytes()].concat(),
    );
    chunk(&mut png, b"IDAT", &deflated(&rows, Compression::none()));
    chunk(&mut png, b"IEND", &[]);
    png
}

fn chunk(png: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    let mut crc = Crc::new();
    crc.update(kind);
    crc.update(data);
    let len = u32::try_from(data.len()).expect("a few MiB");
    png.extend_from_slice(&len.to_be_bytes());
    png.extend_from_slice(kind);
    png.extend_from_slice(data);
    png.extend_from_slice(&crc.sum().to_be_bytes());
}

fn deflated(bytes: &[u8], level: Compression) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), level);
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("writing to memory succeeds")
}

fn cents(amount: i64) -> String {
    format!("{}.{:02}", amount / 100, amount % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_repeatable_and_every_marker_lies_open_in_one() {
        let sample = Sample::new(7, 20_000);
        let documents = sample.documents();
        let bytes: Vec<_> = documents.iter().map(Document::bytes).collect();
        assert_eq!(
            bytes,
            sample
                .documents()
                .iter()
                .map(Document::bytes)
                .collect::<Vec<_>>()
        );
        for marker in &sample.canaries()[super::super::database::MARKERS..] {
            let holds = |b: &&Vec<u8>| b.windows(marker.len()).any(|w| w == marker.as_bytes());
            assert_eq!(bytes.iter().filter(holds).count(), 1, "{marker}");
        }
        let sizes = bytes.iter().map(Vec::len);
        assert!(sizes.clone().min().unwrap() < 4096 && sizes.max().unwrap() > 100_000);
    }
}
