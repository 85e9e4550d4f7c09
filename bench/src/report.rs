//! The tables.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use crate::figures::{median, ratios};

/// All that was measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    sections: Vec<Section>,
}

/// What was measured in turn.
#[derive(Debug, Serialize)]
pub(crate) struct Section {
    pub(crate) title: String,
    /// Of the figures: `posts/s`, `ms`.
    pub(crate) unit: &'static str,
    pub(crate) lines: Vec<Line>,
    ratios: Vec<Ratio>,
}

/// One thing that was measured, once a round.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Line {
    pub(crate) what: String,
    pub(crate) figures: Vec<f64>,
    /// Milliseconds, or whatever its name says, by round.
    pub(crate) details: BTreeMap<&'static str, Vec<f64>>,
    /// Microseconds of processor time an event, by group of processes and round.
    pub(crate) processor: BTreeMap<&'static str, Vec<f64>>,
}

#[derive(Debug, Serialize)]
struct Ratio {
    what: String,
    limit: String,
    median: f64,
    rounds: Vec<f64>,
}

impl Line {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), ..Self::default() }
    }

    pub(crate) fn detail(&mut self, name: &'static str, value: f64) {
        self.details.entry(name).or_default().push(value);
    }

    pub(crate) fn processor(&mut self, each: BTreeMap<&'static str, f64>) {
        for (group, microseconds) in each {
            self.processor.entry(group).or_default().push(microseconds);
        }
    }
}

impl Section {
    pub(crate) fn new(title: impl Into<String>, unit: &'static str) -> Self {
        Self { title: title.into(), unit, lines: Vec::new(), ratios: Vec::new() }
    }

    /// Sets the line `what` beside the line `limit`.
    pub(crate) fn compare(&mut self, what: usize, limit: usize) {
        let rounds = ratios(&self.lines[what].figures, &self.lines[limit].figures);
        let name = |line: usize| self.lines[line].what.clone();
        self.ratios.push(Ratio { what: name(what), limit: name(limit), median: median(&rounds), rounds });
    }

    fn columns(&self, of: impl Fn(&Line) -> &BTreeMap<&'static str, Vec<f64>>) -> Vec<&'static str> {
        let mut names: Vec<_> = self.lines.iter().flat_map(|line| of(line).keys().copied()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Its title and columns, then a row for each line.
    fn rows(&self) -> Vec<Vec<String>> {
        let details = self.columns(|line| &line.details);
        let groups = self.columns(|line| &line.processor);
        let mut rows = vec![vec![self.title.clone(), self.unit.to_owned()]];
        rows[0].extend(details.iter().map(|name| (*name).to_owned()));
        rows[0].extend(groups.iter().map(|group| format!("µs {group}")));
        for line in &self.lines {
            let mut row = vec![line.what.clone(), number(median(&line.figures))];
            let cell = |values: Option<&Vec<f64>>| values.map_or_else(String::new, |values| number(median(values)));
            row.extend(details.iter().map(|name| cell(line.details.get(name))));
            row.extend(groups.iter().map(|group| cell(line.processor.get(group))));
            rows.push(row);
        }
        rows
    }

    /// The table in Markdown.
    fn markdown(&self) -> String {
        let mut text = String::new();
        for (number, row) in self.rows().into_iter().enumerate() {
            writeln!(text, "| {} |", row.join(" | ")).expect("a String takes it");
            if number == 0 {
                writeln!(text, "|{}", "---|".repeat(row.len())).expect("a String takes it");
            }
        }
        text.push('\n');
        for ratio in &self.ratios {
            let Ratio { what, limit, median, .. } = ratio;
            let (least, most) = ratio.range();
            writeln!(text, "- **{median:.2}** ({least:.2} to {most:.2}): {what} ÷ {limit}").expect("a String takes it");
        }
        text
    }

    fn table(&self) -> String {
        let mut rows = self.rows();
        rows.iter_mut().skip(1).for_each(|row| row[0].insert_str(0, "  "));
        let mut text = aligned(&rows);
        for ratio in &self.ratios {
            let (least, most) = ratio.range();
            let Ratio { what, limit, median, .. } = ratio;
            writeln!(text, "  {median:>6.2} ({least:.2} to {most:.2})  {what}  ÷  {limit}").expect("a String takes it");
        }
        text
    }
}

impl Ratio {
    fn range(&self) -> (f64, f64) {
        let rounds = self.rounds.iter().copied();
        (rounds.clone().fold(f64::INFINITY, f64::min), rounds.fold(0.0, f64::max))
    }
}

/// What the tables of a run stand between, in a text.
const BEGIN: &str = "<!-- What follows is written by balcony-bench --write. -->\n";
const END: &str = "<!-- Until here. -->\n";

impl Report {
    pub(crate) fn add(&mut self, section: Section) {
        self.sections.push(section);
    }

    /// Writes all tables into the Markdown file `path`, in place of those that stand there, with the `command` that gave them.
    pub(crate) fn write(&self, path: &Path, command: &str) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        std::fs::write(path, self.put_into(&text, command)?).with_context(|| path.display().to_string())
    }

    fn put_into(&self, text: &str, command: &str) -> anyhow::Result<String> {
        let (before, rest) = text.split_once(BEGIN).context("there is no place for tables in it")?;
        let (_, after) = rest.split_once(END).context("the place for tables in it has no end")?;
        let tables: Vec<String> = self.sections.iter().map(Section::markdown).collect();
        Ok(format!("{before}{BEGIN}\n`{command}`:\n\n{}\n{END}{after}", tables.join("\n")))
    }

    pub(crate) fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string_pretty(self)?);
            return Ok(());
        }
        for section in &self.sections {
            println!("{}", section.table());
        }
        if !self.sections.is_empty() {
            println!(
                "Medians of the rounds; ratios are those of one round, with their least and most. µs: processor time an \
                 event, by process."
            );
        }
        Ok(())
    }
}

