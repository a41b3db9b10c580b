use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// Under 20 seconds.
    Quick,
    /// A minute or two.
    Standard,
    /// Under ten minutes.
    Full,
}

impl Scale {
    /// One of three values.
    pub(super) fn of<T>(self, quick: T, standard: T, full: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Standard => standard,
            Self::Full => full,
        }
    }
}

/// What is measured, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How much of it.
    pub scale: Scale,
    /// Only this many bytes a unit or an object, instead of the sizes of the scale.
    pub size: Option<u64>,
    /// As many threads as stations with threads go up to.
    pub threads: usize,
    /// Where files lie; the directory exists.
    pub dir: PathBuf,
    /// Whether files are put out of the page cache before each read.
    pub cold: bool,
    /// The program that serves a vault (`PROGRAM --dir DIR serve`), and that is started cold.
    pub program: PathBuf,
    /// As it was typed.
    pub command: String,
}

impl Plan {
    /// Samples of each case; never fewer than ten.
    pub(super) fn samples(&self) -> usize {
        self.scale.of(10, 20, 40)
    }

    /// How long one sample of something fast takes.
    pub(super) fn sample_time(&self) -> Duration {
        Duration::from_micros(self.scale.of(1500, 6000, 20_000))
    }

    /// These sizes, or the one that was asked for.
    pub(super) fn sizes(&self, sizes: &[u64]) -> Vec<u64> {
        match self.size {
            Some(size) => vec![size],
            None => sizes.to_vec(),
        }
    }

    /// 1, 2, 4, ... and the most.
    pub(super) fn thread_counts(&self) -> Vec<usize> {
        let mut counts: Vec<usize> = (0..)
            .map(|power| 1 << power)
            .take_while(|&count| count < self.threads)
            .collect();
        counts.push(self.threads);
        counts
    }
}
