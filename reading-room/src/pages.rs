//! The pages, one function each.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse as _, Response};
use balcony_http::Problem;
use form_urlencoded::byte_serialize;
use maud::{Markup, html};
use uuid::Uuid;

use crate::accept::prefers_page;
use crate::api::{
    Comment, Company, Failure, Found, JourneyStep, List, Movie, Named, Recommendation, Titled, Trend, User,
};
use crate::asked::Asked;
use crate::parts::{self, Place};
use crate::room::Room;
use crate::texts::{Noun, Text};

/// How many characters a comment's title and its body may have. The script tells; the API refuses.
const TITLE: usize = 200;
const BODY: usize = 10_000;
/// How many are shown beside what a page is about.
const BESIDE: usize = 8;

/// What people say, what is trending, what is new.
pub(crate) async fn front(State(room): State<Room>, asked: Asked) -> Response {
    let path = "/v1/comments?limit=20";
    let found = room.ask::<List<Comment>>(&asked, &paged(path, &asked)).await;
    let comments = match found {
        Ok(comments) => comments,
        Err(failure) => return room.failed(&asked, &failure),
    };
    let language = asked.language;
    let beside = beside(&room, &asked).await;
    let content = html! {
        div.columns {
            section.stack aria-labelledby="newest" {
                h1 #newest { (language.say(Text::Newest)) }
                div.comments data-newest=[is_first_page(&asked).then_some(path)] {
                    (parts::list(language, &comments, |cursor| format!("/?cursor={cursor}"), Text::NothingYet, |one| {
                        parts::comment(language, one, true)
                    }))
                }
            }
            aside.stack #aside data-moves data-own { (beside) }
        }
    };
    room.page(&asked, Place::Front, "Balcony", content)
}

/// What stands beside the front page. What cannot be had is left out: the page is about something else.
async fn beside(room: &Room, asked: &Asked) -> Markup {
    let language = asked.language;
    let trending = format!("/v1/movies/trending?window=30m&limit={BESIDE}");
    let trending = room.ask::<List<Trend>>(asked, &trending).await.map(|list| list.items).unwrap_or_default();
    let recommended = format!("/v1/recommendations?limit={BESIDE}");
    let recommended = room.ask::<List<Recommendation>>(asked, &recommended).await.map(|list| list.items);
    let newest = format!("/v1/movies?limit={BESIDE}");
    let newest = room.ask::<List<Titled>>(asked, &newest).await.map(|list| list.items).unwrap_or_default();
    html! {
        (parts::trends(language, &trending))
        section aria-labelledby="new" {
            h2 #new { (language.say(Text::NewMovies)) }
            ul.plain { @for movie in &newest { li { (parts::movie(movie)) } } }
        }
        // The last: nothing moves when one's own take the place of those for everybody.
        (parts::recommendations(language, &recommended.unwrap_or_default()))
    }
}

/// Every movie.
pub(crate) async fn movies(State(room): State<Room>, asked: Asked) -> Response {
    let found = room.ask::<List<Movie>>(&asked, &paged("/v1/movies?limit=50", &asked)).await;
    let movies = match found {
        Ok(movies) => movies,
        Err(failure) => return room.failed(&asked, &failure),
    };
    let language = asked.language;
    let title = language.say(Text::Movies);
    let content = html! {
        h1 { (title) }
        div.stack {
            (parts::list(language, &movies, |cursor| format!("/movies?cursor={cursor}"), Text::NothingFound, |movie| html! {
                article.movie {
                    strong { a href={ "/movies/" (movie.id) } { (movie.title) } }
                    @if let Some(company) = &movie.company { " " a.quiet.small href={ "/companies/" (company.id) } { (company.name) } }
                    " " span.quiet.small.number { (counts(&asked, movie)) }
                }
            }))
        }
    };
    room.page(&asked, Place::Movies, title, content)
}

fn counts(asked: &Asked, movie: &Movie) -> String {
    let count = |number, noun| asked.language.count(number, noun);
    format!("{} · {}", count(movie.comment_count, Noun::Comment), count(movie.view_count, Noun::View))
}

/// One movie with what is said about it, live.
pub(crate) async fn movie(State(room): State<Room>, Path(id): Path<String>, asked: Asked) -> Response {
    match movie_page(&room, &id, &asked).await {
        Ok((title, content)) => room.page(&asked, Place::Elsewhere, &title, content),
        Err(failure) => room.failed(&asked, &failure),
    }
}

