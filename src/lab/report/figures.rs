use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::envelope::ResourceKind;
use crate::lab::attack::leak::{files_at, look};
use crate::lab::{Exhibit, Figures, LabError, Profile, Searcher};

/// What the detectors saw in a copy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Looked {
    /// Where it is among the stolen files, relative to their root; none for a twin that was made for
    /// the run and went away with it.
    pub path: Option<String>,
    /// All of its bytes together.
    pub figures: Figures,
    /// Page by page.
    pub profile: Profile,
}

/// What the detectors saw in a protected resource, beside its plain twin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FiguresPair {
    /// The resource.
    pub name: String,
    /// Its kind.
    pub kind: ResourceKind,
    /// The plain twin.
    pub plain: Looked,
    /// The protected copy.
    pub protected: Looked,
}

impl FiguresPair {
    /// Runs the detectors on both. `stolen` is the root of the stolen files.
    ///
    /// # Errors
    /// Failures of the file system.
    pub fn take(exhibit: &Exhibit, stolen: &Path, searcher: &Searcher) -> Result<Self, LabError> {
        let looked = |path: &Path| {
            let mut looked = Looked::take(exhibit.kind, path, searcher)?;
            let inside = path.strip_prefix(stolen).ok().and_then(Path::to_str);
            looked.path = inside.map(str::to_owned);
            Ok::<_, LabError>(looked)
        };
        Ok(Self {
            name: exhibit.name.clone(),
            kind: exhibit.kind,
            plain: looked(&exhibit.twin.path)?,
            protected: looked(&exhibit.protected.path)?,
        })
    }
}

impl Looked {
    /// Runs the detectors on a copy of a resource of `kind`.
    pub(super) fn take(
        kind: ResourceKind,
        path: &Path,
        searcher: &Searcher,
    ) -> Result<Self, LabError> {
        Ok(Self {
            path: None,
            figures: look(kind, path, searcher)?,
            profile: Profile::of(&files_at(kind, path)?)?,
        })
    }
}
