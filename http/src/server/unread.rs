use std::sync::Arc;
use std::time::SystemTime;

use axum::response::IntoResponse as _;

use crate::Problem;
use crate::message::{Caching, standard_headers};

/// Answers, and counts, what is refused before it has been read as a request.
#[derive(Clone)]
pub(super) struct Unread {
    metric: Arc<str>,
    problem_types: Arc<str>,
}

impl Unread {
    /// The name of the metric begins with `prefix` and `_`, the types of problem documents with `problem_types`.
    pub(super) fn new(prefix: &str, problem_types: &str) -> Self {
        Self { metric: format!("{prefix}_http_unread_total").into(), problem_types: problem_types.into() }
    }

    /// A whole answer of HTTP/1.1 about the request for `path`, after which the connection ends.
    pub(super) fn answer(&self, problem: Problem, path: &str) -> Vec<u8> {
        let status = problem.status();
        metrics::counter!(self.metric.clone(), "status" => status.as_str().to_owned()).increment(1);
        let problem = problem.of(&self.problem_types, path);
        let body = problem.document();
        let mut response = problem.into_response();
        standard_headers(response.headers_mut(), Caching::Private);

        let mut answer = format!("HTTP/1.1 {status}\r\n").into_bytes();
        for (name, value) in response.headers() {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                answer.extend_from_slice(part);
            }
        }
        let (length, date) = (body.len(), httpdate::fmt_http_date(SystemTime::now()));
        let rest = format!("connection: close\r\ncontent-length: {length}\r\ndate: {date}\r\n\r\n");
        answer.extend_from_slice(rest.as_bytes());
        answer.extend_from_slice(&body);
        answer
    }

    /// What the types of problem documents begin with.
    pub(super) fn problem_types(&self) -> &str {
        &self.problem_types
    }
}
