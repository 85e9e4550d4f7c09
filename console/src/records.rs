use axum::Json;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use balcony_event_log::{Positions, TopicPartition};
use balcony_projector::Moment;
use balcony_projector::operations::{Desk, RecordsWanted};
use serde::{Deserialize, Serialize};

use crate::admin::Admin;
use crate::place::{self, Asked, Page};
use crate::refusal::Refusal;

/// Where each partition goes on: topic, partition, offset.
#[derive(Serialize, Deserialize)]
struct Place(Vec<(String, i32, i64)>);

/// Records of a topic as CloudEvents in JSON: the newest first, or in the order of the log from an offset or a time on, or
/// those of one key. What is no CloudEvent is in an event whose data is the record in base64.
#[utoipa::path(
    get, path = "/v1/admin/topics/{topic}/records", tag = "operators", operation_id = "list_records",
    params(
        ("topic" = String, Path, description = "The topic, by its name in the program or in the log"),
        ("partition" = Option<i32>, Query, description = "Only records of this partition"),
        ("from" = Option<i64>, Query, description = "Begins at this offset, in each partition that is looked at"),
        ("key" = Option<String>, Query, description = "Only records with this key"),
        ("since" = Option<String>, Query, description = "Only records appended at this time (RFC 3339) or later"),
        ("limit" = Option<u8>, Query, description = "How many at the most: 1 to 100, 20 when absent"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of records. One that was ended by time, or by the number of records that were \
                                      looked at, has a cursor and may have few items or none", body = serde_json::Value),
        (status = 404, description = "There is no topic of this name"),
        (status = 409, description = "The topic has no such partition"),
    ),
)]
pub(crate) async fn list(
    State(desk): State<Desk>,
    _: Admin,
    Path(topic): Path<String>,
    Asked(mut params): Asked,
) -> Result<impl IntoResponse, Refusal> {
    let (partition, offset) = (params.parsed::<i32>("partition"), params.parsed::<i64>("from"));
    if offset.is_some_and(|offset| offset < 0) {
        params.refuse("from", "is not an offset: the first is 0");
    }
    let key = params.text("key").map(String::into_bytes);
    let since = params.parsed::<Moment>("since").map(Moment::milliseconds);
    let most = params.limit();
    let list = format!("records {topic} {partition:?} {offset:?} {key:?} {since:?}");
    let place: Option<Place> = place::take(&mut params, &list);
    params.finish()?;

    let from = match (place, offset) {
        (Some(place), _) => Some(place.positions()),
        (None, Some(offset)) => {
            let topics = desk.topics().await?;
            let found = topics.iter().filter(|found| *found.name == *topic || *found.full_name == *topic);
            let at = found.flat_map(|found| {
                let of = |number| (TopicPartition::new(found.full_name.clone(), number), offset);
                found.partitions.iter().map(move |partition| of(partition.partition))
            });
            Some(at.collect())
        }
        (None, None) => None,
    };
    let found = desk.records(&topic, &RecordsWanted { partition, key, since, from, most }).await?;
    let next_cursor = found.next.map(|next| place::cursor(&list, &Place::of(&next)));
    Ok(Json(Page { items: found.records, next_cursor }))
}

impl Place {
    fn of(positions: &Positions) -> Self {
        let place =
            |(partition, offset): (&TopicPartition, i64)| (partition.topic.to_string(), partition.partition, offset);
        Self(positions.into_iter().map(place).collect())
    }

    fn positions(self) -> Positions {
        let position = |(topic, partition, offset): (String, i32, i64)| (TopicPartition::new(topic, partition), offset);
        self.0.into_iter().map(position).collect()
    }
}
