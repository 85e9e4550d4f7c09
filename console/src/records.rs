use axum::Json;
use axum::response::IntoResponse;
use balcony_event_log::Positions;
use balcony_http::list::Page;
use balcony_http::{Params, PathId};
use balcony_projector::Moment;
use balcony_projector::operations::RecordsWanted;

use crate::at_desk::AtDesk;
use crate::cursor;
use crate::refusal::Refusal;

/// Records of a topic as CloudEvents in JSON: the newest first, or in the order of the log from an offset or a time on, or
/// those of one key. What is no CloudEvent is in an event whose data is the record in base64.
#[utoipa::path(
    get, path = "/v1/admin/topics/{topic}/records", tag = "operators", operation_id = "list_records",
    params(
        ("topic" = String, Path, description = "The topic, by its name in the program or in the log"),
        ("partition" = Option<i32>, Query, minimum = 0, description = "Only records of this partition"),
        ("from" = Option<i64>, Query, minimum = 0, description = "Begins at this offset, in each partition that is looked at"),
        ("key" = Option<String>, Query, description = "Only records with this key"),
        ("since" = Option<String>, Query, format = DateTime, description = "Only records appended at this time (RFC 3339) or later"),
        ("limit" = Option<u8>, Query, minimum = 1, maximum = 100, description = "How many at the most; 20 when absent"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of records. One that was ended by time, or by the number of records that were \
                                      looked at, has a cursor and may have few items or none", body = serde_json::Value),
        (status = 404, description = "There is no topic of this name"),
        (status = 422, description = "The topic has no such partition"),
    ),
)]
pub(crate) async fn list(
    AtDesk(desk): AtDesk,
    PathId(topic): PathId<String>,
    mut params: Params,
) -> Result<impl IntoResponse, Refusal> {
    let (partition, offset) = (params.number::<i32>("partition"), params.number::<i64>("from"));
    let key = params.text("key").map(String::into_bytes);
    let since = params.parsed::<Moment>("since").map(Moment::milliseconds);
    let most = params.limit();
    let list = format!("records {topic} {partition:?} {offset:?} {key:?} {since:?}");
    let from = cursor::take::<String>(&mut params, &list).map(|positions| Positions::from_json(&positions));
    if matches!(from, Some(Err(_))) {
        params.refuse("cursor", "is not a cursor of this list with these filters");
    }
    params.finish()?;

    let from = from.and_then(Result::ok);
    let found = desk.records(&topic, &RecordsWanted { partition, key, since, offset, from, most }).await?;
    let next_cursor = found.next.map(|next| cursor::write(&list, &next.to_json()));
    Ok(Json(Page { items: found.records, next_cursor }))
}
