//! Made-up experiments and records: names of all lengths, zeroes, huge values, runs that do not count.

use async_trait::async_trait;
use comparisons::experiment::{About, Column, Experiment, OfRuns, Step, Trouble, Unit};
use comparisons::finding::{Finding, Verdict};
use comparisons::lab::Lab;
use comparisons::picture::{Bar, Drawing, Interval, Lane, Line, Picture};
use comparisons::record::{Outcome, Record, Records};
use comparisons::report::{Report, format};

/// An experiment that finds what it is told to find.
#[derive(Debug)]
struct MadeUp {
    about: &'static About,
    verdict: Verdict,
    pictures: Vec<Picture>,
    against: Option<&'static str>,
}

const COLUMNS: &[Column] = &[
    Column::new("Lost", "lost", OfRuns::Sum, Unit::Count),
    Column::new("Seen after", "lag_s", OfRuns::Median, Unit::Seconds),
];
const MANY_COLUMNS: &[Column] = &[
    Column::new("Median", "p50_us", OfRuns::Median, Unit::Micros),
    Column::new("99 %", "p99_us", OfRuns::Median, Unit::Micros),
    Column::new("Longest", "max_us", OfRuns::Max, Unit::Micros),
    Column::new("Bytes on the wire", "bytes", OfRuns::Sum, Unit::Bytes),
    Column::new("Share seen", "share", OfRuns::Min, Unit::Share),
    Column::new("Ratio to etcd", "ratio", OfRuns::Median, Unit::Ratio),
    Column::new("Told", "told", OfRuns::Min, Unit::YesNo),
];

#[async_trait]
impl Experiment for MadeUp {
    fn about(&self) -> &'static About {
        self.about
    }

    fn steps(&self, _: &Lab) -> Vec<Step> {
        Vec::new()
    }

    async fn run(&self, _: &Lab, _: &Step) -> Result<(), Trouble> {
        Ok(())
    }

    fn judge(&self, records: &Records) -> Finding {
        let lost = format::count(records.sum("redis-naive hash", "lost").unwrap_or(0.0));
        Finding {
            verdict: self.verdict,
            figure: format!("{lost} of 60,000 changes lost without a word"),
            sentences: [
                format!("A watcher of the usual registry on Redis missed {lost} changes and was never told."),
                "The watchers of our backend and of etcd missed none.".to_owned(),
            ],
        }
    }

    fn columns(&self) -> &'static [Column] {
        if self.about.id == "3a" { MANY_COLUMNS } else { COLUMNS }
    }

    fn pictures(&self, _: &Records) -> Vec<Picture> {
        self.pictures.clone()
    }

    fn against_etcd(&self, _: &Records) -> Option<String> {
        self.against.map(str::to_owned)
    }
}

macro_rules! about {
    ($id:literal, $title:literal) => {
        &About {
            id: $id,
            title: $title,
            question: "If a watcher is cut off while instances change, does it learn afterwards what it has missed?",
            hypothesis: "A Redis client that listens with `SUBSCRIBE` misses what was published meanwhile, and nothing tells it so.",
            set_up: "A watcher behind a proxy; the link is cut, 100 instances change, the link heals. Five times each, on servers of their own, \
                     with data in memory and nothing else running.",
            rule: "Confirmed if our backend misses changes silently and etcd does not; 1 silent loss in 1,000 changes is enough.",
            falsifier: "Pub/sub that replays what was missed, or an etcd watch that skips a revision without saying so.",
            remedy: "`registry-redis` numbers every change in a stream and reads on from the last number it has seen. What has been trimmed \
                     meanwhile is reported as a gap, and the list is loaded anew.",
            caveat: "Nobody who knows Redis would use pub/sub alone for this: its manual says that messages are delivered at most once. Streams \
                     exist for that.",
            left_out: "",
            harmless: true,
        }
    };
}

const TEN: [&str; 10] = [
    "memory",
    "etcd 1 node",
    "etcd 3 nodes",
    "redis",
    "redis, WAIT 1",
    "redis-naive hash",
    "redis-naive hash, reloading every second",
    "redis-naive key",
    "redis-naive key, keyspace events",
    "redis-naive key, <reloading & waiting> for a very long time, as a | b",
];