async fn movie_page(room: &Room, id: &str, asked: &Asked) -> Result<(String, Markup), Failure> {
    let id = known(id);
    let movie: Movie = room.ask(asked, &format!("/v1/movies/{id}")).await?;
    let path = paged(&format!("/v1/movies/{id}/comments?limit=20"), asked);
    let comments: List<Comment> = room.ask_list(asked, &path).await?;
    let language = asked.language;
    let is_first_page = is_first_page(asked);
    let content = html! {
        div.head data-viewed=[is_first_page.then_some(id)] {
            h1 { (movie.title) }
            p.quiet {
                @if let Some(company) = &movie.company { a href={ "/companies/" (company.id) } { (company.name) } " · " }
                @if let Some(day) = &movie.released_on { (language.say(Text::Released)) " " time datetime=(day) { (day) } " · " }
                span.number data-counts=(id) { (counts(asked, &movie)) }
            }
        }
        form.sheet.stack #write data-movie=(id) hidden {
            div {
                label for="title" { (language.say(Text::Title)) }
                input #title name="title" autocomplete="off" data-most=(TITLE) aria-describedby="title-length refusal";
                p.quiet.small.number #title-length aria-live="polite" hidden {}
            }
            div {
                label for="body" { (language.say(Text::YourComment)) }
                textarea #body name="body" required data-most=(BODY) aria-describedby="body-length refusal" {}
                p.quiet.small.number #body-length aria-live="polite" hidden {}
            }
            p.problem #refusal role="alert" hidden {}
            button.main { (language.say(Text::Post)) }
        }
        p.quiet #sign-in-to-post hidden { (language.say(Text::SignInToPost)) }
        section.comments aria-live="polite" aria-label=(language.say(Text::Comments))
            data-live=[is_first_page.then(|| format!("/v1/live/movies/{id}"))] data-from=[&comments.last_event] {
            (parts::list(language, &comments, |cursor| format!("/movies/{id}?cursor={cursor}"), Text::NothingYet, |one| {
                parts::comment(language, one, false)
            }))
        }
    };
    Ok((movie.title, content))
}

/// A person, what happened to them, and what they say.
pub(crate) async fn person(State(room): State<Room>, Path(id): Path<String>, asked: Asked) -> Response {
    match person_page(&room, &id, &asked).await {
        Ok((title, content)) => room.page(&asked, Place::Elsewhere, &title, content),
        Err(failure) => room.failed(&asked, &failure),
    }
}

async fn person_page(room: &Room, id: &str, asked: &Asked) -> Result<(String, Markup), Failure> {
    let id = known(id);
    let user: User = room.ask(asked, &format!("/v1/users/{id}")).await?;
    let path = format!("/v1/users/{id}/comments?limit=20");
    let comments: List<Comment> = room.ask(asked, &paged(&path, asked)).await?;
    let steps = format!("/v1/users/{id}/journey?limit=20");
    let journey: List<JourneyStep> = room.ask(asked, &paged_by("steps", &steps, asked)).await?;
    let here = format!("/people/{id}?");
    let language = asked.language;
    let content = html! {
        div.head {
            h1 { (user.display_name) }
            @if let Some(location) = &user.location { p.quiet { (location) } }
            @if let Some(about) = &user.about { p.body { (about) } }
            button #favorite type="button" data-user=(user.id) hidden { (language.say(Text::MakeFavorite)) }
            p.problem #refusal role="alert" hidden {}
        }
        div.columns {
            section.comments aria-label=(language.say(Text::Comments)) data-newest=[is_first_page(asked).then_some(path)] {
                (parts::list(language, &comments, |cursor| kept(&here, "steps", asked) + "cursor=" + cursor, Text::NothingYet, |one| {
                    parts::comment(language, one, true)
                }))
            }
            aside aria-labelledby="journey" data-own=(id) {
                h2 #journey { (language.say(Text::Journey)) }
                (parts::journey(language, &journey, |cursor| kept(&here, "cursor", asked) + "steps=" + cursor + "#journey"))
            }
        }
    };
    Ok((user.display_name, content))
}

/// A company and what is said about its movies.
pub(crate) async fn company(State(room): State<Room>, Path(id): Path<String>, asked: Asked) -> Response {
    match company_page(&room, &id, &asked).await {
        Ok((title, content)) => room.page(&asked, Place::Elsewhere, &title, content),
        Err(failure) => room.failed(&asked, &failure),
    }
}

async fn company_page(room: &Room, id: &str, asked: &Asked) -> Result<(String, Markup), Failure> {
    let id = known(id);
    let company: Company = room.ask(asked, &format!("/v1/companies/{id}")).await?;
    let path = format!("/v1/companies/{id}/comments?limit=20");
    let comments: List<Comment> = room.ask(asked, &paged(&path, asked)).await?;
    let language = asked.language;
    let content = html! {
        h1 { (company.name) }
        section.comments aria-label=(language.say(Text::Comments)) data-newest=[is_first_page(asked).then_some(path)] {
            (parts::list(language, &comments, |cursor| format!("/companies/{id}?cursor={cursor}"), Text::NothingYet, |one| {
                parts::comment(language, one, true)
            }))
        }
    };
    Ok((company.name, content))
}

