use crate::lab::{Exhibit, Lab, LabError, Outcome};

pub(in crate::lab) fn transplant(_lab: &Lab, _exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    Ok(Vec::new())
}

pub(in crate::lab) fn alter(_lab: &Lab, _exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    Ok(Vec::new())
}

pub(in crate::lab) fn cut(_lab: &Lab, _exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    Ok(Vec::new())
}
