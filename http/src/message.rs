//! What HTTP asks of every message: one `Host` that is one, no second value where there can be one, and in every answer
//! how long it may be kept.

use axum::http::uri::{Authority, Scheme};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Version, header};

use crate::{FieldError, Problem};

/// Headers that have one value; two of them would be read one way here and another way elsewhere.
static SINGLE: [(HeaderName, &str); 4] = [
    (header::HOST, "Host"),
    (header::AUTHORIZATION, "Authorization"),
    (header::CONTENT_TYPE, "Content-Type"),
    (HeaderName::from_static("last-event-id"), "Last-Event-ID"),
];

/// The largest head of a request of HTTP/2, as that counts: the names and values of its fields, and 32 bytes for each (RFC 9113,
/// section 6.5.2). That of HTTP/1.1 is limited where it is read.
const HTTP2_HEAD_MAX: usize = 64 << 10;

/// Who may keep an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caching {
    /// Nobody.
    Private,
    /// Whoever asks each time whether it is still the same.
    Public,
}

/// Why a request is not well-formed, if it is not (RFC 9110, section 7.2; RFC 9112, section 3.2).
pub(crate) fn fault<B>(request: &Request<B>) -> Option<Problem> {
    let headers = request.headers();
    if request.version() >= Version::HTTP_2 && http2_size(request) > HTTP2_HEAD_MAX {
        return Some(Problem::head_too_large());
    }
    let wrong = |name: &str, detail: &str| Some(Problem::malformed_header(FieldError::header(name, detail)));
    if let Some(fault) = transfer_fault(headers) {
        return Some(fault);
    }
    for (name, shown) in &SINGLE {
        if headers.get_all(name).iter().nth(1).is_some() {
            return wrong(shown, "is given twice");
        }
    }
    let authority = request.uri().authority();
    if authority.is_some_and(|authority| !is_host(authority.as_str().as_bytes())) {
        return match request.version() {
            Version::HTTP_2 => wrong(":authority", "is not a host with or without a port"),
            _ => Some(Problem::malformed("what is asked for is at no host with or without a port")),
        };
    }
    match headers.get(header::HOST) {
        Some(host) if !is_host(host.as_bytes()) => wrong("Host", "is not a host with or without a port"),
        Some(host) if request.version() >= Version::HTTP_2 => {
            let is_same = authority.is_none_or(|authority| is_same_host(authority, host, request.uri().scheme()));
            if is_same { None } else { wrong("Host", "is another than `:authority`") }
        }
        Some(_) => None,
        None => match request.version() {
            Version::HTTP_09 | Version::HTTP_10 => None,
            Version::HTTP_11 => wrong("Host", "is missing"),
            _ if request.uri().authority().is_some() => None,
            _ => wrong(":authority", "is missing"),
        },
    }
}

/// How large the head of `request` is, as HTTP/2 counts.
fn http2_size<B>(request: &Request<B>) -> usize {
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32);
    let uri = request.uri();
    let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
    fields.sum::<usize>() + target + uri.authority().map_or(0, |authority| authority.as_str().len())
}

/// What is wrong with the way in which a body is sent (RFC 9112, section 6.1), which HTTP/1.1 alone says. What does not end with
/// `chunked` the HTTP library refuses by itself.
fn transfer_fault(headers: &HeaderMap) -> Option<Problem> {
    let lines = headers.get_all(header::TRANSFER_ENCODING).iter();
    let codings = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let codings: Vec<_> = codings.filter(|coding| !coding.is_empty()).collect();
    let is_chunked = |coding: &&[u8]| coding.eq_ignore_ascii_case(b"chunked");
    match codings.as_slice() {
        [] => None,
        [before @ .., last] if before.iter().any(is_chunked) || !is_chunked(last) => {
            let detail = "does not have `chunked` once, at its end";
            Some(Problem::malformed_header(FieldError::header("Transfer-Encoding", detail)))
        }
        [_] => None,
        _ => Some(Problem::unknown_transfer_coding()),
    }
}

/// Whether both name the same host and port; that of the scheme where a port is not named.
fn is_same_host(authority: &Authority, host: &HeaderValue, scheme: Option<&Scheme>) -> bool {
    let default = if scheme == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let named =
        |authority: &Authority| (authority.host().to_ascii_lowercase(), authority.port_u16().unwrap_or(default));
    Authority::try_from(host.as_bytes()).is_ok_and(|host| named(&host) == named(authority))
}

fn is_host(value: &[u8]) -> bool {
    let Ok(authority) = Authority::try_from(value) else { return false };
    let port = authority.as_str().strip_prefix(authority.host());
    // A colon without a port after it is a host, too (RFC 3986, section 3.2.3).
    let has_port = port.is_some_and(|port| {
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.is_empty() || port.parse::<u16>().is_ok())
    });
    !authority.host().is_empty() && has_port
}

/// An answer of a service, whose every path takes `OPTIONS`, for the router to say in `Allow` what else the path takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TakesOptions;

/// Adds `OPTIONS` to what the router says that a path takes.
pub(crate) fn name_options(headers: &mut HeaderMap) {
    let Some(allow) = headers.get(header::ALLOW).and_then(|allow| allow.to_str().ok()) else { return };
    if !allow.split(',').any(|method| method.trim() == "OPTIONS") {
        let more = if allow.is_empty() { "OPTIONS".to_owned() } else { format!("{allow},OPTIONS") };
        headers.insert(header::ALLOW, HeaderValue::try_from(more).expect("methods are visible ASCII"));
    }
}

