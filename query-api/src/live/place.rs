//! Where a list was read: the header that a stream goes on from.

use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderName, HeaderValue};
use balcony_event_log::Positions;
use balcony_http::events::EventIds;
use balcony_store::Reader;

use super::feed::model;
use super::hub::Hub;

/// The header of a list that names the event up to which it was read at least, and of a request for a stream that is to go
/// on after it.
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The header for the positions that were asked about last. Many lists are read between two events.
#[derive(Debug, Default)]
pub(super) struct Named(Mutex<Option<(Arc<Positions>, HeaderValue)>>);

impl Named {
    /// What a list that is read from here on has at least; `None` while that is not known.
    pub(super) async fn place(
        &self,
        hub: &Hub,
        reader: &Reader,
        ids: &EventIds,
        reads: &[&str],
    ) -> Option<HeaderValue> {
        let mut reached = hub.handed_out().borrow().clone()?;
        for name in reads {
            // Favourites may be behind what was handed out, and whatever a crash has taken back. What this process knows will
            // do: the database is asked where that is nothing, and not for every list.
            let of_model = reader.reached(model(reader, name), &Positions::new()).await.ok()?;
            if !of_model.covers(&reached) {
                reached = Arc::new(reached.up_to(&of_model));
            }
        }
        self.of(reached, ids)
    }

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
