//! The lines of a text that lies there whole.

use std::io::{self, BufRead};

/// Reads a text line by line, and says of each where it stood.
#[derive(Debug)]
pub struct Lines<R> {
    text: R,
    longest: usize,
    number: u64,
}

/// A line of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    /// Its number, from 1.
    pub number: u64,
    /// What it says, without white space at its end; of a line that is longer than is read, the beginning.
    pub text: Vec<u8>,
    /// Whether it was longer than is read.
    pub is_cut: bool,
    /// How many bytes of the text it took.
    pub length: u64,
}

impl<R: BufRead> Lines<R> {
    /// The lines of `text`, of which up to `longest` bytes each are kept.
    pub fn new(text: R, longest: usize) -> Self {
        Self { text, longest, number: 0 }
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = io::Result<Numbered>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut text = Vec::new();
        let read = self.read(&mut text);
        self.number += 1;
        let is_cut = read.as_ref().is_ok_and(|length| *length > text.len());
        text.truncate(text.trim_ascii_end().len());
        let line = |length| Numbered { number: self.number, text, is_cut, length: length as u64 };
        read.map(|length| (length > 0).then(|| line(length))).transpose()
    }
}

impl<R: BufRead> Lines<R> {
    /// Reads a line, and says how long it is; 0 at the end.
    fn read(&mut self, text: &mut Vec<u8>) -> io::Result<usize> {
        // The end of a line that is as long as may be.
        let most = self.longest as u64 + 1;
        let read = io::Read::take(&mut self.text, most).read_until(b'\n', text)?;
        if read as u64 == most && !text.ends_with(b"\n") {
            text.truncate(self.longest);
            return Ok(read + self.text.skip_until(b'\n')?);
        }
        Ok(read)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_bounded_and_come_to_the_whole_text() {
        let text = "one\r\n\nexact\ntoo long\ntoo lo\nend";
        let lines: Vec<Numbered> = Lines::new(text.as_bytes(), 5).map(Result::unwrap).collect();
        let shown: Vec<_> = lines.iter().map(|line| (line.number, &line.text[..], line.is_cut)).collect();
        let expected: [(u64, &[u8], bool); 6] = [
            (1, b"one", false),
            (2, b"", false),
            (3, b"exact", false),
            (4, b"too l", true),
            (5, b"too l", true),
            (6, b"end", false),
        ];
        assert_eq!(shown, expected);
        assert_eq!(lines.iter().map(|line| line.length).sum::<u64>(), text.len() as u64);
    }
}
