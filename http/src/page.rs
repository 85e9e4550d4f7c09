//! Pages for people: what they are made of comes from the binary, and nothing of another host.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest as _, Sha256};

use crate::answer::is_known;

/// A file that pages are made of.
#[derive(Debug, Clone, Copy)]
pub struct Asset {
    /// Where it is, such as `/assets/page.css`.
    pub path: &'static str,
    /// What it is, such as `text/css; charset=utf-8`.
    pub content_type: &'static str,
    /// The file.
    pub bytes: &'static [u8],
}

/// The style that all pages share: type, spacing, colours, controls.
pub const HOUSE_STYLE: Asset =
    Asset { path: "/assets/house.css", content_type: STYLE, bytes: include_bytes!("page/house.css") };

/// The content type of a style sheet.
pub const STYLE: &str = "text/css; charset=utf-8";
/// The content type of a script.
pub const SCRIPT: &str = "text/javascript; charset=utf-8";

/// What a page may load and do: its own origin's files, and requests to it and to `others`. Nothing in the page itself
/// is a script or a style.
fn content_security_policy(others: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
         connect-src 'self'{}{others}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        if others.is_empty() { "" } else { " " }
    )
}

/// The origin of a URL: a policy that names a path allows that path alone, and nothing below it.
fn origin(url: &str) -> &str {
    let begin = url.find("://").map_or(0, |end| end + 3);
    url[begin..].find('/').map_or(url, |end| &url[..begin + end])
}

/// The page `html`, answered with `status`. Its script may also ask the origin of the URL `other`.
pub fn page(status: StatusCode, html: impl Into<Bytes>, other: Option<&str>) -> Response {
    let policy = content_security_policy(other.map(origin).unwrap_or_default());
    let policy = HeaderValue::try_from(policy).expect("an origin is visible ASCII");
    let headers: [(HeaderName, HeaderValue); 5] = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (status, headers, html.into()).into_response()
}

/// Routes that serve `assets`. Browsers keep them and ask each time whether they are still the same.
pub fn assets<S: Clone + Send + Sync + 'static>(assets: impl IntoIterator<Item = Asset>) -> Router<S> {
    assets.into_iter().fold(Router::new(), |router, asset| {
        let tag: Arc<str> = tag(asset.bytes).into();
        router.route(asset.path, get(async move |headers: HeaderMap| serve(&asset, &tag, &headers)))
    })
}

fn serve(asset: &Asset, tag: &str, headers: &HeaderMap) -> Response {
    let kept = [
        (header::ETAG, HeaderValue::try_from(tag).expect("a tag is visible ASCII")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    if is_known(&kept[0].1, headers) {
        return (StatusCode::NOT_MODIFIED, kept).into_response();
    }
    (kept, [(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type))], asset.bytes).into_response()
}

fn tag(bytes: &[u8]) -> String {
    let digest: String = Sha256::digest(bytes).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digest}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_runs_no_script_of_its_own_and_asks_no_other_host() {
        let response = page(StatusCode::OK, "<p>", Some("http://127.0.0.1:8081/commands"));
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().expect("text");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert!(policy.contains("connect-src 'self' http://127.0.0.1:8081;"), "{policy}");
        assert_eq!(origin("http://127.0.0.1:8081"), "http://127.0.0.1:8081");
        assert_eq!(content_security_policy("").matches("connect-src 'self';").count(), 1);
    }

    #[test]
    fn an_asset_that_is_known_is_not_sent_again() {
        let tag = tag(HOUSE_STYLE.bytes);
        let mut headers = HeaderMap::new();
        assert_eq!(serve(&HOUSE_STYLE, &tag, &headers).status(), StatusCode::OK);
        headers.insert(header::IF_NONE_MATCH, HeaderValue::try_from(format!("\"x\", {tag}")).expect("a header"));
        assert_eq!(serve(&HOUSE_STYLE, &tag, &headers).status(), StatusCode::NOT_MODIFIED);
        let mut headers = HeaderMap::new();
        for line in ["\"x\"", &format!("W/{tag}")] {
            headers.append(header::IF_NONE_MATCH, HeaderValue::from_str(line).expect("a header"));
        }
        assert_eq!(serve(&HOUSE_STYLE, &tag, &headers).status(), StatusCode::NOT_MODIFIED);
    }
}
