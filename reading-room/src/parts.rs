//! The parts that pages are put together from. Everything is escaped but what is marked otherwise.

use std::borrow::Cow;

use axum::http::{StatusCode, header};
use axum::response::Response;
use balcony_http::page::page;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::api::{Comment, Failure, Found, JourneyStep, List, Named, Recommendation, Titled, Trend};
use crate::asked::Asked;
use crate::room::Room;
use crate::texts::{Language, Text};

/// Which of the links on top is where one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Front,
    Movies,
    Favorites,
    Elsewhere,
}

impl Room {
    /// The page called `title` with `content`.
    pub(crate) fn page(&self, asked: &Asked, place: Place, title: &str, content: Markup) -> Response {
        self.answer(asked, StatusCode::OK, place, title, content)
    }

    /// The page that says why something is not shown.
    pub(crate) fn failed(&self, asked: &Asked, failure: &Failure) -> Response {
        let title = match failure.status {
            StatusCode::NOT_FOUND | StatusCode::GONE => Text::NotFound,
            _ => Text::NotNow,
        };
        let title = asked.language.say(title);
        let own = asked.language.refusal(failure.status);
        // The words of the API are English.
        let of_api =
            Some(&failure.detail).filter(|_| failure.status != StatusCode::NOT_FOUND && !failure.detail.is_empty());
        let content = html! {
            h1 { (title) }
            @if let Some(own) = own { p.problem { (own) } }
            @if let Some(detail) = of_api {
                p.problem[own.is_none()].quiet[own.is_some()] data-header=[&failure.header] lang="en" { (detail) }
            }
            p { a href="/" { "Balcony" } }
        };
        let mut response = self.answer(asked, failure.status, Place::Elsewhere, title, content);
        if let Some(seconds) = &failure.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.clone());
        }
        response
    }

    /// The page of an address that has none.
    pub(crate) fn missing(&self, asked: &Asked) -> Response {
        let (status, detail) = (StatusCode::NOT_FOUND, String::new());
        self.failed(asked, &Failure { status, detail, header: None, retry_after: None })
    }

    fn answer(&self, asked: &Asked, status: StatusCode, place: Place, title: &str, content: Markup) -> Response {
        let commands = self.commands.as_deref();
        let markup = document(asked, place, title, commands.unwrap_or_default(), &content);
        page(status, markup.into_string(), commands)
    }
}

fn document(asked: &Asked, place: Place, title: &str, commands: &str, content: &Markup) -> Markup {
    let language = asked.language;
    let say = |text| language.say(text);
    html! {
        (DOCTYPE)
        html lang=(language.tag()) data-commands=(commands) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) @if place != Place::Front { " · Balcony" } }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="/assets/house.css";
                link rel="stylesheet" href="/assets/room.css";
                script src="/assets/room.js" defer {}
            }
            body {
                a.skip href="#main" { (say(Text::ToTheContent)) }
                header.bar { div {
                    a.brand href="/" aria-current=[(place == Place::Front).then_some("page")] { "Balcony" }
                    nav aria-label="Balcony" {
                        a href="/movies" aria-current=[(place == Place::Movies).then_some("page")] { (say(Text::Movies)) }
                        a href="/favorites" aria-current=[(place == Place::Favorites).then_some("page")] { (say(Text::Favorites)) }
                    }
                    form.find role="search" action="/search" {
                        label.unseen for="q" { (say(Text::SearchComments)) }
                        input #q type="search" name="q" autocomplete="off" placeholder=(say(Text::SearchComments)) value=[asked.param("q")];
                        button { (say(Text::Search)) }
                        p #search-state role="status" {}
                    }
                    div.end #who {}
                } }
                main #main { (content) }
                footer {
                    (say(Text::AllIsProjected)) " " a href="/docs" { "API" } " · " a href="/control" { (say(Text::ControlRoom)) }
                    noscript { p { (say(Text::NeedsScript)) } }
                }
            }
        }
    }
}

