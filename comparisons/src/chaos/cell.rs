//! One cell of the matrix is played: its servers, its clients, and what strikes them, from the first line of the history to the last.

use std::path::PathBuf;
use std::time::Duration;

use registry_core::Durability;
use tokio::time::timeout;

use super::check::RETURN_MS;
use super::client::Variant;
use super::fault::{Fault, Loses, StruckBy};
use super::history::{Act, At, Item, Line, Nemesis, Operation, Outcome, Owner, Step};
use super::lines;
use super::plan::{Cell, Plan, Strike};
use super::playing::{Playing, RunInfo};
use super::stand::{self, Bite, Programs, Stand};
use crate::experiment::Trouble;

/// A stand may take so long to inject a fault, or to heal it, before it is taken for stuck.
const STUCK: Duration = Duration::from_secs(60);

/// More than a queue holds must be written while a watcher does not read, or it was not put to the test.
const FLOOD: usize = 5_000;

/// Who comes back in the last moment that is allowed is to be seen by all.
const SEEN_MS: u64 = 1_000;

/// Plays `cell`, and gives its history. `program` is what workers are started from.
///
/// # Errors
/// [`Trouble::NotRun`] where the machine lacks something; what broke that is not to be tested.
pub async fn play(cell: &Cell, programs: &Programs, program: PathBuf) -> Result<Vec<Line>, Trouble> {
    let plan = cell.plan();
    let stand = stand::start(cell.backend, &cell.faults, programs).await?;
    let info = RunInfo {
        backend: cell.backend,
        faults: cell.faults.clone(),
        needs: needs(cell),
        variant: Variant::Hash,
        program,
    };
    let played = match Playing::start(&plan.workload, |role| stand.place(role), info).await {
        Ok(playing) => direct(playing, &*stand, &plan).await,
        Err(trouble) => Err(trouble),
    };
    stand.end().await;
    let (begins, mut history) = played?;
    complete(&mut history, cell, &plan, begins);
    Ok(history)
}

/// Strikes and heals as planned, and waits until everything that is promised must have come true.
/// Gives the history, and when the play began.
async fn direct(mut playing: Playing, stand: &dyn Stand, plan: &Plan) -> Result<(At, Vec<Line>), Trouble> {
    let mut turns: Vec<(u64, bool, Strike)> = Vec::new();
    for strike in &plan.strikes {
        turns.push((strike.at_ms, true, *strike));
        turns.push((strike.at_ms + strike.for_ms, false, *strike));
    }
    turns.sort_by_key(|(at, strikes, _)| (*at, !strikes));
    for (at, strikes, strike) in turns {
        playing.until(at).await;
        if strikes {
            inject(&playing, stand, strike).await?;
        } else {
            heal(&playing, stand, strike).await?;
        }
    }
    let healed = playing.recorder().now();
    playing.until(plan.workload.length_ms).await;
    playing.stop_changes().await;
    let still = playing.recorder().now();
    let run = playing.run();
    // The last instance that died without a word is gone, and everybody who came back is known to all.
    let gone = still.plus_ms(run.ttl_ms + run.expiry_bound_ms + 1_000);
    let back = healed.plus_ms(run.ttl_ms + run.convergence_ms + RETURN_MS + SEEN_MS);
    playing.recorder().clock().until(gone.max(back)).await;
    let begins = playing.starts();
    Ok((begins, playing.finish().await))
}

async fn inject(playing: &Playing, stand: &dyn Stand, strike: Strike) -> Result<(), Trouble> {
    let Strike { fault, .. } = strike;
    if is_of_workload(fault) {
        return Ok(());
    }
    act(playing, fault, Act::Strikes);
    let what = match fault {
        Fault::ClientPaused => {
            playing.pause_process(strike.process as usize).await?;
            format!("SIGSTOP to the process {} of clients", strike.process)
        }
        _ => {
            let (lasting, mut random) =
                (Duration::from_millis(strike.for_ms), fastrand::Rng::with_seed(strike.seed));
            in_time(stand.strike(fault, lasting, &mut random), fault, "injected").await?
        }
    };
    act(playing, fault, Act::Struck { what });
    Ok(())
}

