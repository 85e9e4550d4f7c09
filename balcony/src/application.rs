//! Balcony as the library knows it: its topics, its steps, its events.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use balcony_domain::{DERIVED, DecodeError, Recorded, Topics};
use balcony_event_log::Message;
use balcony_projector::{Application, TopicSpec};
use balcony_read_models::{CompanyMail, PostOffice};

/// What tokens, metrics, the types of problems and everything outside the process call this program.
const NAME: &str = "balcony";
/// The topic of the facts.
const FACTS: &str = "events";
/// The topic of the page views.
const VIEWS: &str = "views";
/// Why companies are not mailed where there is no post office.
pub(crate) const NO_MAIL: &str = "SMTP_URL is not set, so companies get no mail";
/// How long page views are kept in the log.
const VIEWS_KEPT: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Balcony, which mails companies where there is an `office` to send from.
pub(crate) fn balcony(office: Option<Arc<PostOffice>>) -> Application {
    let topics = [TopicSpec::forever(FACTS), TopicSpec::kept_for(VIEWS, VIEWS_KEPT)];
    let steps = move |topics: &balcony_projector::Topics| {
        let topics = domain_topics(topics);
        let catalogue = balcony_read_models::steps(&topics);
        match &office {
            Some(office) => catalogue.with_reactor(CompanyMail::new(&topics, office.clone())),
            None => catalogue.with_reactor_off(CompanyMail::NAME, NO_MAIL),
        }
    };
    Application::new(NAME, topics, steps).with_import_check(check).with_ids_in(DERIVED)
}

/// Balcony's topics as its domain calls them.
pub(crate) fn domain_topics(topics: &balcony_projector::Topics) -> Topics {
    Topics { facts: topics.get(FACTS).clone(), views: topics.get(VIEWS).clone() }
}

/// Checks an event of an import and says into which topic it goes. A known type has to decode; an unknown one is taken
/// for a fact.
fn check(message: &Message) -> Result<Cow<'static, str>, String> {
    let recorded = Recorded::decode(|name| message.headers.get(name), &message.payload).map_err(not_decoded)?;
    let Some(recorded) = recorded else { return Ok(FACTS.into()) };
    if message.key.is_empty() {
        return Err("the attribute partitionkey is missing; it is the id of what the event is about".into());
    }
    Ok(if recorded.event.is_fact() { FACTS } else { VIEWS }.into())
}

fn not_decoded(error: DecodeError) -> String {
    match error {
        DecodeError::Attribute { attribute, reason } => {
            // In a line it is called what CloudEvents calls it.
            format!("is no CloudEvent: the attribute {} {reason}", attribute.strip_prefix("ce_").unwrap_or(attribute))
        }
        DecodeError::Data { .. } => error.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use balcony_event_log::Headers;

    use super::*;

    const FAVORITED: &str = r#"{"follower_id":"00000000-0000-0000-0000-000000000005","followee_id":"00000000-0000-0000-0000-000000000003"}"#;
    const VIEWED: &str = r#"{"movie_id":"00000000-0000-0000-0000-000000000005"}"#;

    fn event(event_type: &str, change: impl Fn(&str) -> Option<&'static str>, payload: &str) -> Message {
        let mut headers = Headers::new();
        for (name, value) in [
            ("ce_specversion", "1.0"),
            ("ce_id", "00000000-0000-0000-0000-000000000063"),
            ("ce_type", event_type),
            ("ce_time", "2026-01-31T18:30:00.123Z"),
        ] {
            headers.push(name, change(name).unwrap_or(value).as_bytes());
        }
        Message { key: b"00000000-0000-0000-0000-000000000005".to_vec(), headers, payload: payload.into() }
    }

    const FAVORITED_TYPE: &str = "balcony.user.favorited.v1";

    #[test]
    fn facts_and_views_go_to_their_topics_and_what_is_newer_is_a_fact() {
        let topic = |event_type, payload| check(&event(event_type, |_| None, payload)).unwrap();
        assert_eq!(topic(FAVORITED_TYPE, FAVORITED), "events");
        assert_eq!(topic("balcony.movie.viewed.v1", VIEWED), "views");
        assert_eq!(topic("balcony.movie.viewed.v99", "null"), "events");
    }

    #[test]
    fn what_is_wrong_with_an_event_is_said() {
        let with = |name: &'static str, value| {
            check(&event(FAVORITED_TYPE, move |other| (other == name).then_some(value), FAVORITED)).unwrap_err()
        };
        assert_eq!(with("ce_specversion", "0.3"), "is no CloudEvent: the attribute specversion is \"0.3\", not 1.0");
        assert_eq!(with("ce_time", ""), "is no CloudEvent: the attribute time is missing");
        assert_eq!(with("ce_id", "7"), "is no CloudEvent: the attribute id is not a UUID");
        let wrong = event(FAVORITED_TYPE, |_| None, &FAVORITED.replace("followee_id", "other"));
        let error = check(&wrong).unwrap_err();
        assert!(error.starts_with("the data is no balcony.user.favorited.v1: missing field"), "{error}");
        let keyless = Message { key: Vec::new(), ..event(FAVORITED_TYPE, |_| None, FAVORITED) };
        assert!(check(&keyless).unwrap_err().starts_with("the attribute partitionkey is missing"));
    }

    #[test]
    fn operators_know_every_step_by_name() {
        let application = balcony(None);
        let topics = balcony_projector::Topics::with_prefix("balcony.", application.topics());
        let catalogue = application.catalogue(&topics);
        assert_eq!(catalogue.repeated_name(), None);
        let error = catalogue.find("nonsense").unwrap_err().to_string();
        let known = "registry, comments, favorites, journeys, statistics, search";
        assert_eq!(error, format!("\"nonsense\" is not a step of balcony; there are {known}"));
        assert_eq!(catalogue.find("search").unwrap().kept_by(), "query API");
        let error = catalogue.find(CompanyMail::NAME).unwrap_err().to_string();
        assert!(error.contains("SMTP_URL is not set"), "{error}");
    }
}
