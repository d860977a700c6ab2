//! A change of one instance, folded into a view of many and of few.

use async_trait::async_trait;
use comparisons::experiment::Trouble;
use comparisons::lab::Lab;

use crate::bars::{Bar, Bound};
use crate::contest::{Arm, Arms, Contest, PREPARED, Topic};
use crate::work::folding::Folding;
use crate::work::timed::each_ns;

/// Folds changes at 100,000 and at 100 instances. What is judged is how it grows: the arms called raw are the library, too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fold;

const MANY: usize = 100_000;
const FEW: usize = 100;
/// So many changes are made before the clock runs.
const AT_ONCE: u32 = 5_000;
const BATCHES: u32 = 10;

#[async_trait]
impl Topic for Fold {
    fn name(&self) -> &'static str {
        "fold"
    }

    fn bars(&self) -> &'static [Bar] {
        const BARS: [Bar; 2] = [
            Bar::new("one change folded at 100,000 instances / at 100", "each_ns", Bound::AtMost(3.0)),
            Bar::new(
                "the differences of one change at 100,000 instances / at 100",
                "differences_ns",
                Bound::Told,
            ),
        ];
        &BARS
    }

    async fn prepare(&self, lab: &Lab) -> Result<Contest, Trouble> {
        let at_once = lab.by_scale(AT_ONCE / 10, AT_ONCE);
        let folding = async |size| Ok(Folds { folding: Folding::new(size, lab.random("fold"))?, at_once });
        let arms = Arms::default().with("ours", folding(MANY)).with("raw", folding(FEW));
        arms.with("raw again", folding(FEW)).make(&mut lab.random(PREPARED)).await
    }
}

struct Folds {
    folding: Folding,
    at_once: u32,
}

#[async_trait]
impl Arm for Folds {
    async fn play(&mut self) -> Result<Vec<(&'static str, f64)>, Trouble> {
        let mut folding = std::time::Duration::ZERO;
        for _ in 0..BATCHES {
            folding += self.folding.fold(self.at_once)?;
        }
        let differences = self.folding.differences(self.at_once)?;
        Ok(vec![
            ("each_ns", each_ns(folding, BATCHES * self.at_once)),
            ("differences_ns", each_ns(differences, self.at_once)),
        ])
    }
}