async fn heal(playing: &Playing, stand: &dyn Stand, strike: Strike) -> Result<(), Trouble> {
    let Strike { fault, .. } = strike;
    if is_of_workload(fault) {
        return Ok(());
    }
    act(playing, fault, Act::Heals);
    let Bite { bitten, proof } = match fault {
        Fault::ClientPaused => {
            playing.resume(strike.process as usize).await?;
            // What it wrote meanwhile is known only at the end.
            Bite { bitten: false, proof: String::new() }
        }
        _ => in_time(stand.heal(fault), fault, "healed").await?,
    };
    act(playing, fault, Act::Healed { bitten, proof });
    Ok(())
}

async fn in_time<T>(
    work: impl Future<Output = Result<T, Trouble>>,
    fault: Fault,
    done: &str,
) -> Result<T, Trouble> {
    match timeout(STUCK, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Trouble::failed(format!("{fault} was not {done} within {STUCK:?}"))),
    }
}

fn act(playing: &Playing, fault: Fault, act: Act) {
    let recorder = playing.recorder();
    recorder.write(Line::Nemesis(Nemesis { fault, at: recorder.now(), act }));
}

/// Whether actors do it themselves: what they did is read from the history afterwards.
fn is_of_workload(fault: Fault) -> bool {
    fault.row().struck_by == StruckBy::Runner && fault != Fault::ClientPaused
}

fn losses(cell: &Cell) -> impl Iterator<Item = Loses> {
    cell.faults.iter().filter_map(|fault| Some(fault.on(cell.backend)?.loses))
}

/// What would have to be claimed for a loss to be a broken promise.
fn needs(cell: &Cell) -> Durability {
    let claims = losses(cell).filter_map(|loses| match loses {
        Loses::UnlessClaimed(durability) => Some(durability),
        Loses::Nothing | Loses::Everything => None,
    });
    claims.max().unwrap_or(Durability::None)
}

/// Adds what is known only afterwards: whether the store may have lost what it had acknowledged, and what clients did to it.
fn complete(history: &mut Vec<Line>, cell: &Cell, plan: &Plan, begins: At) {
    let loses = losses(cell).any(|loses| loses == Loses::Everything);
    if let Some(Line::Run(run)) = history.iter_mut().find(|line| matches!(line, Line::Run(_))) {
        run.keeps_acknowledged &= !loses;
    }
    for strike in plan.strikes.iter().filter(|strike| strike.fault == Fault::ClientPaused) {
        stood_still(history, strike.process);
    }
    for strike in plan.strikes.iter().filter(|strike| is_of_workload(strike.fault)) {
        let (at, until) = (begins.plus_ms(strike.at_ms), begins.plus_ms(strike.at_ms + strike.for_ms));
        let (bitten, proof) = done_by_actors(history, strike.fault);
        let fault = strike.fault;
        let acts = [
            (at, Act::Strikes),
            (at, Act::Struck { what: fault.row().injected.to_owned() }),
            (until, Act::Heals),
            (until, Act::Healed { bitten, proof }),
        ];
        let acts = acts.into_iter().map(|(at, act)| Line::Nemesis(Nemesis { fault, at, act })).collect();
        *history = lines::merge(vec![std::mem::take(history), acts]);
    }
}

/// Says of the pause of a process whether it bit: whether nobody in it was told or asked anything between being stopped and being woken.
fn stood_still(history: &mut [Line], process: u32) {
    let act = |wanted: fn(&Act) -> bool| move |line: &Line| matches!(line, Line::Nemesis(step) if step.fault == Fault::ClientPaused && wanted(&step.act));
    let struck = history.iter().position(act(|act| matches!(act, Act::Struck { .. })));
    let heals = history.iter().position(act(|act| matches!(act, Act::Heals)));
    let lines = struck.zip(heals).map(|(from, to)| {
        let meanwhile = history.get(from..to).unwrap_or_default();
        meanwhile.iter().filter(|line| process_of(line) == Some(process)).count()
    });
    let healed = history.iter_mut().find_map(|line| match line {
        Line::Nemesis(Nemesis { fault: Fault::ClientPaused, act: Act::Healed { bitten, proof }, .. }) => {
            Some((bitten, proof))
        }
        _ => None,
    });
    if let (Some(lines), Some((bitten, proof))) = (lines, healed) {
        *bitten = lines == 0;
        *proof = format!("process {process} wrote {lines} lines while it was stopped");
    }
}

