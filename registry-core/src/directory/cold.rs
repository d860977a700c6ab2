//! The start without a registry: what was saved is read, and served once patience with the registry is over.

use std::pin::Pin;

use tokio::time::{Instant, sleep_until};

use super::disk::{Disk, Saved};
use crate::time::later;

type Load = Pin<Box<dyn Future<Output = Option<Saved>> + Send>>;

pub(super) enum Cold {
    /// It is being read. There is patience until then; `None`: there is no more.
    Loading(Load, Option<Instant>),
    /// It was read.
    Loaded(Saved, Option<Instant>),
    /// It is served, there is nothing, or the registry has answered.
    Over,
}

impl Cold {
    pub(super) fn new(disk: Option<Disk>, now: Instant) -> Self {
        disk.map_or(Self::Over, |disk| {
            let patience = later(now, disk.grace());
            Self::Loading(Box::pin(disk.load()), Some(patience))
        })
    }

    /// Waits for what is next. Dropping the future loses nothing.
    pub(super) async fn step(&mut self) {
        match self {
            Self::Loading(load, patience) => {
                let patience = *patience;
                tokio::select! {
                    biased;
                    saved = load => *self = saved.map_or(Self::Over, |saved| Self::Loaded(saved, patience)),
                    () = at(patience) => self.lose_patience(),
                }
            }
            Self::Loaded(_, patience @ Some(_)) => {
                at(*patience).await;
                self.lose_patience();
            }
            Self::Loaded(_, None) | Self::Over => std::future::pending().await,
        }
    }

    pub(super) fn lose_patience(&mut self) {
        if let Self::Loading(_, patience) | Self::Loaded(_, patience) = self {
            *patience = None;
        }
    }

    /// Whether what was saved is still being read, and there is patience.
    pub(super) fn is_reading(&self) -> bool {
        matches!(self, Self::Loading(_, Some(_)))
    }

    /// What is to be served from now on, once.
    pub(super) fn take(&mut self) -> Option<Saved> {
        if matches!(self, Self::Loaded(_, None)) { self.saved() } else { None }
    }

    /// What was read, once.
    pub(super) fn saved(&mut self) -> Option<Saved> {
        match std::mem::replace(self, Self::Over) {
            Self::Loaded(saved, _) => Some(saved),
            other => {
                *self = other;
                None
            }
        }
    }
}

/// Waits for a moment, if there is one.
pub(super) async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
