use std::collections::{BTreeSet, VecDeque};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// One way in which a log may be applied. Records and partitions are numbers, as the case counts them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schedule {
    /// Whether the secondary indexes are made after everything was applied, as in a rebuild.
    pub(super) indexes_last: bool,
    pub(super) steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// All workers end, and so many begin: each holds these partitions.
    Start(Vec<Vec<usize>>),
    /// A batch is applied.
    Apply(Batch),
    /// Two batches are applied at the same time.
    AtOnce([Batch; 2]),
    /// A batch is applied and not committed; the same worker is to apply it again.
    Fail(Batch),
    /// The same, and the worker dies; another takes its partitions over.
    Die(Batch),
}

/// What one worker applies in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) worker: usize,
    pub(super) records: Vec<usize>,
}

const MOST_WORKERS: usize = 3;
/// How large the batches of a schedule may be. Some projections do something else with many rows than with few.
const MOST_RECORDS: [usize; 5] = [1, 3, 10, 40, usize::MAX];
/// How much sooner one partition is read than another.
const PACES: [u32; 3] = [1, 4, 100];

/// Draws a schedule.
struct Drawing {
    dice: StdRng,
    /// What is still to be read of each partition, and how fast it is read.
    partitions: Vec<(VecDeque<usize>, u32)>,
    workers: Vec<Vec<usize>>,
}

impl Schedule {
    /// Every record by itself, in order, by one worker. `of` is the partition of each record.
    pub(super) fn plainest(of: &[usize]) -> Self {
        let all = (0..partitions(of)).collect();
        let apply = |record| Step::Apply(Batch { worker: 0, records: vec![record] });
        let steps = std::iter::once(Step::Start(vec![all])).chain((0..of.len()).map(apply)).collect();
        Self { indexes_last: false, steps }
    }

    /// The schedule that `seed` stands for.
    pub(super) fn drawn(seed: u64, of: &[usize]) -> Self {
        let mut unread = vec![(VecDeque::new(), 1); partitions(of)];
        for (record, &partition) in of.iter().enumerate() {
            unread[partition].0.push_back(record);
        }
        let mut drawing = Drawing { dice: StdRng::seed_from_u64(seed), partitions: unread, workers: Vec::new() };
        let indexes_last = drawing.dice.random_bool(0.5);
        let steps = drawing.steps();
        Self { indexes_last, steps }
    }

    /// The same without these records.
    pub(super) fn without(&self, removed: &BTreeSet<usize>) -> Self {
        let mut steps = Vec::new();
        for mut step in self.steps.iter().cloned() {
            for batch in step.batches_mut() {
                batch.records.retain(|record| !removed.contains(record));
            }
            match step {
                Step::AtOnce([one, other]) if other.records.is_empty() => steps.push(Step::Apply(one)),
                Step::AtOnce([one, other]) if one.records.is_empty() => steps.push(Step::Apply(other)),
                step => steps.push(step),
            }
        }
        steps.retain(|step| step.batches().iter().all(|batch| !batch.records.is_empty()));
        Self { steps, ..*self }
    }

    /// What is a little simpler, the largest change first.
    pub(super) fn simpler(&self) -> Vec<Self> {
        let mut simpler = Vec::new();
        let with = |steps: Vec<Step>| Self { steps, ..*self };
        simpler.push(Self { indexes_last: false, steps: self.steps.clone() });
        simpler.push(with(self.steps.iter().cloned().map(Step::by_one_worker).collect()));
        let apart = |step: &Step| match step {
            Step::AtOnce([one, other]) => vec![Step::Apply(one.clone()), Step::Apply(other.clone())],
            step => vec![step.clone()],
        };
        simpler.push(with(self.steps.iter().flat_map(apart).collect()));
        let changes = |step: &Step| matches!(step, Step::Apply(_) | Step::AtOnce(_));
        let starts = |step: &Step| matches!(step, Step::Start(_));
        simpler.push(with(self.steps.iter().filter(|step| changes(step) || starts(step)).cloned().collect()));
        // Without its starts a schedule says no more who holds what: then one worker does.
        let undisturbed = self.steps.iter().enumerate().filter(|(at, step)| *at == 0 || changes(step));
        simpler.push(with(undisturbed.map(|(_, step)| step.clone().by_one_worker()).collect()));
        for (at, step) in self.steps.iter().enumerate().skip(1).filter(|(_, step)| !changes(step)) {
            let before = self.steps[..at].iter().rfind(|step| matches!(step, Step::Start(_)));
            if !matches!(step, Step::Start(_)) || before == Some(step) {
                simpler.push(with([&self.steps[..at], &self.steps[at + 1..]].concat()));
            }
        }
        for (at, step) in self.steps.iter().enumerate() {
            if let Step::Apply(Batch { worker, records }) = step
                && records.len() > 1
            {
                let (first, second) = records.split_at(records.len() / 2);
                let halves = [first, second].map(|half| Step::Apply(Batch { worker: *worker, records: half.to_vec() }));
                simpler.push(with([&self.steps[..at], &halves, &self.steps[at + 1..]].concat()));
            }
        }
        simpler.retain(|schedule| schedule != self);
        simpler
    }
}

impl Step {
    pub(super) fn batches(&self) -> &[Batch] {
        match self {
            Self::Start(_) => &[],
            Self::Apply(batch) | Self::Fail(batch) | Self::Die(batch) => std::slice::from_ref(batch),
            Self::AtOnce(batches) => batches,
        }
    }

