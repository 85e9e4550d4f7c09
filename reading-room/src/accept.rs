//! What a client wants to be answered with (RFC 9110, 12.5.1).

/// Whether a client that sends this `Accept` would rather have a page than a problem document. One that takes anything, such as
/// a program, gets the document.
pub(crate) fn prefers_page(accept: &str) -> bool {
    let document = quality(accept, "application/problem+json").max(quality(accept, "application/json"));
    quality(accept, "text/html") > document
}

/// How much `wanted` is wanted, from 0 to 1, by the range of `accept` that says most about it.
fn quality(accept: &str, wanted: &str) -> f32 {
    let kind = wanted.split('/').next().unwrap_or_default();
    let mut best = (0, 0.0);
    for part in accept.split(',') {
        let mut parts = part.split(';').map(str::trim);
        let range = parts.next().unwrap_or_default().to_ascii_lowercase();
        let closeness = match range.split_once('/') {
            _ if range == wanted => 3,
            Some((of, "*")) if of == kind => 2,
            Some(("*", "*")) => 1,
            _ => continue,
        };
        let quality = parts.find_map(|parameter| parameter.strip_prefix("q=").or(parameter.strip_prefix("Q=")));
        let quality = quality.and_then(|quality| quality.trim().parse().ok()).unwrap_or(1.0_f32).clamp(0.0, 1.0);
        if closeness > best.0 {
            best = (closeness, quality);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_for_those_who_would_rather_have_one() {
        for accept in [
            "text/html",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "application/json;q=0.5, text/html;q=0.6",
            "TEXT/HTML",
            "text/*",
            "*/*;q=0.1, text/html; q=0.2",
        ] {
            assert!(prefers_page(accept), "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "application/json",
            "application/problem+json, text/html;q=0.9",
            "text/html;q=0, */*",
            "text/html;q=0.3, application/*;q=0.4",
            "text/plain",
            "text/html;q=0",
        ] {
            assert!(!prefers_page(accept), "{accept}");
        }
    }
}
