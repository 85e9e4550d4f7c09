//! The shape of every list: a page of items and the cursor of the next.

use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::Params;
use crate::cursor::{self, Key, Scope};

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// What to send as `cursor` for the next page; null on the last.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// Which page of a list is wanted.
pub struct PageRequest<K> {
    limit: usize,
    scope: Scope,
    /// The key of the last item of the page before.
    pub after: Option<K>,
}

/// The parameters of every list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters, which are read one by one")]
pub struct PageParams {
    /// How many items a page has.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u8>,
    /// The `next_cursor` of the page before, of the same list with the same filters and order.
    cursor: Option<String>,
}

impl<K: Key> PageRequest<K> {
    /// Takes `limit` and `cursor`, which has to belong to `scope`.
    pub fn take(params: &mut Params, scope: Scope) -> Self {
        let limit = params.limit();
        let after = params.text("cursor").and_then(|text| {
            let key = cursor::decode(scope, &text);
            if key.is_none() {
                params.refuse("cursor", "is not a cursor of this list with these filters and this order");
            }
            key
        });
        Self { limit, scope, after }
    }

    /// How many items the page has.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The cursor after the item at `key`.
    pub fn cursor(&self, key: &K) -> String {
        cursor::encode(self.scope, key)
    }

    /// How many rows to ask for: one more than the page has, which tells whether there is another page.
    pub fn rows(&self) -> i64 {
        self.rows_beyond(0)
    }

    /// How many more to ask for when some are there.
    pub fn rows_beyond(&self, some: usize) -> i64 {
        i64::try_from((self.limit + 1).saturating_sub(some)).expect("a limit is at most 100")
    }

    /// The page that begins with `rows`, of which there are up to [`PageRequest::rows`].
    pub fn page<T>(&self, mut rows: Vec<T>, key: impl FnOnce(&T) -> K) -> Page<T> {
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        let last = rows.last().filter(|_| more);
        let next_cursor = last.map(|last| self.cursor(&key(last)));
        Page { items: rows, next_cursor }
    }
}

impl<T> Page<T> {
    /// A list that has one page.
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next_cursor: None }
    }

    /// The same page with its items in another form, without those that have none.
    pub fn filter_map<U>(self, form: impl FnMut(T) -> Option<U>) -> Page<U> {
        Page { items: self.items.into_iter().filter_map(form).collect(), next_cursor: self.next_cursor }
    }

    /// The same page with its items in another form.
    pub fn try_map<U, E>(self, form: impl FnMut(T) -> Result<U, E>) -> Result<Page<U>, E> {
        let items = self.items.into_iter().map(form).collect::<Result<_, E>>()?;
        Ok(Page { items, next_cursor: self.next_cursor })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::cursor::TimeKey;

    fn key(at: i64) -> TimeKey {
        TimeKey { at, id: Uuid::nil() }
    }

    fn request(query: &str) -> Option<PageRequest<TimeKey>> {
        let mut params = Params::new(Some(query));
        let request = PageRequest::take(&mut params, Scope::of("list"));
        params.finish().ok().map(|()| request)
    }

    #[test]
    fn the_cursor_names_the_last_item_when_there_are_more() {
        let page = request("limit=2").expect("a request").page(vec![3, 2, 1], |&at| key(at));
        assert_eq!(page.items, [3, 2]);
        let cursor = page.next_cursor.expect("a cursor");
        assert_eq!(request(&format!("cursor={cursor}")).expect("a request").after, Some(key(2)));
        let page = request("limit=3").expect("a request").page(vec![3, 2, 1], |&at| key(at));
        assert_eq!(page.next_cursor, None);
    }

    #[test]
    fn what_is_no_cursor_of_the_list_is_refused() {
        let other = cursor::encode(Scope::of("other"), &key(1));
        for text in ["", "x", &other] {
            assert!(request(&format!("cursor={text}")).is_none(), "{text:?}");
        }
    }
}
