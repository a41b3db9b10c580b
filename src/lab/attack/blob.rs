use crate::lab::{Exhibit, Lab, LabError, Outcome};

pub(in crate::lab) fn chunks(_lab: &Lab, _exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    Ok(Vec::new())
}

pub(in crate::lab) fn move_chunks(_lab: &Lab, _exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    Ok(Vec::new())
}