/// Adds what every answer says unless it says so itself: who may keep it, and that its type is as it says.
pub(crate) fn standard_headers(headers: &mut HeaderMap, caching: Caching) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let said = headers.get(header::CACHE_CONTROL);
    let value = match (caching, said.map(HeaderValue::as_bytes)) {
        (Caching::Private, None) => "private, no-store",
        // What everybody may see is what this one sees, but perhaps not all of it.
        (Caching::Private, Some(b"no-cache")) => "private, no-cache",
        (Caching::Public, None) => "no-cache",
        (_, Some(_)) => return,
    };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().uri("/v1/things").version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request")
    }

    fn refused(version: Version, headers: &[(&str, &str)]) -> bool {
        fault(&request(version, headers)).is_some()
    }

    #[test]
    fn a_request_has_one_host() {
        assert!(!refused(Version::HTTP_11, &[("host", "balcony.example")]));
        assert!(refused(Version::HTTP_11, &[]));
        assert!(refused(Version::HTTP_11, &[("host", "a.example"), ("host", "a.example")]));
        assert!(!refused(Version::HTTP_10, &[]));
        assert!(refused(Version::HTTP_10, &[("host", "a.example"), ("host", "b.example")]));
        assert!(refused(Version::HTTP_2, &[]));
        let mut with_authority = request(Version::HTTP_2, &[]);
        *with_authority.uri_mut() = "http://a.example/v1/things".parse().expect("a URI");
        assert!(fault(&with_authority).is_none());
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for good in
            ["a", "a.example:80", "127.0.0.1:8080", "[::1]:8080", "[::1]", "a.example:", "xn--bcher-kva.example"]
        {
            assert!(!refused(Version::HTTP_11, &[("host", good)]), "{good}");
        }
        for bad in ["", " ", "a b", "a/b", "user@a", "http://a", "a:port", "a:80:80", "a:99999", "[::1", "a?b", "a#b"] {
            assert!(refused(Version::HTTP_11, &[("host", bad)]), "{bad:?}");
        }
    }

    #[test]
    fn the_host_is_the_same_wherever_it_is_said() {
        let of = |version: Version, uri: &str, host: Option<&str>| {
            let mut request = Request::builder().uri(uri).version(version);
            if let Some(host) = host {
                request = request.header("host", host);
            }
            fault(&request.body(()).expect("a request")).map(|problem| problem.status().as_u16())
        };
        for (authority, host) in [
            ("a.example", None),
            ("a.example", Some("a.example")),
            ("a.example", Some("A.Example:80")),
            ("a.example:80", Some("a.example:")),
            ("[::1]:8080", Some("[::1]:8080")),
        ] {
            assert_eq!(of(Version::HTTP_2, &format!("http://{authority}/x"), host), None, "{authority} {host:?}");
        }
        for (authority, host) in [
            ("u@a.example", None),
            ("u:p@a.example", Some("u:p@a.example")),
            ("a.example", Some("b.example")),
            ("a.example", Some("a.example:81")),
            ("a.example:8080", Some("a.example")),
            ("a.example", Some("u@a.example")),
        ] {
            assert_eq!(of(Version::HTTP_2, &format!("http://{authority}/x"), host), Some(400), "{authority} {host:?}");
        }
        assert_eq!(of(Version::HTTP_2, "https://a/x", Some("a:443")), None);
        assert_eq!(of(Version::HTTP_2, "https://a/x", Some("a:80")), Some(400));
        // RFC 9112, section 3.2.2: of the two on HTTP/1.1 the target counts.
        assert_eq!(of(Version::HTTP_11, "http://a/x", Some("b")), None);
        assert_eq!(of(Version::HTTP_11, "http://u@a/x", Some("a")), Some(400));
    }

    #[test]
    fn a_body_is_sent_chunked_once_and_in_no_other_coding() {
        let status = |lines: &[&str]| {
            let lines = lines.iter().map(|line| (header::TRANSFER_ENCODING, line.parse().expect("a header")));
            transfer_fault(&lines.collect()).map(|problem| problem.status().as_u16())
        };
        for plain in [&[][..], &["chunked"], &["Chunked"], &[" chunked ,"]] {
            assert_eq!(status(plain), None, "{plain:?}");
        }
        for unknown in [&["gzip, chunked"][..], &["gzip", "chunked"], &["identity,chunked"], &["br,deflate,CHUNKED"]] {
            assert_eq!(status(unknown), Some(501), "{unknown:?}");
        }
        for wrong in [
            &["chunked, chunked"][..],
            &["chunked", "chunked"],
            &["chunked, gzip"],
            &["gzip"],
            &["chunked,gzip,chunked"],
        ] {
            assert_eq!(status(wrong), Some(400), "{wrong:?}");
        }
    }

    #[test]
    fn who_asks_and_what_is_sent_are_said_once() {
        for name in ["authorization", "content-type", "last-event-id"] {
            assert!(!refused(Version::HTTP_11, &[("host", "a"), (name, "x")]), "{name}");
            assert!(refused(Version::HTTP_11, &[("host", "a"), (name, "x"), (name, "x")]), "{name}");
        }
    }

    #[test]
    fn nobody_keeps_what_is_private_and_everybody_asks_again() {
        for (caching, said, becomes) in [
            (Caching::Private, None, "private, no-store"),
            (Caching::Private, Some("no-cache"), "private, no-cache"),
            (Caching::Private, Some("private, no-store"), "private, no-store"),
            (Caching::Public, None, "no-cache"),
            (Caching::Public, Some("no-store"), "no-store"),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(said) = said {
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(said));
            }
            standard_headers(&mut headers, caching);
            assert_eq!(headers[header::CACHE_CONTROL], becomes);
            assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        }
    }
}