/// The first column to the left, the others to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = format!("{:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            write!(line, "  {cell:>width$}").expect("a String takes it");
        }
        writeln!(text, "{}", line.trim_end()).expect("a String takes it");
    }
    text
}

/// Three digits or so, with separators.
fn number(value: f64) -> String {
    if value < 10.0 {
        return format!("{value:.2}");
    }
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let first = digits.len() % 3;
    let mut text = digits[..first].to_owned();
    for group in digits.as_bytes()[first..].chunks(3) {
        if !text.is_empty() {
            text.push(',');
        }
        text.extend(group.iter().map(|&digit| char::from(digit)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_separated() {
        let texts: Vec<_> = [0.126, 12.34, 123.4, 1_234.0, 123_456.0, 1_234_567.0].map(number).into();
        assert_eq!(texts, ["0.13", "12.3", "123", "1,234", "123,456", "1,234,567"]);
    }

    #[test]
    fn tables_take_the_place_of_those_before() {
        let mut section = Section::new("posting", "posts/s");
        section.lines = vec![
            Line { figures: vec![100.0], ..Line::new("bare") },
            Line { figures: vec![50.0], ..Line::new("balcony") },
        ];
        section.compare(1, 0);
        let report = Report { sections: vec![section] };
        let text = format!("# Figures\n\n{BEGIN}\nold\n{END}\nMore.\n");
        let written = report.put_into(&text, "balcony-bench").expect("there is a place");
        let table = "| posting | posts/s |\n|---|---|\n| bare | 100 |\n| balcony | 50.0 |\n\n- **0.50** (0.50 to 0.50): balcony ÷ bare\n";
        assert_eq!(written, format!("# Figures\n\n{BEGIN}\n`balcony-bench`:\n\n{table}\n{END}\nMore.\n"));
        assert_eq!(report.put_into(&written, "balcony-bench").expect("there is a place"), written);
        assert!(report.put_into("nothing", "balcony-bench").is_err());
    }

    #[test]
    fn a_table_has_a_row_for_each_line_and_a_ratio_for_each_pair() {
        let mut section = Section::new("posting", "posts/s");
        for (what, figures) in [("bare", [100.0, 200.0, 300.0]), ("balcony", [50.0, 150.0, 60.0])] {
            section.lines.push(Line { figures: figures.to_vec(), ..Line::new(what) });
        }
        section.lines[0].detail("p50 ms", 2.5);
        section.lines[1].processor([("service", 31.0)].into());
        section.compare(1, 0);
        assert_eq!(
            section.table(),
            "posting    posts/s  p50 ms  µs service\n  bare         200    2.50\n  balcony     60.0                31.0\n\
             \u{20}   0.50 (0.20 to 0.75)  balcony  ÷  bare\n"
        );
    }
}
