//! What a new generation takes over from the one before it.

use balcony_store::{StoreError, Tx, Uuid, Value};

/// How many rows are copied at a time.
const PAGE: i64 = 5_000;

/// Series, length of the window, its beginning, value; then count, sum, least and most.
type Count = (String, i64, i64, String, i64, Option<i64>, Option<i64>, Option<i64>);

/// Copies what was counted of `source`, as far as `is_counted` says yes to its series and the length of its window.
pub(crate) async fn copy(
    source: &str,
    is_counted: impl Fn(&str, i64) -> bool,
    before: &mut Tx,
    tx: &mut Tx,
) -> Result<(), StoreError> {
    copy_counts(source, is_counted, before, tx).await?;
    copy_ids(source, before, tx).await?;

    let sql = "SELECT at, record_offset FROM counted_to WHERE source = $1";
    let reached: Vec<(i64, i64)> = before.fetch(sql, &[source.into()]).await?;
    let rows: Vec<[Value<'_>; 3]> =
        reached.into_iter().map(|(at, offset)| [source.into(), at.into(), offset.into()]).collect();
    tx.execute_rows("INSERT INTO counted_to (source, at, record_offset) VALUES $rows", &rows).await.map(drop)
}

async fn copy_counts(
    source: &str,
    is_counted: impl Fn(&str, i64) -> bool,
    before: &mut Tx,
    tx: &mut Tx,
) -> Result<(), StoreError> {
    let sql = "SELECT series, span, window_start, value, counted, sum, least, most FROM window_counts
               WHERE source = $1 AND (series, span, window_start, value) > ($2, $3, $4, $5)
               ORDER BY series, span, window_start, value LIMIT $6";
    let columns = ["series", "span", "window_start", "value", "source", "counted", "sum", "least", "most"];
    let mut after = (String::new(), i64::MIN, i64::MIN, String::new());
    loop {
        let (series, span, start, value) = &after;
        let params = [
            source.into(),
            series.as_str().into(),
            (*span).into(),
            (*start).into(),
            value.as_str().into(),
            PAGE.into(),
        ];
        let page: Vec<Count> = before.fetch(sql, &params).await?;
        let Some((series, span, start, value, ..)) = page.last() else { return Ok(()) };
        let last = (series.clone(), *span, *start, value.clone());
        let rows: Vec<[Value<'_>; 9]> = page
            .iter()
            .filter(|(series, span, ..)| is_counted(series, *span))
            .map(|(series, span, start, value, counted, sum, least, most)| {
                [
                    series.as_str().into(),
                    (*span).into(),
                    (*start).into(),
                    value.as_str().into(),
                    source.into(),
                    (*counted).into(),
                    (*sum).into(),
                    (*least).into(),
                    (*most).into(),
                ]
            })
            .collect();
        let key = ["series", "span", "window_start", "value", "source"];
        tx.insert_new("window_counts", &key, columns, &rows).await?;
        after = last;
    }
}

async fn copy_ids(source: &str, before: &mut Tx, tx: &mut Tx) -> Result<(), StoreError> {
    let sql = "SELECT id, record_offset FROM counted_ids WHERE source = $1 AND record_offset > $2
               ORDER BY record_offset LIMIT $3";
    let mut after = -1;
    loop {
        let page: Vec<(Uuid, i64)> = before.fetch(sql, &[source.into(), after.into(), PAGE.into()]).await?;
        let Some((_, last)) = page.last() else { return Ok(()) };
        after = *last;
        let rows: Vec<[Value<'_>; 3]> =
            page.iter().map(|(id, offset)| [(*id).into(), source.into(), (*offset).into()]).collect();
        let columns = ["id", "source", "record_offset"];
        tx.insert_new("counted_ids", &["id", "source"], columns, &rows).await?;
    }
}