fn ecdf(names: &[&str]) -> Drawing {
    let line = |(index, name): (usize, &&str)| {
        let middle = 90.0 * 1.55_f64.powi(index as i32);
        let points = (1..=200).map(|step| {
            let share = f64::from(step) / 200.0;
            [middle * (share / (1.005 - share)).powf(0.35), share]
        });
        Line { name: (*name).to_owned(), points: points.collect() }
    };
    Drawing::Ecdf {
        x: "intended send to receive, µs".to_owned(),
        lines: names.iter().enumerate().map(line).collect(),
    }
}

fn lag() -> Drawing {
    let line = |name: &str, lags: [f64; 4]| {
        let sizes = [100.0, 1_000.0, 10_000.0, 100_000.0];
        Line { name: name.to_owned(), points: sizes.into_iter().zip(lags).map(|(n, lag)| [n, lag]).collect() }
    };
    let lines = vec![
        line("redis-naive key, keyspace events", [0.9, 3.1, 21.7, 150.0]),
        line("redis", [0.4, 0.41, 0.44, 0.6]),
        line("etcd 1 node", [0.5, 0.5, 0.55, 0.7]),
        line("memory", [0.0, 0.0, 0.0, 0.0]),
    ];
    Drawing::Lag { x: "keys with a TTL".to_owned(), y: "seconds until the death is seen".to_owned(), lines }
}

fn forest() -> Drawing {
    let row = |name: &str, ratio: f64, low: f64, high: f64| Interval {
        name: name.to_owned(),
        ratio,
        between: [low, high],
    };
    let rows = vec![
        row("etcd 1 node / etcd 1 node (A/A control)", 1.0, 0.98, 1.03),
        row("redis / etcd 1 node, memory", 0.72, 0.65, 0.81),
        row(
            "redis, AOF always and WAIT 1 / etcd 3 nodes on disk, which is as close as the two can be brought",
            0.95,
            0.84,
            1.07,
        ),
        row("redis-naive key / etcd 1 node", 2.4, 1.9, 3.2),
        row("redis-naive hash / etcd 1 node", f64::NAN, 0.0, 0.0),
    ];
    Drawing::Forest { x: "Redis / etcd, median latency".to_owned(), undecided: [0.9, 1.1], rows }
}

fn timeline() -> Drawing {
    let lane = |name: &str, gap: [f64; 2], lost: [f64; 2]| {
        let times = || (0..400).map(|index| f64::from(index) * 0.05);
        let within = |range: [f64; 2], time: f64| range[0] <= time && time < range[1];
        let kept = times().filter(|time| !within(gap, *time) && !within(lost, *time)).collect();
        Lane { name: name.to_owned(), kept, lost: times().filter(|time| within(lost, *time)).collect() }
    };
    let lanes = vec![
        lane("redis, primary isolated with its client", [9.0, 11.5], [5.0, 9.0]),
        lane("etcd 3 nodes", [5.0, 6.6], [0.0, 0.0]),
    ];
    Drawing::Timeline { x: "seconds".to_owned(), fault: [5.0, 11.5], lanes }
}

fn bars() -> Drawing {
    let bar = |name: &str, length: f64, label: &str, bad| Bar {
        name: name.to_owned(),
        length,
        label: label.to_owned(),
        bad,
    };
    let bars = vec![
        bar("memory", 0.0, "0 of 60,000", false),
        bar("etcd 1 node", 0.0, "0 of 60,000", false),
        bar("redis", 0.0, "0 of 60,000", false),
        bar("redis-naive hash", 56_153.0, "56,153 of 60,000, nobody told", true),
        bar("redis-naive key, keyspace events", 12.0, "12 of 60,000, nobody told", true),
        bar(
            "redis-naive hash, reloading every second",
            30_000.0,
            "30,000 of 60,000 for up to one second, then all known",
            false,
        ),
    ];
    Drawing::Bars { x: "changes lost without a word, of 60,000".to_owned(), bars }
}

fn picture(title: &str, drawing: Drawing) -> Picture {
    Picture { title: title.to_owned(), drawing }
}

