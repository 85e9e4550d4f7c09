//! A changed projection is deployed beside the old one.

use std::sync::Arc;
use std::time::Duration;

use balcony_domain::{Event, Recorded, Topics};
use balcony_projector::projections::Comments;
use balcony_projector::{Projection, Projector, Received};
use balcony_store::{GenerationState, ReadModel, StoreError, Tx, Value};

use crate::client::eventually;
use crate::crash::{Load, assert_all_there};
use crate::deployment::Deployment;
use crate::fold::equals_a_fold;
use crate::read_models::ReadModels;
use crate::rebuild::{Readers, operate, succeeded};

/// The comments as the next version of the program has them: it knows the length of each, too.
struct Next {
    comments: Comments,
    schema: &'static str,
}

impl Next {
    fn new(topics: &Topics) -> Self {
        let comments = Comments::new(topics);
        let added = "CREATE TABLE comment_lengths (id UUID NOT NULL PRIMARY KEY, length BIGINT NOT NULL);";
        let schema = format!("{}\n{added}", comments.read_model().schema);
        Self { comments, schema: schema.leak() }
    }
}

#[async_trait::async_trait]
impl Projection for Next {
    type Event = Recorded;

    fn read_model(&self) -> ReadModel {
        ReadModel { version: 2, schema: self.schema, ..self.comments.read_model() }
    }

    fn topics(&self) -> &[Arc<str>] {
        self.comments.topics()
    }

    async fn apply(&self, events: &[Received<Recorded>], tx: &mut Tx) -> Result<(), StoreError> {
        let mut lengths: Vec<[Value<'_>; 2]> = Vec::new();
        for received in events {
            if let Event::CommentPosted(post) = &received.event.event {
                let length = i64::try_from(post.body.chars().count()).unwrap();
                lengths.push([post.comment_id.0.into(), length.into()]);
            }
        }
        tx.insert_new("comment_lengths", ["id", "length"], &lengths).await?;
        self.comments.apply(events, tx).await
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_is_built_beside_the_old_one_which_serves_until_the_switch() {
    let Some(deployment) = Deployment::distributed().await else { return };
    let movie = deployment.admin().register_movie("A movie").await.id();
    let mut load = Load::start(&deployment, &movie);
    load.acknowledged(100).await;
    let readers = Readers::start(&deployment, &movie).await;

    // The new program is another process as far as the log and the database are concerned.
    let read_models = ReadModels::of(&deployment).await;
    let group_prefix = deployment.topics().facts.strip_suffix("events").unwrap().to_owned();
    let mut next = Projector::new(deployment.log().await, read_models.database.clone(), group_prefix);
    next.start(Next::new(&deployment.topics()));
    eventually("the new version is live", PATIENCE, async || {
        let live = [(1, GenerationState::Retired), (2, GenerationState::Live)];
        (read_models.generations("comments").await == live).then_some(())
    })
    .await;
    load.acknowledged(100).await;

    // The old program says why it stands still, and serves what the new one writes.
    let url = format!("{}/projections", deployment.process("projector").url);
    eventually("the old program sees it", PATIENCE, async || {
        let states: serde_json::Value = reqwest::get(&url).await.ok()?.json().await.ok()?;
        let comments = states.as_array()?.iter().find(|state| state["name"] == "comments")?;
        let complaint = comments["last_error"].as_str()?;
        (comments["state"] == "stopped" && complaint.contains("version 2 is there")).then_some(())
    })
    .await;
    load.acknowledged(100).await;
    let lengths: Vec<(i64,)> = read_models.fetch("comments", "SELECT COUNT(*) FROM comment_lengths").await;
    assert!(lengths[0].0 >= 300, "{lengths:?}");

    // And back, while the new program still runs, which then keeps off.
    let said = succeeded(&operate(&deployment, &["rollback", "comments"]).await);
    assert!(said.contains("generation 1 is live again"), "{said}");
    load.acknowledged(100).await;
    eventually("the new program keeps off", PATIENCE, async || {
        let complaint = next.states()[0].last_error.clone()?;
        complaint.contains("rolled back").then_some(())
    })
    .await;
    next.stop().await;
    readers.stop().await;
    let all = load.stop().await;
    let fold = equals_a_fold(&deployment).await;
    assert_all_there(&fold, &all);
}
