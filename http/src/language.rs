//! The language that a client would rather read (RFC 9110, 12.5.4).

/// The one of `spoken`, which are primary subtags such as `en`, that an `Accept-Language` prefers; `None` when it names none.
#[must_use]
pub fn preferred<'a>(accepted: &str, spoken: &[&'a str]) -> Option<&'a str> {
    let mut wanted: Vec<(&str, f32)> = accepted
        .split(',')
        .filter_map(|part| {
            let (range, rest) = part.split_once(';').unwrap_or((part, ""));
            let quality = rest.trim().strip_prefix("q=").and_then(|quality| quality.parse().ok()).unwrap_or(1.0);
            let primary = range.trim().split('-').next().unwrap_or_default();
            (quality > 0.0).then_some((primary, quality))
        })
        .collect();
    wanted.sort_by(|a, b| b.1.total_cmp(&a.1));
    wanted.into_iter().find_map(|(range, _)| spoken.iter().copied().find(|one| one.eq_ignore_ascii_case(range)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_is_the_first_of_those_that_are_spoken() {
        for (accepted, language) in [
            ("", None),
            ("ja", Some("ja")),
            ("JA-jp", Some("ja")),
            ("de-DE,de;q=0.9,ja;q=0.5,en;q=0.4", Some("ja")),
            ("en-US,ja;q=0.9", Some("en")),
            ("ja;q=0,en", Some("en")),
            ("jam, en;q=0.1", Some("en")),
            ("*", None),
            ("日本", None),
        ] {
            assert_eq!(preferred(accepted, &["en", "ja"]), language, "{accepted}");
        }
    }
}
