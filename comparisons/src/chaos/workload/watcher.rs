//! Who watches: through, away for a while, or without reading for a while.

use futures_util::StreamExt;
use registry_core::Cursor;

use super::{Actor, Habit, Phase, Stage};
use crate::chaos::client::{Client, Hearing, position};
use crate::chaos::history::{Item, Line, Told};

/// Plays a watcher.
pub(super) async fn play(stage: Stage, actor: Actor, habit: Habit) {
    let client = stage.read_client(&actor);
    let mut watcher = Watcher { stage: &stage, name: actor.name(), cursor: None };
    let mut hearing = watcher.start(client.as_ref());
    match habit {
        Habit::Through => {}
        Habit::Resumes { away_ms } => {
            for (at, away) in away_ms {
                if !watcher.hear_until(&mut hearing, at).await {
                    break;
                }
                drop(hearing);
                watcher.tell(Item::Dropped);
                stage.until_change(at + away).await;
                hearing = watcher.start(client.as_ref());
            }
        }
        Habit::Stops { at_ms, for_ms } => {
            if watcher.hear_until(&mut hearing, at_ms).await {
                watcher.tell(Item::StopsReading);
                stage.until_change(at_ms + for_ms).await;
                watcher.tell(Item::ReadsAgain);
            }
        }
    }
    watcher.hear(&mut hearing).await;
}

struct Watcher<'a> {
    stage: &'a Stage,
    name: String,
    cursor: Option<Cursor>,
}

impl Watcher<'_> {
    fn tell(&self, item: Item) {
        let (watcher, at) = (self.name.clone(), self.stage.recorder.now());
        self.stage.recorder.write(Line::Told(Told { watcher, at, item }));
    }

    fn start(&self, client: &dyn Client) -> Hearing {
        self.tell(Item::Started { from: self.cursor.map(position) });
        client.watch(self.cursor)
    }

    /// Reads until the watch ends, or the play is over.
    async fn hear(&mut self, hearing: &mut Hearing) {
        loop {
            tokio::select! {
                biased;
                () = self.stage.comes(Phase::Over) => return,
                heard = hearing.next() => match heard {
                    Some(heard) => {
                        self.cursor = heard.cursor.or(self.cursor);
                        self.tell(heard.item);
                    }
                    None => {
                        self.tell(Item::Ended);
                        return self.stage.comes(Phase::Over).await;
                    }
                },
            }
        }
    }

    /// Reads until so many milliseconds since the play began; `false` if changes end before that.
    async fn hear_until(&mut self, hearing: &mut Hearing, ms: u64) -> bool {
        let stage = self.stage;
        tokio::select! {
            biased;
            in_time = stage.until_change(ms) => in_time,
            () = self.hear(hearing) => false,
        }
    }
}
