use crate::lab::{Exhibit, Lab, LabError, Outcome};

pub(in crate::lab) fn swap(_lab: &Lab, _exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    Ok(Vec::new())
}

pub(in crate::lab) fn downgrade(_lab: &Lab, _exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    Ok(Vec::new())
}
