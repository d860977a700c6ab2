//! What is to be seen of leaders that die.

use super::{RECOVERED, WRITE_GAP};
use crate::claims::clustering::aftermath::{ACKNOWLEDGED, LOST};
use crate::picture::{Bar, Drawing, Picture};
use crate::record::Records;
use crate::report::format::{count, seconds};

/// How long nobody could register. It follows from settings, so that none is bad.
pub(super) fn gaps(records: &Records) -> Picture {
    let bar = |arm: &str| {
        let gap = records.median(arm, WRITE_GAP)?;
        let never = records.values(arm, RECOVERED).into_iter().filter(|went_on| *went_on == 0.0).count();
        let never = if never > 0 { format!(", in {never} runs until the end") } else { String::new() };
        Some(Bar { name: arm.to_owned(), length: gap, label: format!("{}{never}", seconds(gap)), bad: false })
    };
    let x = "median time without an acknowledged registration, s".to_owned();
    Picture {
        title: "How long nobody can register after the leader is struck down, with the settings tested"
            .to_owned(),
        drawing: Drawing::Bars { x, bars: records.arms().into_iter().filter_map(bar).collect() },
    }
}

/// What was lost, with the link to the replicas cut and not.
pub(super) fn losses(records: &Records) -> Picture {
    let bar = |arm: &str| {
        let (lost, of) = (records.sum(arm, LOST)?, records.sum(arm, ACKNOWLEDGED)?);
        let share = if of > 0.0 { lost / of } else { 0.0 };
        let label = format!("{} of {} lost", count(lost), count(of));
        Some(Bar { name: arm.to_owned(), length: share * 100.0, label, bad: lost > 0.0 })
    };
    let x = "acknowledged registrations lost, %".to_owned();
    Picture {
        title: "What was acknowledged and is lost after the leader was struck down, with its link to the replicas cut first and not"
            .to_owned(),
        drawing: Drawing::Bars { x, bars: records.arms().into_iter().filter_map(bar).collect() },
    }
}
