//! Arms that do the same work, and take turns.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use comparisons::experiment::Trouble;
use comparisons::lab::Lab;
use comparisons::record::Record;
use fastrand::Rng;

use crate::bars::Bar;
use crate::order::order;

/// A topic: what is to be measured, and the bars that are judged by it.
#[async_trait]
pub trait Topic: Send + Sync {
    /// A word or two, such as `register-etcd`; what is named on the command line.
    fn name(&self) -> &'static str;

    /// What is judged by its records.
    fn bars(&self) -> &'static [Bar];

    /// Starts what is needed, servers too. What is the same for as long as these run is drawn anew by doing this several times in a run, each time in a process of
    /// its own, with a `lab` whose seed is another.
    ///
    /// # Errors
    /// [`Trouble::NotRun`] where the machine lacks something, and what broke.
    async fn prepare(&self, lab: &Lab) -> Result<Contest, Trouble>;

    /// How many rounds are played with what was prepared. In a round each arm has one block.
    fn rounds(&self, lab: &Lab) -> u32 {
        lab.by_scale(2, 4)
    }

    /// About how long a round takes, for who waits.
    fn round(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// How many times it is prepared anew. What is said of a bar is drawn from how far these agree, so that a few are too few.
    fn steps(&self, lab: &Lab) -> u32 {
        lab.by_scale(4, 8)
    }
}

/// The figure by which an arm says that the measuring of a block was disturbed (1, otherwise 0): by what else the machine did, or by the arm itself, which cannot be
/// told apart. Such a block counts like any other.
pub const DISTURBED: &str = "disturbed";

/// What the order is drawn for in which arms are made.
pub(crate) const PREPARED: &str = "order in which arms are made";

/// One side of a comparison.
#[async_trait]
pub trait Arm: Send {
    /// Does one block of the work, and says in figures what that took. The unit is part of each name: `each_us`, `p99_us`, `cpu_s`.
    async fn play(&mut self) -> Result<Vec<(&'static str, f64)>, Trouble>;

    /// What all blocks that counted give together, as pairs of x and y: distributions, for which a block is too short. Asked for once, in the end.
    fn series(&self) -> Vec<(&'static str, Vec<[f64; 2]>)> {
        Vec::new()
    }
}

#[async_trait]
impl<A: Arm + ?Sized> Arm for Box<A> {
    async fn play(&mut self) -> Result<Vec<(&'static str, f64)>, Trouble> {
        (**self).play().await
    }

    fn series(&self) -> Vec<(&'static str, Vec<[f64; 2]>)> {
        (**self).series()
    }
}

/// The arms of a topic, ready to play. What they need, such as servers, ends with this.
pub struct Contest {
    arms: Vec<(&'static str, Box<dyn Arm>)>,
}

impl std::fmt::Debug for Contest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.arms.iter().map(|(name, _)| name)).finish()
    }
}

impl Contest {
    /// Its arms, for who lets them play otherwise. What they need ends with the last of them.
    #[must_use]
    pub fn into_arms(self) -> Vec<(&'static str, Box<dyn Arm>)> {
        self.arms
    }

    /// Plays each arm once, uncounted, then so many rounds of all, in an order that is drawn anew for every round.
    ///
    /// # Errors
    /// What an arm ran into.
    pub async fn play(
        &mut self,
        rounds: u32,
        random: &mut Rng,
        mut keep: impl FnMut(Record),
    ) -> Result<(), Trouble> {
        for (_, arm) in &mut self.arms {
            arm.play().await?;
        }
        for (round, order) in (0..).zip(order(self.arms.len(), rounds, random)) {
            for index in order {
                let Some((name, arm)) = self.arms.get_mut(index) else { continue };
                let figures = arm.play().await?;
                let record = Record::new(*name, round);
                keep(figures.into_iter().fold(record, |record, (name, value)| record.with(name, value)));
            }
        }
        for (name, arm) in &self.arms {
            let series = arm.series();
            if !series.is_empty() {
                let record = Record::new(*name, 0);
                keep(
                    series.into_iter().fold(record, |record, (name, pairs)| record.with_series(name, pairs)),
                );
            }
        }
        Ok(())
    }
}

type Making<'a> = Pin<Box<dyn Future<Output = Result<Box<dyn Arm>, Trouble>> + Send + 'a>>;

/// Arms that are still to be made.
#[derive(Default)]
pub struct Arms<'a> {
    arms: Vec<(&'static str, Making<'a>)>,
}

impl std::fmt::Debug for Arms<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.arms.iter().map(|(name, _)| name)).finish()
    }
}

impl<'a> Arms<'a> {
    /// With another arm.
    #[must_use]
    pub fn with<A: Arm + 'static>(
        mut self,
        name: &'static str,
        making: impl Future<Output = Result<A, Trouble>> + Send + 'a,
    ) -> Self {
        let boxed = async move { making.await.map(|arm| Box::new(arm) as Box<dyn Arm>) };
        self.arms.push((name, Box::pin(boxed)));
        self
    }

    /// Makes them one after the other, in an order that is drawn: who comes first to a server, or to memory, may be better off for as long as it is there.
    ///
    /// # Errors
    /// What an arm ran into.
    pub async fn make(mut self, random: &mut Rng) -> Result<Contest, Trouble> {
        random.shuffle(&mut self.arms);
        let mut arms = Vec::with_capacity(self.arms.len());
        for (name, making) in self.arms {
            arms.push((name, making.await.map_err(|trouble| within(name, trouble))?));
        }
        Ok(Contest { arms })
    }
}

fn within(arm: &str, trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Failed(error) => Trouble::failed(format!("{arm}: {}", Trouble::Failed(error))),
        not_run @ Trouble::NotRun(_) => not_run,
    }
}
