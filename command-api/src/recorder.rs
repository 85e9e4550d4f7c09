use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use balcony_domain::{Event, Recorded, Timestamp, Topics};
use balcony_event_log::{EventLog, Positions};
use balcony_http::{Again, Problem};
use balcony_read_models::Logged;
use balcony_store::Namespace;
use uuid::Uuid;

/// Appends events to the log. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Recorder {
    log: Arc<dyn EventLog>,
    topics: Topics,
    /// The name of the metric that counts what is appended.
    counter: Arc<str>,
}

impl Recorder {
    pub(crate) fn new(log: Arc<dyn EventLog>, topics: Topics, namespace: &Namespace) -> Self {
        Self { log, topics, counter: format!("{namespace}_events_appended_total").into() }
    }

    /// Appends `event` under `id`, as part of the trace `traceparent`, and gives the positions right after it. It is then as durable as the log promises.
    pub(crate) async fn record(
        &self,
        id: Uuid,
        event: Event,
        request_digest: Option<String>,
        traceparent: Option<&str>,
    ) -> Result<Positions, Problem> {
        self.record_at(now(), id, event, request_digest, traceparent).await
    }

    /// The same for an event of `time`.
    pub(crate) async fn record_at(
        &self,
        time: Timestamp,
        id: Uuid,
        event: Event,
        request_digest: Option<String>,
        traceparent: Option<&str>,
    ) -> Result<Positions, Problem> {
        let again = again(&event, request_digest.is_some());
        let recorded = Recorded { id, time, request_digest, traceparent: traceparent.map(str::to_owned), event };
        let recorded = Logged(recorded);
        let appended = self.log.append(self.topics.of(&recorded.event), recorded.message()).await;
        let position = appended.map_err(|error| Problem::from(error).sent_again(again))?;
        metrics::counter!(self.counter.clone(), "type" => recorded.event.type_name()).increment(1);
        Ok(Positions::after(&position))
    }

    /// Where the facts end now.
    pub(crate) async fn ends(&self) -> Result<Positions, Problem> {
        Ok(self.log.ends(std::slice::from_ref(&self.topics.facts)).await?)
    }
}

/// What it means to send the command of `event` again when it is not known whether that was appended.
fn again(event: &Event, has_key: bool) -> Again {
    match event {
        _ if has_key => Again::OnceUnderItsKey,
        Event::CompanyRegistered(_) | Event::MovieRegistered(_) | Event::CommentPosted(_) => Again::PerhapsTwice,
        Event::MovieViewed(_) => Again::CountsTwice,
        Event::CompanyUnsubscribed(_)
        | Event::ProfileChanged(_)
        | Event::CommentDeleted(_)
        | Event::UserFavorited(_)
        | Event::UserUnfavorited(_) => Again::ChangesNothing,
    }
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    i64::try_from(since)
        .ok()
        .and_then(|now| Timestamp::from_milliseconds(now).ok())
        .expect("the clock is before the year 10000")
}

#[cfg(test)]
mod tests {
    use balcony_domain::event::{CompanyRegistered, MovieViewed, UserFavorited};
    use balcony_domain::{CompanyId, MovieId, UserId};

    use super::*;

    #[test]
    fn a_key_is_spoken_of_where_it_was_sent_or_would_help() {
        let id = Uuid::from_u128(1);
        let registered = Event::CompanyRegistered(CompanyRegistered {
            company_id: CompanyId(id),
            name: "Omori".into(),
            contact_email: "press@omori.example".into(),
        });
        assert_eq!(again(&registered, true), Again::OnceUnderItsKey);
        assert_eq!(again(&registered, false), Again::PerhapsTwice);
        let viewed = Event::MovieViewed(MovieViewed { movie_id: MovieId(id), viewer_id: None });
        assert_eq!(again(&viewed, false), Again::CountsTwice);
        let favorited = UserFavorited { follower_id: UserId(id), followee_id: UserId(id) };
        assert_eq!(again(&Event::UserFavorited(favorited), false), Again::ChangesNothing);
    }
}
