//! The control room: the page on which operators see and do what the API offers.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use balcony_http::page::{Asset, HOUSE_STYLE, SCRIPT, STYLE, assets, page};

const ASSETS: &[Asset] = &[
    Asset { path: "/assets/control.css", content_type: STYLE, bytes: include_bytes!("room/control.css") },
    Asset { path: "/assets/control.js", content_type: SCRIPT, bytes: include_bytes!("room/control.js") },
    Asset { path: "/assets/plot.css", content_type: STYLE, bytes: include_bytes!("room/plot.css") },
    Asset { path: "/assets/plot.js", content_type: SCRIPT, bytes: include_bytes!("room/plot.js") },
    Asset { path: "/assets/uplot.css", content_type: STYLE, bytes: include_bytes!("../vendor/uplot.css") },
    Asset { path: "/assets/uplot.js", content_type: SCRIPT, bytes: include_bytes!("../vendor/uplot.js") },
];

/// The page and what it is made of.
pub(crate) fn routes() -> Router {
    let control = || async { page(StatusCode::OK, include_str!("room/control.html"), None) };
    assets(ASSETS.iter().copied().chain([HOUSE_STYLE])).route("/control", get(control))
}
