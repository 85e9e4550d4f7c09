//! What a client may ask to be recorded: each function takes the fields as they came and gives them as they are
//! stored, or every rule they break.

use std::str::FromStr;

use crate::CompanyId;
use crate::mail_address::mail_address;
use crate::text::{Kind, NAME_MAX, TextRule, Violation};

/// A comment's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommentText {
    /// The title, if there is one.
    pub title: Option<String>,
    /// The body.
    pub body: String,
}

/// A company as it is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Company {
    /// Its name.
    pub name: String,
    /// Where mail about its movies goes; not public.
    pub contact_email: String,
}

/// A movie as it is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movie {
    /// Its title.
    pub title: String,
    /// The company it belongs to.
    pub company: Option<CompanyId>,
    /// The day it came out, `YYYY-MM-DD`.
    pub released_on: Option<String>,
}

/// What somebody says of oneself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The name others see.
    pub display_name: String,
    /// A text about oneself.
    pub about: Option<String>,
    /// Where one is.
    pub location: Option<String>,
}

/// A comment's text by the rules: title up to 200 characters or none, body 1 to 10,000.
///
/// # Errors
/// Every rule that is broken.
pub fn comment(title: Option<&str>, body: Option<&str>) -> Result<CommentText, Vec<Violation>> {
    let title = TextRule { field: "title", max: NAME_MAX, kind: Kind::Line }.optional(title);
    let body = TextRule { field: "body", max: 10_000, kind: Kind::Text }.required(body);
    match (title, body) {
        (Ok(title), Ok(body)) => Ok(CommentText { title, body }),
        (title, body) => Err(violations([title.err(), body.err()])),
    }
}

/// A company by the rules: a name of 1 to 200 characters and a mail address.
///
/// # Errors
/// Every rule that is broken.
pub fn company(name: Option<&str>, contact_email: Option<&str>) -> Result<Company, Vec<Violation>> {
    let name = TextRule { field: "name", max: NAME_MAX, kind: Kind::Line }.required(name);
    let contact_email = mail_address("contact_email", contact_email);
    match (name, contact_email) {
        (Ok(name), Ok(contact_email)) => Ok(Company { name, contact_email }),
        (name, contact_email) => Err(violations([name.err(), contact_email.err()])),
    }
}

/// A movie by the rules: a title of 1 to 200 characters, a company's id, a calendar date.
///
/// # Errors
/// Every rule that is broken.
pub fn movie(
    title: Option<&str>,
    company_id: Option<&str>,
    released_on: Option<&str>,
) -> Result<Movie, Vec<Violation>> {
    let title = TextRule { field: "title", max: NAME_MAX, kind: Kind::Line }.required(title);
    let company = company_id
        .map(|text| text.parse::<CompanyId>().map_err(|error| Violation::new("company_id", error.to_string())))
        .transpose();
    let released_on = released_on.map(|text| date("released_on", text)).transpose();
    match (title, company, released_on) {
        (Ok(title), Ok(company), Ok(released_on)) => Ok(Movie { title, company, released_on }),
        (title, company, released_on) => Err(violations([title.err(), company.err(), released_on.err()])),
    }
}

/// A profile by the rules: a name of 1 to 200 characters, up to 1,000 about oneself, up to 100 for the place.
///
/// # Errors
/// Every rule that is broken.
pub fn profile(
    display_name: Option<&str>,
    about: Option<&str>,
    location: Option<&str>,
) -> Result<Profile, Vec<Violation>> {
    let display_name = TextRule { field: "display_name", max: NAME_MAX, kind: Kind::Line }.required(display_name);
    let about = TextRule { field: "about", max: 1_000, kind: Kind::Text }.optional(about);
    let location = TextRule { field: "location", max: 100, kind: Kind::Line }.optional(location);
    match (display_name, about, location) {
        (Ok(display_name), Ok(about), Ok(location)) => Ok(Profile { display_name, about, location }),
        (display_name, about, location) => Err(violations([display_name.err(), about.err(), location.err()])),
    }
}

fn violations<const N: usize>(found: [Option<Violation>; N]) -> Vec<Violation> {
    found.into_iter().flatten().collect()
}

fn date(field: &'static str, text: &str) -> Result<String, Violation> {
    let text = text.trim();
    match jiff::civil::Date::from_str(text) {
        Ok(date) if date.to_string() == text && date.year() >= 0 => Ok(text.to_owned()),
        _ => Err(Violation::new(field, "is not a date, such as 1982-06-25")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields<T: std::fmt::Debug>(result: Result<T, Vec<Violation>>) -> Vec<&'static str> {
        result.expect_err("rules are broken").iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn every_broken_rule_is_named() {
        assert_eq!(fields(comment(Some(&"x".repeat(201)), None)), ["title", "body"]);
        assert_eq!(fields(company(Some(" "), Some("nobody"))), ["name", "contact_email"]);
        assert_eq!(fields(movie(None, Some("x"), Some("soon"))), ["title", "company_id", "released_on"]);
        assert_eq!(
            fields(profile(None, Some(&"x".repeat(1_001)), Some("a\nb"))),
            ["display_name", "about", "location"]
        );
    }

    #[test]
    fn an_empty_title_is_none_and_a_body_may_have_ten_thousand_characters() {
        let body = "é".repeat(10_000);
        assert_eq!(comment(Some("  "), Some(&body)), Ok(CommentText { title: None, body }));
        assert_eq!(fields(comment(None, Some(&"é".repeat(10_001)))), ["body"]);
    }

    #[test]
    fn dates_are_calendar_dates() {
        assert_eq!(
            movie(Some("m"), None, Some("2024-02-29")).map(|movie| movie.released_on),
            Ok(Some("2024-02-29".into()))
        );
        for bad in ["2023-02-29", "20240229", "2024-2-9", "2024-02-29T00:00:00Z", ""] {
            assert_eq!(fields(movie(Some("m"), None, Some(bad))), ["released_on"], "{bad}");
        }
    }
}
