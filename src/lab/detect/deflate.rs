use flate2::{Compress, Compression, FlushCompress};

use super::statistics::PAGE;

/// The deflate ratio of evenly spread samples.
pub(super) struct Deflate {
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

    pub(super) fn new(len: u64) -> Self {
        Self {
            compressor: Compress::new(Compression::fast(), false),
            every: len.div_ceil(Self::SAMPLE).max(1),
            pages: 0,
            input: Vec::with_capacity(Self::RUN),
            out: vec![0; 2 * Self::RUN],
            total: (0, 0),
        }
    }

    pub(super) fn feed(&mut self, page: &[u8]) {
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

    pub(super) fn finish(mut self) -> (u64, u64) {
        // Below a kilobyte the compressor's own overhead decides.
        if self.input.len() >= 1024 {
            self.compress();
        }
        self.total
    }
}
