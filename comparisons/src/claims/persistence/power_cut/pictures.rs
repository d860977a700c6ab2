//! What is to be seen of power cuts.

use super::{ACKNOWLEDGED, DOWN, KEPT_AT, LOST, LOST_AT, WINDOW};
use crate::claims::persistence::words::{count, middle, seconds};
use crate::picture::{Bar, Drawing, Lane, Picture};
use crate::record::Records;

pub(super) fn bars(records: &Records) -> Picture {
    let bars = records.arms().into_iter().filter_map(|arm| {
        let (lost, of) = (records.sum(arm, LOST)?, records.sum(arm, ACKNOWLEDGED)?);
        let share = if of > 0.0 { lost / of } else { 0.0 };
        let window = records.max(arm, WINDOW).filter(|_| lost > 0.0);
        let window = window.map(|window| format!(", back to {} before the cut", seconds(window)));
        let label = format!("{} of {}{}", count(lost), count(of), window.unwrap_or_default());
        Some(Bar { name: arm.to_owned(), length: share * 100.0, label, bad: lost > 0.0 })
    });
    Picture {
        title: "What was acknowledged and is lost after a power cut depends on when the server syncs"
            .to_owned(),
        drawing: Drawing::Bars { x: "acknowledged registrations lost, %".to_owned(), bars: bars.collect() },
    }
}

/// Of the first run of each arm.
pub(super) fn timeline(records: &Records) -> Picture {
    let lanes = records.arms().into_iter().filter_map(|arm| {
        let record = records.of(arm).next()?;
        let times = |series| record.series.get(series).into_iter().flatten().map(|[at, _]| *at).collect();
        Some(Lane { name: arm.to_owned(), kept: times(KEPT_AT), lost: times(LOST_AT) })
    });
    Picture {
        title: "Which acknowledged registrations a power cut takes with it, in one run of each".to_owned(),
        drawing: Drawing::Timeline {
            x: "seconds since the power was cut".to_owned(),
            fault: [0.0, middle(records, &records.arms(), DOWN).unwrap_or_default()],
            lanes: lanes.collect(),
        },
    }
}
