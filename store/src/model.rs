use std::sync::Arc;

use crate::{Namespace, StoreError};

/// A read model as its projection describes it. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadModel {
    /// Its name: lower-case letters, digits and dashes, the first a letter; a part of its schemas' names.
    pub name: Arc<str>,
    /// Grows with every change of its tables or of what is written into them.
    pub version: u32,
    /// The topics that it is made from.
    pub topics: Vec<Arc<str>>,
    /// The SQL that makes its tables and indexes. Each statement ends at the end of a line. Statements that begin with
    /// `CREATE INDEX` or `CREATE UNIQUE INDEX` are left to the end of a rebuild: what `apply` needs to find rows and
    /// conflicts belongs into the tables, as primary keys and constraints. A column's type is one of those that
    /// [`Value`](crate::Value) lists.
    pub schema: Arc<str>,
}

/// Bytes that a name in PostgreSQL may have.
const LONGEST_NAME: usize = 63;

impl ReadModel {
    /// A read model called `name` in `version`, made from `topics`, with the tables of `schema`.
    pub fn new<T: Into<Arc<str>>>(
        name: impl Into<Arc<str>>,
        version: u32,
        topics: impl IntoIterator<Item = T>,
        schema: impl Into<Arc<str>>,
    ) -> Self {
        let topics = topics.into_iter().map(Into::into).collect();
        Self { name: name.into(), version, topics, schema: schema.into() }
    }

    /// The name of the schema, and of the file, of its generation `number`.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] when its own name is none or too long.
    pub(crate) fn schema_name(&self, namespace: &Namespace, number: i64) -> Result<String, StoreError> {
        let is_part = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
        if !self.name.starts_with(|first: char| first.is_ascii_lowercase()) || !self.name.chars().all(is_part) {
            return Err(StoreError::Misconfigured(format!(
                "{:?} is no name of a read model: it takes lower-case letters, digits and dashes, the first a letter",
                self.name
            )));
        }
        let schema = format!("{namespace}_{}_{number}", self.name.replace('-', "_"));
        if schema.len() > LONGEST_NAME {
            return Err(StoreError::Misconfigured(format!(
                "the name {schema} is longer than {LONGEST_NAME} bytes: shorten the namespace or the read model's name"
            )));
        }
        Ok(schema)
    }

    /// The statements that make its tables, and those that make its secondary indexes.
    pub(crate) fn statements(&self) -> (Vec<&str>, Vec<&str>) {
        let (mut tables, mut indexes) = (Vec::new(), Vec::new());
        let (mut start, mut end) = (0, 0);
        let mut is_index = None;
        for line in self.schema.split_inclusive('\n') {
            end += line.len();
            let line = line.trim();
            if line.is_empty() || line.starts_with("--") {
                continue;
            }
            let index = *is_index.get_or_insert_with(|| {
                let line = line.to_ascii_uppercase();
                line.starts_with("CREATE INDEX") || line.starts_with("CREATE UNIQUE INDEX")
            });
            if line.ends_with(';') {
                if index { &mut indexes } else { &mut tables }.push(&self.schema[start..end]);
                start = end;
                is_index = None;
            }
        }
        if start < end {
            if is_index == Some(true) { &mut indexes } else { &mut tables }.push(&self.schema[start..]);
        }
        (tables, indexes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str, schema: &str) -> ReadModel {
        ReadModel::new(name, 1, ["events"], schema)
    }

    #[test]
    fn indexes_are_told_from_tables() {
        let schema = "-- Things; of all kinds.\nCREATE TABLE things (id BIGINT);\n\n-- By id.\nCREATE INDEX a ON things (id);\n\
                      create unique index b ON things (id);\n";
        let model = model("things", schema);
        let (tables, indexes) = model.statements();
        assert_eq!((tables.len(), indexes.len()), (1, 2));
        assert!(tables[0].contains("CREATE TABLE things") && indexes[0].contains("CREATE INDEX a"));
    }

    #[test]
    fn a_schema_has_namespace_name_and_number_in_its_name() {
        let namespace: Namespace = "shop".parse().expect("it is one");
        let named = |name: &str| model(name, "").schema_name(&namespace, 12);
        assert_eq!(named("sold-things").expect("it is a name"), "shop_sold_things_12");
        for name in ["", "-a", "2a", "a_b", "a b", "a\";", "A", &"a".repeat(60)] {
            assert!(matches!(named(name), Err(StoreError::Misconfigured(_))), "{name}");
        }
    }
}
