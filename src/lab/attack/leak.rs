use crate::lab::{Exhibit, Lab, LabError, Outcome};

pub(in crate::lab) fn search(_lab: &Lab, _exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    Ok(Vec::new())
}

pub(in crate::lab) fn stable_bytes(
    _lab: &Lab,
    _exhibit: &Exhibit,
) -> Result<Vec<Outcome>, LabError> {
    Ok(Vec::new())
}
