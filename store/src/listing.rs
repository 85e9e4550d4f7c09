use crate::{BuildOptions, Generation, ListedGeneration, StoreError, Tx};

type GenerationRow = (String, i64, i64, Option<String>, String, Option<String>, i64, i64, i64, i64, i64);

/// Every generation, of one read model or of all, oldest first.
pub(crate) async fn list(tx: &mut Tx, projection: Option<&str>) -> Result<Vec<ListedGeneration>, StoreError> {
    let rows: Vec<GenerationRow> = tx
        .fetch(
            "SELECT projection, generation, version, schema_name, state, error, attempts, accepted, keep_old,
                 park_failures, allow_differences
             FROM generations WHERE projection = $1 OR $1 IS NULL ORDER BY projection, generation",
            &[projection.into()],
        )
        .await?;
    rows.into_iter()
        .map(|row| {
            let (projection, number, version, schema, state, error, attempts, accepted, keep_old, park, differ) = row;
            let options =
                BuildOptions { keep_old: keep_old != 0, park_failures: park != 0, allow_differences: differ != 0 };
            let schema = schema.unwrap_or_else(|| unnamed_schema(&projection, number));
            let generation = Generation { projection, number, version, schema };
            Ok(ListedGeneration { generation, state: state.parse()?, error, attempts, accepted, options })
        })
        .collect()
}

/// The schema of a generation from before schemas had a namespace in their names.
pub(crate) fn unnamed_schema(projection: &str, number: i64) -> String {
    format!("{}_{number}", projection.replace('-', "_"))
}
