//! The pages that a node keeps, and when they are forgotten. There is no clock, log or database in here.
//!
//! A page is kept with what it was read at the least: a **lease** is taken before it is read, with the positions that the
//! read models were known to have come to. An event below these is in the page; one at or beyond them may be or not.
//! So a page is put on the shelf only if no event beyond its lease that concerns it was read from the log, and it is
//! taken off when one is. What is on the shelf is therefore what the read models show as soon as they have come to where
//! the log was read.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use balcony_event_log::{Positions, TopicPartition};

use super::concern::Concern;

/// Which page, such as its path and query.
pub(super) type Name = Arc<str>;

/// Pages `P` that were read on `S`.
#[derive(Debug)]
pub(super) struct Shelf<S, P> {
    pages: HashMap<Name, Kept<S, P>>,
    /// By what they show, the names of pages.
    concerned: HashMap<Concern, HashSet<Name>>,
    /// The pages in the order in which one goes when there is no room, with the numbers that they were put here under.
    order: VecDeque<(Name, u64)>,
    /// The number of the next.
    number: u64,
    /// How many bytes the pages have, and may have.
    bytes: usize,
    most_bytes: usize,
    /// How far the log was read; `None` while it is not.
    read: Option<Positions>,
    /// For what was changed lately, the places right after the last events that did so.
    changed: HashMap<Concern, Positions>,
    /// What was changed below is not known any more.
    forgotten: Positions,
}

/// A page that is about to be read.
#[derive(Debug, Clone)]
pub(super) struct Lease<S> {
    /// What it is read on.
    pub(super) standing: S,
    /// How far the read models had come by then.
    pub(super) reached: Positions,
}

#[derive(Debug)]
struct Kept<S, P> {
    page: P,
    standing: S,
    concerns: Arc<[Concern]>,
    bytes: usize,
    number: u64,
    /// Whether it was asked for since it was passed over when room was needed.
    used: bool,
}

/// How many changes are remembered before those that every read model has are forgotten.
const CHANGES_REMEMBERED: usize = 20_000;
/// What a concern costs beside the page, in bytes: two entries in maps.
const CONCERN_BYTES: usize = 160;

impl<S: PartialEq, P: Clone> Shelf<S, P> {
    /// An empty one for pages of `most_bytes` together.
    pub(super) fn new(most_bytes: usize) -> Self {
        Self {
            pages: HashMap::new(),
            concerned: HashMap::new(),
            order: VecDeque::new(),
            number: 0,
            bytes: 0,
            most_bytes,
            read: None,
            changed: HashMap::new(),
            forgotten: Positions::new(),
        }
    }

    /// How many bytes the pages have.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How far the log was read.
    pub(super) fn read(&self) -> Option<&Positions> {
        self.read.as_ref()
    }

    /// Begins to read the log at `from`.
    pub(super) fn begin(&mut self, from: Positions) {
        self.end();
        self.forgotten = from.clone();
        self.read = Some(from);
    }

    /// The log is not read any more: nothing is known.
    pub(super) fn end(&mut self) {
        self.clear();
        self.changed.clear();
        self.read = None;
    }

    /// Takes everything off.
    pub(super) fn clear(&mut self) {
        self.pages.clear();
        self.concerned.clear();
        self.order.clear();
        self.bytes = 0;
    }

    /// Takes off what an event right before `offset` of `partition` has changed.
    pub(super) fn change(&mut self, concerns: &[Concern], partition: &TopicPartition, offset: i64) {
        for concern in concerns {
            self.changed.entry(*concern).or_default().advance(partition, offset);
            for name in self.concerned.remove(concern).unwrap_or_default() {
                self.remove(&name);
            }
        }
    }

    /// Everything below `reached` was read and what it changes said; `everywhere` is what every read model has.
    pub(super) fn reach(&mut self, reached: &Positions, everywhere: impl FnOnce() -> Positions) {
        if let Some(read) = &mut self.read {
            read.merge(reached);
        }
        if self.changed.len() <= CHANGES_REMEMBERED {
            return;
        }
        let everywhere = everywhere();
        self.changed.retain(|_, changed| !everywhere.covers(changed));
        if self.changed.len() > CHANGES_REMEMBERED {
            // The read models are far behind. No page is kept until they have come to where the log was read.
            self.changed.clear();
            self.forgotten.merge(self.read.as_ref().unwrap_or(reached));
        } else {
            self.forgotten.merge(&everywhere);
        }
    }

    /// The page called `name` as it is for whoever stands on `standing`.
    pub(super) fn find(&mut self, name: &str, standing: &S) -> Option<P> {
        let kept = self.pages.get_mut(name)?;
        if kept.standing != *standing {
            let name = self.pages.get_key_value(name).map(|(name, _)| name.clone())?;
            self.remove(&name);
            return None;
        }
        kept.used = true;
        Some(kept.page.clone())
    }

    /// How far the read models must have come when a lease is taken of a page that is to be kept.
    pub(super) fn forgotten(&self) -> &Positions {
        &self.forgotten
    }

    /// Puts `page` of so many `bytes` on the shelf, unless something that it shows may have been changed since its lease.
    pub(super) fn keep(&mut self, name: Name, lease: Lease<S>, page: P, bytes: usize, concerns: Arc<[Concern]>) {
        let Lease { standing, reached } = lease;
        let is_unchanged = |concern: &Concern| self.changed.get(concern).is_none_or(|changed| reached.covers(changed));
        let bytes = bytes + name.len() + concerns.len() * CONCERN_BYTES;
        if self.read.is_none()
            || !reached.covers(&self.forgotten)
            || !concerns.iter().all(is_unchanged)
            || bytes > self.most_bytes / 8
        {
            return;
        }
        self.remove(&name);
        for concern in concerns.iter() {
            self.concerned.entry(*concern).or_default().insert(name.clone());
        }
        self.bytes += bytes;
        self.number += 1;
        let number = self.number;
        self.order.push_back((name.clone(), number));
        self.pages.insert(name, Kept { page, standing, concerns, bytes, number, used: false });
        while self.bytes > self.most_bytes {
            self.make_room();
        }
    }

    /// Takes off a page that nobody has asked for lately.
    fn make_room(&mut self) {
        let Some((name, number)) = self.order.pop_front() else { return };
        match self.pages.get_mut(&name) {
            Some(kept) if kept.number != number => {}
            Some(kept) if kept.used => {
                kept.used = false;
                self.order.push_back((name, number));
            }
            Some(_) => self.remove(&name),
            None => {}
        }
    }

    fn remove(&mut self, name: &Name) {
        let Some(kept) = self.pages.remove(name) else { return };
        self.bytes -= kept.bytes;
        for concern in kept.concerns.iter() {
            if let Some(names) = self.concerned.get_mut(concern) {
                names.remove(name);
                if names.is_empty() {
                    self.concerned.remove(concern);
                }
            }
        }
        if self.order.len() > 2 * self.pages.len() + 64 {
            let pages = &self.pages;
            self.order.retain(|(name, number)| pages.get(name).is_some_and(|kept| kept.number == *number));
        }
    }
}
