//! The course of a run as a picture.

use crate::chaos::course::{Asked, Broken, Course, Kind, Moment, STEP_MS, Watched, Window};
use crate::chaos::history::At;
use crate::chaos::result::{CellResult, Judged};
use crate::picture::{Drawing, Mark, Picture, Shade, Stretch, Strip};

/// What is drawn of a run; none if its course was not kept.
pub(super) fn picture(result: &CellResult) -> Option<Picture> {
    let judged = result.judged()?;
    let course = judged.course.as_ref()?;
    let zero = zero(judged);
    let seconds = |moment: Moment| (f64::from(moment) * STEP_MS as f64 - zero.0 as f64 / 1e3) / 1e3;
    let shade = |window: &Window| {
        let at = |at: At| (at.0 as f64 - zero.0 as f64) / 1e6;
        Shade { name: window.fault.id().to_owned(), between: [at(window.from), at(window.to)] }
    };
    let x =
        if judged.windows.is_empty() { "seconds since the run began" } else { "seconds since the strike" };
    Some(Picture {
        title: format!("{}: {}", result.cell, judged.verdict),
        drawing: Drawing::Strips {
            x: x.to_owned(),
            between: [seconds(0), seconds(course.ends)],
            shades: judged.windows.iter().map(shade).collect(),
            strips: strips(course, &seconds),
        },
    })
}

/// From when times are told: from the first strike, or, where nothing was struck, from the beginning.
pub(super) fn zero(judged: &Judged) -> At {
    judged.windows.iter().map(|window| window.from).min().unwrap_or_default()
}

fn strips(course: &Course, seconds: &impl Fn(Moment) -> f64) -> Vec<Strip> {
    let times = |moments: &[Moment]| moments.iter().map(|moment| seconds(*moment)).collect::<Vec<f64>>();
    let asked = course.asked.iter().map(|asked| Strip {
        name: format!("{}: {}", asked.process, kind(asked)),
        marks: vec![
            (Mark::Done, times(&asked.done)),
            (Mark::Refused, times(&asked.refused)),
            (Mark::Unknown, times(&asked.unknown)),
        ],
        stretches: Vec::new(),
    });
    let watched = course.watched.iter().map(|watched| {
        let stretches =
            |all: &[[Moment; 2]]| all.iter().map(|ends| ends.map(seconds)).collect::<Vec<[f64; 2]>>();
        let of_it = |broken: &&Broken| broken.watcher.as_ref() == Some(&watched.name);
        let broken: Vec<Moment> = course.broken.iter().filter(of_it).map(|broken| broken.at).collect();
        Strip {
            name: named(watched),
            marks: vec![
                (Mark::Told, times(&watched.told)),
                (Mark::List, times(&watched.lists)),
                (Mark::Gap, times(&watched.gaps)),
                (Mark::Broken, times(&broken)),
            ],
            stretches: vec![
                (Stretch::Stale, stretches(&watched.stale)),
                (Stretch::Away, stretches(&watched.away)),
            ],
        }
    });
    let others = course.broken.iter().filter(|broken| {
        broken.watcher.as_ref().is_none_or(|name| course.watched.iter().all(|one| one.name != *name))
    });
    let others: Vec<Moment> = others.map(|broken| broken.at).collect();
    let others = (!others.is_empty()).then(|| Strip {
        name: "others".to_owned(),
        marks: vec![(Mark::Broken, times(&others))],
        stretches: Vec::new(),
    });
    asked.chain(watched).chain(others).collect()
}

fn kind(asked: &Asked) -> &'static str {
    match asked.kind {
        Kind::Writes => "writes",
        Kind::Heartbeats => "heartbeats",
        Kind::Lookups => "lookups",
    }
}

fn named(watched: &Watched) -> String {
    format!("{} {}", if watched.is_view { "view" } else { "watch" }, watched.name)
}
