//! Text in columns.

/// Rows under a head, whose columns stay aligned when more rows come.
pub(super) struct Table {
    head: Option<Vec<String>>,
    widths: Vec<usize>,
}

impl Table {
    pub(super) fn new(head: &[&str]) -> Self {
        Self { head: Some(head.iter().map(|&name| name.to_owned()).collect()), widths: vec![0; head.len()] }
    }

    /// The next rows as lines, the first time below the head.
    pub(super) fn lines(&mut self, rows: impl IntoIterator<Item = Vec<String>>) -> String {
        let rows: Vec<Vec<String>> = self.head.take().into_iter().chain(rows).collect();
        for row in &rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        for row in &rows {
            let cells: Vec<String> =
                row.iter().zip(&self.widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            text.push_str(cells.join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

/// `text` on one line of `most` characters, fit for a terminal whatever is in it.
pub(super) fn cut(text: &str, most: usize) -> String {
    let mut line: String = text.chars().take(most + 1).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.chars().count() > most {
        line = line.chars().take(most.saturating_sub(1)).collect();
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_stay_so() {
        let mut table = Table::new(&["NAME", "N"]);
        let row = |name: &str, number: &str| vec![name.to_owned(), number.to_owned()];
        assert_eq!(table.lines([row("überlang", "1"), row("a", "22")]), "NAME      N\nüberlang  1\na         22\n");
        assert_eq!(table.lines([row("b", "3")]), "b         3\n");
    }

    #[test]
    fn what_is_cut_says_so_and_moves_no_cursor() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("too long", 5), "too …");
        assert_eq!(cut("a\u{1b}[2Jb\n", 10), "a [2Jb ");
    }
}
