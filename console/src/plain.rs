//! A page without a script, for a program that has a table to show.

use axum::http::StatusCode;
use axum::response::Response;
use balcony_http::page::page;
use maud::{DOCTYPE, Markup, html};

/// A page in the house's style: `content` below `title`, with the ways to the control room and to the API. With `every` it loads
/// itself again after so many seconds. Tables stand in a `div` of the class `scroll`, so that phones can move them.
pub fn plain_page(title: &str, every: Option<u32>, content: &Markup) -> Response {
    let html = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                @if let Some(seconds) = every { meta http-equiv="refresh" content=(seconds); }
                title { (title) }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="/assets/house.css";
            }
            body {
                a.skip href="#main" { "To the content" }
                header.bar { div {
                    a.brand href="/" { (title) }
                    nav aria-label="Pages" { a href="/control" { "Control room" } a href="/docs" { "API" } }
                } }
                main #main { h1 { (title) } (content) }
            }
        }
    };
    page(StatusCode::OK, html.into_string(), None)
}
