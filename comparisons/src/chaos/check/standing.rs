//! What violations count for.

use super::evidence::Evidence;
use super::found::{Found, Invariant, Standing, Violation};

/// What breaks where acknowledged writes are lost.
const LOSS: [Invariant; 4] = [Invariant::I10, Invariant::I11, Invariant::I12, Invariant::I17];

/// Where the registry does not claim that acknowledged writes survive what was struck, their loss is allowed, if everybody was told. Who was not is in a
/// violation of I7, and that is never allowed.
pub(super) fn weigh(evidence: &Evidence<'_>, found: Found) -> Vec<Violation> {
    let mut violations = found.violations;
    let silent = violations.iter().any(|violation| violation.invariant == Invariant::I7);
    let struck = evidence.windows.first().filter(|_| !evidence.run.keeps_acknowledged);
    for violation in &mut violations {
        let lost = struck.is_some_and(|struck| struck <= violation.at) && LOSS.contains(&violation.invariant);
        violation.standing = match violation.standing {
            Standing::Broken if lost && !silent => Standing::Allowed,
            Standing::Allowed if silent => Standing::Broken,
            standing => standing,
        };
    }
    violations.sort_by(|a, b| (a.invariant, a.at, &a.lines).cmp(&(b.invariant, b.at, &b.lines)));
    violations
}
