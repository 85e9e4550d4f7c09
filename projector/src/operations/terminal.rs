//! What a command reads and writes.

use std::fmt::Arguments;
use std::io::{BufRead, BufReader, ErrorKind, IsTerminal as _, Write};

/// What a command reads from and writes to: results to one place, what is worth knowing about them to another.
pub struct Terminal<'c> {
    pub(crate) input: Box<dyn BufRead + Send + 'c>,
    pub(crate) output: Box<dyn Write + Send + 'c>,
    pub(crate) messages: Box<dyn Write + Send + 'c>,
    /// Whether a person types the input.
    pub(crate) is_typed: bool,
    /// Whether the output is shown to somebody.
    pub(crate) is_shown: bool,
}

impl Terminal<'static> {
    /// This process's standard input, output and error.
    pub fn standard() -> Self {
        let (input, output) = (std::io::stdin(), std::io::stdout());
        let (is_typed, is_shown) = (input.is_terminal(), output.is_terminal());
        Self {
            input: Box::new(BufReader::new(input)),
            output: Box::new(output),
            messages: Box::new(std::io::stderr()),
            is_typed,
            is_shown,
        }
    }
}

impl<'c> Terminal<'c> {
    /// Writes a line that says what was done. Whoever has stopped reading misses it, and it is done all the same.
    pub(crate) fn tell(&mut self, line: Arguments<'_>) -> anyhow::Result<()> {
        match writeln!(self.output, "{line}") {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// A terminal that reads `input` and writes results to `output` and the rest to `messages`.
    pub fn new(
        input: impl BufRead + Send + 'c,
        output: impl Write + Send + 'c,
        messages: impl Write + Send + 'c,
    ) -> Self {
        Self {
            input: Box::new(input),
            output: Box::new(output),
            messages: Box::new(messages),
            is_typed: false,
            is_shown: false,
        }
    }
}

/// A text from a record as a terminal may show it.
pub(super) fn shown(text: &str) -> String {
    let shown =
        |c: char| if c.is_control() && !matches!(c, '\n' | '\t') { c.escape_default().to_string() } else { c.into() };
    text.chars().map(shown).collect()
}