    fn batches_mut(&mut self) -> &mut [Batch] {
        match self {
            Self::Start(_) => &mut [],
            Self::Apply(batch) | Self::Fail(batch) | Self::Die(batch) => std::slice::from_mut(batch),
            Self::AtOnce(batches) => batches,
        }
    }

    fn by_one_worker(mut self) -> Self {
        if let Self::Start(shares) = &mut self {
            let mut all = shares.concat();
            all.sort_unstable();
            *shares = vec![all];
        }
        for batch in self.batches_mut() {
            batch.worker = 0;
        }
        match self {
            Self::AtOnce([one, other]) => {
                Self::Apply(Batch { worker: 0, records: [one.records, other.records].concat() })
            }
            step => step,
        }
    }
}

impl Drawing {
    fn steps(&mut self) -> Vec<Step> {
        let most = MOST_RECORDS[self.dice.random_range(0..MOST_RECORDS.len())];
        // Some schedules are quiet, some are all trouble.
        let trouble = [0.0, 0.05, 0.3][self.dice.random_range(0..3)];
        let mut steps = vec![self.start()];
        while self.partitions.iter().any(|(unread, _)| !unread.is_empty()) {
            if self.dice.random_bool(trouble) {
                steps.push(self.start());
            }
            let busy: Vec<usize> = (0..self.workers.len()).filter(|&worker| self.has_work(worker)).collect();
            let worker = busy[self.dice.random_range(0..busy.len())];
            let other = busy[self.dice.random_range(0..busy.len())];
            if worker != other && self.dice.random_bool(0.5) {
                steps.push(Step::AtOnce([self.batch(worker, most), self.batch(other, most)]));
                continue;
            }
            let before = self.partitions.clone();
            let batch = self.batch(worker, most);
            if self.dice.random_bool(trouble) {
                // Whoever takes over need not cut the log as the dead did.
                self.partitions = before;
                steps.push(Step::Die(batch));
                continue;
            }
            if self.dice.random_bool(trouble) {
                steps.push(Step::Fail(batch.clone()));
            }
            steps.push(Step::Apply(batch));
        }
        steps
    }

    /// Shares out the partitions anew.
    fn start(&mut self) -> Step {
        let mut workers = vec![Vec::new(); self.dice.random_range(1..=MOST_WORKERS)];
        for partition in 0..self.partitions.len() {
            let worker = self.dice.random_range(0..workers.len());
            workers[worker].push(partition);
            self.partitions[partition].1 = PACES[self.dice.random_range(0..PACES.len())];
        }
        workers.retain(|held| !held.is_empty());
        self.workers.clone_from(&workers);
        Step::Start(workers)
    }

    fn has_work(&self, worker: usize) -> bool {
        self.workers[worker].iter().any(|&partition| !self.partitions[partition].0.is_empty())
    }

    fn batch(&mut self, worker: usize, most: usize) -> Batch {
        let size = if most == usize::MAX { most } else { self.dice.random_range(1..=most) };
        let mut records = Vec::new();
        while records.len() < size {
            let unread = |&&partition: &&usize| !self.partitions[partition].0.is_empty();
            let choices: Vec<usize> = self.workers[worker].iter().filter(unread).copied().collect();
            let paces: u32 = choices.iter().map(|&partition| self.partitions[partition].1).sum();
            if paces == 0 {
                break;
            }
            let mut at = self.dice.random_range(0..paces);
            for partition in choices {
                let (unread, pace) = &mut self.partitions[partition];
                if at < *pace {
                    records.extend(unread.pop_front());
                    break;
                }
                at -= *pace;
            }
        }
        Batch { worker, records }
    }
}

/// How many partitions records stand in.
fn partitions(of: &[usize]) -> usize {
    of.iter().max().map_or(1, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each partition's readers are given, in order, and whether everything is read by who holds it.
    fn read(schedule: &Schedule, of: &[usize]) -> Vec<Vec<usize>> {
        let mut read = vec![Vec::new(); partitions(of)];
        let mut workers = &Vec::new();
        for step in &schedule.steps {
            if let Step::Start(shares) = step {
                workers = shares;
            }
            let kept = matches!(step, Step::Apply(_) | Step::AtOnce(_));
            for batch in step.batches() {
                for &record in &batch.records {
                    assert!(workers[batch.worker].contains(&of[record]), "{schedule:?}");
                    if kept {
                        read[of[record]].push(record);
                    }
                }
            }
        }
        read
    }

    #[test]
    fn every_schedule_reads_every_record_once_and_in_order() {
        let of: Vec<usize> = (0..60).map(|record| record * record % 4).collect();
        let expected = read(&Schedule::plainest(&of), &of);
        for seed in 0..200 {
            let schedule = Schedule::drawn(seed, &of);
            assert_eq!(read(&schedule, &of), expected);
            assert_eq!(schedule, Schedule::drawn(seed, &of));
            for simpler in schedule.simpler() {
                assert_eq!(read(&simpler, &of), expected);
            }
            let removed: BTreeSet<usize> = (0..60).filter(|record| record % 3 != 0).collect();
            let fewer = read(&schedule.without(&removed), &of);
            assert!(fewer.concat().iter().all(|record| record % 3 == 0) && fewer.concat().len() == 20);
        }
    }
}
