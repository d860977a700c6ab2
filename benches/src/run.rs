//! Measures topics, and keeps what they say.

use std::path::Path;
use std::time::Instant;

use comparisons::environment::Environment;
use comparisons::experiment::Trouble;
use comparisons::lab::Lab;
use comparisons::record::{Outcome, Record};
use comparisons::results::{Done, Line, append};

use crate::contest::Topic;

/// Measures one topic, all steps of it, and adds the records to `file`; what of it was there before is replaced by who reads, since the last go counts.
///
/// # Errors
/// What cannot be written. What goes wrong in the topic is recorded.
pub async fn measure(
    topic: &dyn Topic,
    lab: &Lab,
    environment: &Environment,
    file: &Path,
    mut say: impl FnMut(&str),
) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let mut lines = vec![Line::Environment(environment.clone())];
    let mut complete = true;
    for step in 1..=topic.steps(lab) {
        let (step, start) = (step.to_string(), Instant::now());
        let mut records = Vec::new();
        let played = play(topic, lab, &mut records).await;
        if let Err(trouble) = played {
            say(&format!("{}: {trouble}", topic.name()));
            complete = false;
            let outcome = match trouble {
                Trouble::NotRun(why) => Outcome::NotRun { why },
                failed @ Trouble::Failed(_) => Outcome::Failed { why: failed.to_string() },
            };
            records.push(Record { outcome, ..Record::new("-", 0) });
        }
        for record in &mut records {
            topic.name().clone_into(&mut record.experiment);
            record.step.clone_from(&step);
            record.seed = lab.seed;
        }
        lines.extend(records.into_iter().map(Line::Record));
        let seconds = start.elapsed().as_secs_f64();
        let (experiment, rule) = (topic.name().to_owned(), String::new());
        lines.push(Line::Step(Done { experiment, step, seconds, complete, rule, go: None }));
        if !complete {
            break;
        }
    }
    append(file, &lines)?;
    Ok(complete)
}

async fn play(topic: &dyn Topic, lab: &Lab, records: &mut Vec<Record>) -> Result<(), Trouble> {
    let mut contest = topic.prepare(lab).await?;
    contest.play(topic.rounds(lab), |record| records.push(record)).await
}
