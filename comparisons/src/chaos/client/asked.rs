//! Something that was asked and is not answered yet. If its asker gives up, that is written down.

use crate::chaos::history::{At, Line, Operation, Outcome, Verb};
use crate::chaos::recorder::Recorder;

/// Something that was asked. Dropped without an answer, it is unknown what came of it.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    recorder: &'a Recorder,
    /// None once it was answered.
    operation: Option<Operation>,
}

impl<'a> Asked<'a> {
    /// It is asked now.
    pub(crate) fn new(recorder: &'a Recorder, client: &str, verb: Verb) -> Self {
        let outcome = Outcome::Unknown { kind: "dropped".to_owned() };
        let client = client.to_owned();
        let (invoked, returned) = (recorder.now(), At(0));
        let operation =
            Operation { client, verb, id: None, incarnation: None, value: None, invoked, returned, outcome };
        Self { recorder, operation: Some(operation) }
    }

    /// About an instance, under an incarnation if there is one, with a value if it is a write.
    pub(crate) fn about(mut self, id: &str, incarnation: Option<u64>, value: Option<u64>) -> Self {
        if let Some(operation) = &mut self.operation {
            operation.id = Some(id.to_owned());
            (operation.incarnation, operation.value) = (incarnation, value);
        }
        self
    }

    /// When it was asked.
    pub(crate) fn invoked(&self) -> At {
        self.operation.as_ref().map_or(At(0), |operation| operation.invoked)
    }

    /// It is answered now.
    pub(crate) fn answered(mut self, outcome: Outcome) {
        if let Some(operation) = &mut self.operation {
            operation.outcome = outcome;
        }
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if let Some(mut operation) = self.operation.take() {
            operation.returned = self.recorder.now();
            self.recorder.write(Line::Operation(operation));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Asked;
    use crate::chaos::history::{Line, Outcome, Verb};
    use crate::chaos::recorder::{Clock, Recorder};

    #[test]
    fn what_was_given_up_is_unknown_and_what_was_answered_is_written_once() {
        let (recorder, mut recording) = Recorder::new(Clock::start());
        drop(Asked::new(&recorder, "0.1", Verb::Update).about("a", Some(1), Some(2)));
        let done = Outcome::Ok { revision: Some(3), incarnation: None, position: None, listed: None };
        Asked::new(&recorder, "0.1", Verb::Update).answered(done.clone());
        let outcomes = recording.drain().into_iter().map(|line| match line {
            Line::Operation(operation) => {
                assert!(operation.invoked <= operation.returned);
                operation.outcome
            }
            other => panic!("{other:?}"),
        });
        assert_eq!(outcomes.collect::<Vec<_>>(), [Outcome::Unknown { kind: "dropped".to_owned() }, done]);
    }
}
