//! uniform
use super::{Assignments, AssignorError, Spec};

pub(super) fn assign(_spec: &Spec) -> Result<Assignments, AssignorError> {
    todo!()
}
