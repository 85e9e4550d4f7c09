use balcony_store::Value;
use uuid::Uuid;

/// The conditions of a query whose filters may be absent, and its parameters. Only those that are present stand in
/// the SQL, so that the database sees which index serves.
#[derive(Debug, Clone)]
pub(crate) struct Conditions {
    text: String,
    params: Vec<Value<'static>>,
}

impl Conditions {
    /// Begins with a condition that always holds for the query.
    pub(crate) fn new(always: &str) -> Self {
        Self { text: always.to_owned(), params: Vec::new() }
    }

    /// Adds a condition in which each `?` stands for the next of `values`.
    pub(crate) fn and<const N: usize>(&mut self, condition: &str, values: [Value<'static>; N]) {
        self.text.push_str(" AND ");
        let mut values = values.into_iter();
        for part in condition.split_inclusive('?') {
            let Some(before) = part.strip_suffix('?') else {
                self.text.push_str(part);
                continue;
            };
            let value = values.next().expect("a condition has as many values as marks");
            self.text.push_str(before);
            let parameter = self.bind(value);
            self.text.push_str(&parameter);
        }
        assert!(values.next().is_none(), "a condition has as many marks as values");
    }

    /// Adds the condition that `column` is one of `ids`, which are not none.
    pub(crate) fn is_one_of(&mut self, column: &str, ids: &[Uuid]) {
        let names: Vec<String> = ids.iter().map(|&id| self.bind(id.into())).collect();
        self.text.push_str(&format!(" AND {column} IN ({})", names.join(", ")));
    }

    /// Adds a parameter and gives its name.
    pub(crate) fn bind(&mut self, value: Value<'static>) -> String {
        self.params.push(value);
        format!("${}", self.params.len())
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn params(&self) -> &[Value<'static>] {
        &self.params
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_as_they_come() {
        let mut conditions = Conditions::new("gone IS NULL");
        conditions.and("a = ?", [1.into()]);
        conditions.and("(b, c) < (?, ?)", [2.into(), "x".into()]);
        let limit = conditions.bind(3.into());
        assert_eq!(conditions.text(), "gone IS NULL AND a = $1 AND (b, c) < ($2, $3)");
        assert_eq!(limit, "$4");
        assert_eq!(conditions.params(), [1.into(), 2.into(), "x".into(), 3.into()]);
    }
}