/// A time that the script shows in the reader's zone.
pub(crate) fn time(at: &str) -> Markup {
    let short: String = at.chars().take(16).collect();
    html! { time datetime=(at) { (short.replace('T', " ")) } }
}

pub(crate) fn person(user: &Named) -> Markup {
    html! { a href={ "/people/" (user.id) } { (user.display_name) } }
}

pub(crate) fn movie(movie: &Titled) -> Markup {
    html! { a href={ "/movies/" (movie.id) } { (movie.title) } }
}

/// A comment, with the movie it is about unless that is plain.
pub(crate) fn comment(language: Language, comment: &Comment, shows_movie: bool) -> Markup {
    comment_with(language, comment, shows_movie, &html! { (comment.body) })
}

fn comment_with(language: Language, comment: &Comment, shows_movie: bool, body: &Markup) -> Markup {
    html! {
        article.comment id={ "c-" (comment.id) } data-id=(comment.id) data-author=(comment.author.id) {
            header {
                strong { (person(&comment.author)) }
                @if shows_movie { span.quiet { " " (language.say(Text::On)) " " } (movie(&comment.movie)) }
                " " span.quiet.small { (time(&comment.posted_at)) }
            }
            @if let Some(title) = &comment.title { h2.headline { (title) } }
            p.body { (body) }
        }
    }
}

pub(crate) fn found(language: Language, found: &Found) -> Markup {
    // The API has escaped everything in it but the marks.
    comment_with(language, &found.comment, true, &PreEscaped(found.snippet.clone()))
}

/// A list, with the link to what comes after it.
pub(crate) fn list<T>(
    language: Language,
    list: &List<T>,
    more: impl FnOnce(&str) -> String,
    empty: Text,
    item: impl Fn(&T) -> Markup,
) -> Markup {
    html! {
        @if list.items.is_empty() { p.empty { (language.say(empty)) } }
        @for one in &list.items { (item(one)) }
        @if let Some(cursor) = &list.next_cursor {
            p { a.button rel="next" href=(more(cursor)) { (language.say(Text::Older)) } }
        }
    }
}

pub(crate) fn trends(language: Language, trends: &[Trend]) -> Markup {
    html! {
        section aria-labelledby="trending" {
            h2 #trending { (language.say(Text::Trending)) }
            @if trends.is_empty() { p.quiet { (language.say(Text::NoViews)) } }
            ol.ranking { @for trend in trends {
                li { (movie(&trend.movie)) " " span.quiet.number { (trend.views) } }
            } }
        }
    }
}

pub(crate) fn recommendations(language: Language, found: &[Recommendation]) -> Markup {
    html! {
        @if !found.is_empty() {
            section aria-labelledby="recommended" {
                h2 #recommended { (language.say(Text::Recommended)) }
                ul.plain { @for one in found {
                    li { (movie(&one.movie)) br; span.quiet.small { (reason(language, one)) } }
                } }
            }
        }
    }
}

fn reason(language: Language, one: &Recommendation) -> Cow<'_, str> {
    let named: Vec<&str> = one.favorites.iter().map(|user| user.display_name.as_str()).collect();
    language.reason(&one.reason, one.views, one.favorite_count, &named)
}

/// What happened to somebody, with the link to what was before.
pub(crate) fn journey(language: Language, steps: &List<JourneyStep>, more: impl FnOnce(&str) -> String) -> Markup {
    html! {
        ol.plain.journey { @for step in &steps.items {
            li {
                span.quiet.small { (time(&step.at)) } " " (language.deed(&step.r#type))
                @if let Some(of) = &step.movie { " " (movie(of)) }
                @if let Some(user) = &step.user { " " (person(user)) }
            }
        } }
        @if let Some(cursor) = &steps.next_cursor {
            @let (older, of) = (language.say(Text::Older), language.say(Text::Journey));
            p { a.button rel="next" href=(more(cursor)) aria-label={ (older) ": " (of) } { (older) } }
        }
    }
}
