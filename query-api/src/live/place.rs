//! Where a list was read: the header that a stream goes on from.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use balcony_event_log::Positions;
use balcony_http::events::EventIds;

use super::Live;
use super::feed::model;

/// The header of a list that names the event up to which it was read at least, and of a request for a stream that is to go
/// on after it.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The header for the positions that were asked about last. Many lists are read between two events.
#[derive(Debug, Default)]
pub(super) struct Named(Mutex<Option<(Arc<Positions>, HeaderValue)>>);

/// Middleware that names where a list was read, of the read models called `reads`. Without it the list, and a stream that
/// begins at the log's end a moment later, could both miss what had not come to the read models.
pub(crate) async fn named(
    State((live, reads)): State<(Option<Live>, &'static [&'static str])>,
    request: Request,
    next: Next,
) -> Response {
    let Some(Live(node)) = live else { return next.run(request).await };
    let since = node.reader.standing();
    let place = node.place(reads).await;
    let mut response = next.run(request).await;
    // After a crash or a rollback the list may be of before.
    if let Some(place) = place.filter(|_| node.reader.stayed_on(&since).is_ok()) {
        response.headers_mut().insert(LAST_EVENT_ID, place);
    }
    response
}

impl super::Node {
    /// What a list that is read from here on has at least; `None` while that is not known.
    async fn place(&self, reads: &[&str]) -> Option<HeaderValue> {
        let mut reached = self.hub.handed_out().borrow().clone()?;
        for name in reads {
            // Favourites may be behind what was handed out, and whatever a crash has taken back.
            let of_model = self.reader.reached(model(&self.reader, name), &reached).await.ok()?;
            if !of_model.covers(&reached) {
                reached = Arc::new(reached.up_to(&of_model));
            }
        }
        self.named.of(reached, &self.ids)
    }
}

impl Named {
    fn of(&self, positions: Arc<Positions>, ids: &EventIds) -> Option<HeaderValue> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, named)) = &*last
            && Arc::ptr_eq(of, &positions)
        {
            return Some(named.clone());
        }
        let named = HeaderValue::try_from(ids.text(&positions)).ok()?;
        *last = Some((positions, named.clone()));
        Some(named)
    }
}