pub(crate) fn experiments() -> Vec<Box<dyn Experiment>> {
    let cut = picture("Only the naive registries lose changes that nobody tells them of", bars());
    let stalled = picture("A stalled subscriber loses nearly everything", bars());
    let lags = picture("Expiry events come later the more keys there are", lag());
    let two = picture("The slowest tenth decides, not the median", ecdf(&TEN[..2]));
    let ten = picture("Redis is faster than etcd here, in every way of using it that was tried", ecdf(&TEN));
    let ratios = picture(
        "Redis is faster where both keep data in memory, and the same where both are durable",
        forest(),
    );
    let lost = picture("What an isolated primary acknowledged is lost", timeline());
    let storm = "5,000 leases that end together were gone from etcd only after 3.7 s; Redis took 0.26 s.";
    let made = |about, verdict, pictures, against| -> Box<dyn Experiment> {
        Box::new(MadeUp { about, verdict, pictures, against })
    };
    vec![
        made(about!("1a", "Cut off while things change"), Verdict::Depends, vec![cut], None),
        made(about!("1b", "An old writer wakes up"), Verdict::Depends, vec![], None),
        made(about!("2a", "A subscriber that stalls"), Verdict::Depends, vec![stalled], None),
        made(about!("2b", "Deaths among many keys"), Verdict::Depends, vec![lags], Some(storm)),
        made(
            about!("3a", "A change on its way to a watcher"),
            Verdict::Refuted,
            vec![ten, two, ratios],
            Some(storm),
        ),
        made(about!("4b", "An isolated primary"), Verdict::Confirmed, vec![lost], None),
        made(about!("4c", "WAIT, then a promotion"), Verdict::Refuted, vec![], None),
        made(about!("5a", "Power cut"), Verdict::Confirmed, vec![], None),
    ]
}

fn record(experiment: &str, arm: &str, run: u32) -> Record {
    let mut record = Record::new(arm, run);
    record.experiment = experiment.to_owned();
    record.step = arm.to_owned();
    record
}

pub(crate) fn records() -> Vec<Record> {
    let mut records = Vec::new();
    for experiment in ["1a", "2a", "2b", "4b", "4c"] {
        for arm in TEN {
            let lost = [13_153.0, 11_000.0, 9_000.0, 12_000.0, 11_000.0];
            for (run, lost) in (0_u32..).zip(lost) {
                let lost = if arm.starts_with("redis-naive") { lost } else { 0.0 };
                let proof = "the proxy cut 1 connection and swallowed 5,120 bytes";
                let lag = if lost > 0.0 { 21.68 } else { 0.0123 };
                let one = record(experiment, arm, run).with("lost", lost).with("lag_s", lag);
                records.push(one.if_bitten(true, proof));
            }
            if arm == "redis-naive hash" {
                records.push(
                    record(experiment, arm, 5).with("lost", 1.0).if_bitten(false, "no connection was cut"),
                );
            }
        }
    }
    for (index, arm) in TEN.into_iter().enumerate() {
        let middle = 90.0 * 1.55_f64.powi(index as i32);
        let one = record("3a", arm, 0).with("p50_us", middle).with("p99_us", middle * 12.0).with("told", 1.0);
        let one =
            one.with("max_us", middle * 5_000.0).with("bytes", 5.0e6 * middle).with("share", 1.0 - 1e-5);
        records.push(one.with("ratio", middle / 139.5));
    }
    let mut not_run = record("5a", "etcd 1 node", 0);
    not_run.outcome = Outcome::NotRun { why: "no loop device can be had here".to_owned() };
    records.push(not_run);
    let mut failed = record("4c", "redis, WAIT 1", 9);
    failed.step = "promotion".to_owned();
    failed.outcome = Outcome::Failed { why: "the replica was not promoted within 30 s".to_owned() };
    records.push(failed);
    records
}

pub(crate) fn environment() -> Vec<(String, String)> {
    let pairs = [
        ("etcd", "3.4.23"),
        ("Redis", "7.0.15"),
        ("Kernel", "Linux 6.1.0-18-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01) x86_64"),
        ("CPU", "2 × made up"),
        ("Memory", "8 GiB"),
        ("Disk", "ext4, fsync 0.9 ms"),
        ("Seed", "42"),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// A report with one picture.
pub(crate) struct Drawn;

impl Drawn {
    pub(crate) fn report(picture: Picture) -> Report {
        let one = MadeUp {
            about: about!("1a", "One"),
            verdict: Verdict::Refuted,
            pictures: vec![picture],
            against: None,
        };
        Report::new(vec![record("1a", "memory", 0)], Vec::new()).with_experiments(vec![Box::new(one)])
    }
}
