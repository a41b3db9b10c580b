use crate::lab::{Exhibit, Lab, LabError, Outcome};

pub(in crate::lab) fn repeats(_lab: &Lab, _exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    Ok(Vec::new())
}
