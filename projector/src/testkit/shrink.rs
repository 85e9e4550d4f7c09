use std::collections::BTreeSet;

use super::case::Case;
use super::contents::Contents;
use super::schedule::Schedule;
use super::scratch::OpenScratch;

/// How a schedule failed.
pub(super) enum Fault {
    /// Something was refused.
    Refused(String),
    /// Other rows came out than of the plainest schedule.
    Differs(String),
}

/// How often it is tried to make a failing schedule shorter, in a file and on a server.
const MOST_TRIES: [usize; 2] = [200, 60];

/// Makes a failing schedule shorter for as long as it fails in the same way.
pub(super) struct Shrinking<'c> {
    case: &'c Case,
    scratch: &'c OpenScratch,
    tries: usize,
    shortest: (Schedule, Fault),
    removed: BTreeSet<usize>,
    /// What the plainest schedule leaves without the records that are removed.
    plainest: Option<(BTreeSet<usize>, Contents)>,
}

impl<'c> Shrinking<'c> {
    pub(super) fn new(case: &'c Case, scratch: &'c OpenScratch, schedule: Schedule, fault: Fault) -> Self {
        Self { case, scratch, tries: 0, shortest: (schedule, fault), removed: BTreeSet::new(), plainest: None }
    }

    /// The shortest that was found.
    pub(super) async fn run(mut self) -> (Schedule, Fault) {
        self.remove_records().await;
        self.simplify().await;
        self.remove_records().await;
        self.shortest
    }

    async fn simplify(&mut self) {
        loop {
            let mut simpler = false;
            for schedule in self.shortest.0.simpler() {
                if self.still_fails(schedule, self.removed.clone()).await {
                    simpler = true;
                    break;
                }
            }
            if !simpler {
                return;
            }
        }
    }

    /// First takes half of the records away, then ever fewer at a time.
    async fn remove_records(&mut self) {
        let count = self.case.records.len();
        let mut size = (count - self.removed.len()).div_ceil(2);
        while size > 0 {
            let left: Vec<usize> = (0..count).filter(|record| !self.removed.contains(record)).collect();
            for some in left.chunks(size) {
                let removed: BTreeSet<usize> = self.removed.iter().chain(some).copied().collect();
                let schedule = self.shortest.0.without(&removed);
                if removed.len() < count && self.still_fails(schedule, removed.clone()).await {
                    self.removed = removed;
                }
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
    }

    async fn still_fails(&mut self, schedule: Schedule, removed: BTreeSet<usize>) -> bool {
        if self.tries == MOST_TRIES[usize::from(self.scratch.writes_at_once())] {
            return false;
        }
        self.tries += 1;
        let fault = self.fault(&schedule, removed).await;
        match (fault, &self.shortest.1) {
            (Some(fault @ Fault::Differs(_)), Fault::Differs(_))
            | (Some(fault @ Fault::Refused(_)), Fault::Refused(_)) => {
                self.shortest = (schedule, fault);
                true
            }
            _ => false,
        }
    }

    /// What is wrong with a schedule; nothing, too, where the plainest fails itself.
    async fn fault(&mut self, schedule: &Schedule, removed: BTreeSet<usize>) -> Option<Fault> {
        if self.plainest.as_ref().is_none_or(|(known, _)| *known != removed) {
            let plainest = Schedule::plainest(&self.case.partition_of_each());
            let plainest = plainest.without(&self.case.without_effect(&removed));
            self.plainest = Some((removed, self.case.outcome(self.scratch, &plainest).await.ok()?));
        }
        let (_, expected) = self.plainest.as_ref()?;
        match self.case.outcome(self.scratch, schedule).await {
            Err(error) => Some(Fault::Refused(error)),
            Ok(found) => expected.difference(&found).map(Fault::Differs),
        }
    }
}