/// What was looked for.
pub(crate) async fn search(State(room): State<Room>, asked: Asked) -> Response {
    let language = asked.language;
    let title = language.say(Text::Search);
    let text = asked.param("q").unwrap_or_default();
    let encoded = encoded(text);
    let found = match text {
        "" => None,
        _ => match room.ask::<List<Found>>(&asked, &paged(&format!("/v1/search?q={encoded}"), &asked)).await {
            Ok(found) => Some(found),
            Err(failure) => return room.failed(&asked, &failure),
        },
    };
    let content = html! {
        h1 { (title) @if !text.is_empty() { ": " (text) } }
        section #results {
            @if let Some(found) = &found {
                p.quiet.number #found-count {
                    @if !found.total_is_exact { (language.say(Text::AtLeast)) " " }
                    (language.count(found.total, Noun::FoundComment))
                }
                div.comments {
                    (parts::list(language, found, |cursor| format!("/search?q={encoded}&cursor={cursor}"), Text::NothingFound, |one| {
                        parts::found(language, one)
                    }))
                }
            }
        }
    };
    room.page(&asked, Place::Elsewhere, title, content)
}

/// What one's favourites say. The script asks for it with the token of whoever is signed in.
pub(crate) async fn favorites(State(room): State<Room>, asked: Asked) -> Response {
    match favorites_page(&room, &asked).await {
        Ok(content) => {
            let title = asked.language.say(Text::Favorites);
            room.page(&asked, Place::Favorites, title, content)
        }
        Err(failure) => room.failed(&asked, &failure),
    }
}

async fn favorites_page(room: &Room, asked: &Asked) -> Result<Markup, Failure> {
    let language = asked.language;
    if !asked.is_signed_in() {
        return Ok(html! {
            h1 { (language.say(Text::Favorites)) }
            p.empty #wants-token data-own { (language.say(Text::SignInForFavorites)) }
        });
    }
    let comments: List<Comment> = room.ask_list(asked, &paged("/v1/me/timeline?limit=20", asked)).await?;
    let favorites: List<Named> = room.ask(asked, "/v1/me/favorites?limit=100").await?;
    Ok(html! {
        div.columns {
            section.stack aria-labelledby="newest" {
                h1 #newest { (language.say(Text::FavoritesComments)) }
                div.comments aria-live="polite" data-from=[&comments.last_event]
                    data-live=[is_first_page(asked).then_some("/v1/live/me/timeline")] {
                    (parts::list(language, &comments, |cursor| format!("/favorites?cursor={cursor}"), Text::NothingYet, |one| {
                        parts::comment(language, one, true)
                    }))
                }
            }
            aside aria-labelledby="favorites" data-moves {
                h2 #favorites { (language.say(Text::FavoritesOfYours)) }
                ul.plain { @for user in &favorites.items { li { (parts::person(user)) } } }
            }
        }
    })
}

/// What is not there: a page for whoever would rather have one, and a problem document for programs and below `/v1`.
pub(crate) async fn unknown(State(room): State<Room>, uri: Uri, headers: HeaderMap, asked: Asked) -> Response {
    let accept: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let is_of_api = uri.path() == "/v1" || uri.path().starts_with("/v1/");
    let mut response = if !is_of_api && prefers_page(&accept.join(",")) {
        room.missing(&asked)
    } else {
        Problem::not_found("there is nothing at this path").into_response()
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept, accept-language"));
    response
}

/// Whether the page has the newest of its list.
fn is_first_page(asked: &Asked) -> bool {
    asked.param("cursor").is_none()
}

/// `path` with the cursor that the page was asked with.
fn paged(path: &str, asked: &Asked) -> String {
    paged_by("cursor", path, asked)
}

/// `path` with the cursor that the page was asked with under `name`.
fn paged_by(name: &str, path: &str, asked: &Asked) -> String {
    match asked.param(name) {
        Some(cursor) => format!("{path}&cursor={}", encoded(cursor)),
        None => path.to_owned(),
    }
}

/// The address `here`, at which another parameter may follow, with the parameter `name` of the page, if it has that.
fn kept(here: &str, name: &str, asked: &Asked) -> String {
    match asked.param(name) {
        Some(value) => format!("{here}{name}={}&", encoded(value)),
        None => here.to_owned(),
    }
}

fn encoded(value: &str) -> String {
    byte_serialize(value.as_bytes()).collect()
}

/// The id in a path; one that is none becomes one that nothing has.
fn known(id: &str) -> Uuid {
    id.parse().unwrap_or_default()
}