/// The process of clients that wrote a line.
fn process_of(line: &Line) -> Option<u32> {
    let name = match line {
        Line::Operation(operation) => &operation.client,
        Line::Told(told) => &told.watcher,
        Line::Viewed(viewed) => &viewed.view,
        Line::Owner(owner) => &owner.owner,
        _ => return None,
    };
    name.split_once('.')?.0.parse().ok()
}

/// Whether the actors did what the fault is, and what shows it.
fn done_by_actors(history: &[Line], fault: Fault) -> (bool, String) {
    let steps = |wanted: Step| {
        history
            .iter()
            .filter(|line| matches!(line, Line::Owner(Owner { step, .. }) if *step == wanted))
            .count()
    };
    match fault {
        Fault::SlowConsumer => {
            let stops = |wanted: &Item| {
                history.iter().position(|line| matches!(line, Line::Told(told) if told.item == *wanted))
            };
            let span = stops(&Item::StopsReading).zip(stops(&Item::ReadsAgain));
            let writes = span.map_or(0, |(from, to)| {
                let meanwhile = history.get(from..to).unwrap_or_default();
                meanwhile
                    .iter()
                    .filter(|line| matches!(line, Line::Operation(op) if op.value.is_some() && is_done(op)))
                    .count()
            });
            (writes > FLOOD, format!("{writes} writes were acknowledged while it did not read"))
        }
        Fault::ExpiryStorm => {
            let died = steps(Step::Crashes);
            (died >= 100, format!("{died} instances died without a word"))
        }
        _ => {
            let registered = steps(Step::Registered);
            (registered >= 200, format!("registrars were registered {registered} times"))
        }
    }
}

fn is_done(operation: &Operation) -> bool {
    matches!(operation.outcome, Outcome::Ok { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::history::{Told, Verb};

    fn bites(process: u32) -> (bool, String) {
        let fault = Fault::ClientPaused;
        let act = |at, act| Line::Nemesis(Nemesis { fault, at: At(at), act });
        let owner = |at, owner: &str| {
            let (id, owner) = ("a".to_owned(), owner.to_owned());
            Line::Owner(Owner { id, owner, at: At(at), step: Step::Registered })
        };
        let healed = Act::Healed { bitten: false, proof: String::new() };
        let struck = Act::Struck { what: String::new() };
        let mut history = vec![
            owner(0, "1.3"),
            act(1, struck),
            owner(2, "2.4"),
            act(3, Act::Heals),
            owner(4, "1.3"),
            act(5, healed),
        ];
        stood_still(&mut history, process);
        match history.pop() {
            Some(Line::Nemesis(Nemesis { act: Act::Healed { bitten, proof }, .. })) => (bitten, proof),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_pause_bit_only_if_its_process_wrote_nothing_meanwhile() {
        assert_eq!(bites(1), (true, "process 1 wrote 0 lines while it was stopped".to_owned()));
        assert_eq!(bites(2), (false, "process 2 wrote 1 lines while it was stopped".to_owned()));
    }
    #[test]
    fn a_slow_consumer_was_put_to_the_test_only_by_writes_that_were_done_while_it_did_not_read() {
        let told = |at, item| Line::Told(Told { watcher: "0.1".to_owned(), at: At(at), item });
        let write = |at, outcome: &Outcome| {
            Line::Operation(Operation {
                client: "1.2".to_owned(),
                verb: Verb::Update,
                id: Some("a".to_owned()),
                incarnation: Some(1),
                value: Some(at),
                invoked: At(at),
                returned: At(at),
                outcome: outcome.clone(),
            })
        };
        let done = Outcome::Ok { revision: Some(1), incarnation: None, position: None, listed: None };
        let refused = Outcome::Failed { kind: "store_full".to_owned() };
        let bitten = |outcome: &Outcome, writes: u64, before: u64| {
            let mut history: Vec<Line> = (0..before).map(|at| write(at, outcome)).collect();
            history.push(told(before, Item::StopsReading));
            history.extend((0..writes).map(|at| write(before + at, outcome)));
            history.push(told(before + writes, Item::ReadsAgain));
            done_by_actors(&history, Fault::SlowConsumer).0
        };
        let enough = FLOOD as u64 + 1;
        assert!(bitten(&done, enough, 0));
        assert!(!bitten(&done, enough - 1, 9));
        assert!(!bitten(&refused, enough, 0));
    }
}
