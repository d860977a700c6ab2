//! What is printed: one line for everything that happens, and the table at the end.

use tokio::time::Instant;

use crate::orders::{Count, Orders};

const SERVERS: [&str; 4] = ["user-1", "user-2", "user-3", "user-4"];

pub(crate) struct Timeline {
    start: Instant,
}

impl Timeline {
    pub(crate) fn begin() -> Self {
        println!("{:>8}  {:<53}  calls answered since the last line", "", "");
        println!(
            "{:>8}  {:<53} {}  failed",
            "time",
            "what happened",
            SERVERS.map(|name| format!("{name:>7}")).concat()
        );
        Self { start: Instant::now() }
    }

    /// Before there are calls to count.
    pub(crate) fn say(&self, what: &str) {
        println!("{}  {what}", self.time());
    }

    /// With the calls since the last line.
    pub(crate) fn tell(&self, orders: &Orders, what: &str) {
        let mut count = orders.count();
        let answered = SERVERS.map(|name| match count.answers.get_mut(name) {
            Some(answers) => format!("{:>7}", dash(std::mem::take(&mut answers.fresh))),
            None => format!("{:>7}", ""),
        });
        let failed = dash(std::mem::take(&mut count.fresh_failures));
        println!("{}  {what:<53} {}  {failed:>6}", self.time(), answered.concat());
    }

    fn time(&self) -> String {
        format!("{:>6.2} s", self.start.elapsed().as_secs_f64())
    }
}

fn dash(count: u32) -> String {
    if count == 0 { "-".into() } else { count.to_string() }
}

/// The table at the end.
pub(crate) struct Summary {
    pub(crate) rows: Vec<(&'static str, String)>,
}

impl Summary {
    pub(crate) fn print(&self, count: &Count) {
        println!("\nCalls answered");
        for server in SERVERS {
            let total = count.answers.get(server).map_or(0, |answers| answers.total);
            println!("  {server:<48} {total:>6}");
        }
        let total: u32 = count.answers.values().map(|answers| answers.total).sum();
        println!("  {:<48} {total:>6}", "in all");
        println!("How long it took");
        for (what, took) in &self.rows {
            println!("  {what:<48} {took}");
        }
    }
}
