//! A page of charts, for a program that wants to show what is happening: history, and the window that is running.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use balcony_http::page::{Asset, SCRIPT, assets, page};
use balcony_statistics::http::{Chart, StatisticsApi};
use maud::{DOCTYPE, Markup, html};
use utoipa::openapi::OpenApi;

/// What the page is made of, beside what the control room is.
const ASSETS: &[Asset] =
    &[Asset { path: "/assets/charts.js", content_type: SCRIPT, bytes: include_bytes!("charts/charts.js") }];

/// A page of charts, as a program declares it. It moves by itself, in English and in Japanese.
///
/// ```
/// use balcony_console::ChartPage;
/// use balcony_statistics::Window;
/// use balcony_statistics::http::{Chart, Drawn};
///
/// let page = ChartPage::new("The shop", [
///     Chart::new("Sales", "sales", "shop", Window::MINUTE).titled_in_japanese("売上"),
///     Chart::new("Prices", "sales", "shop", Window::HOUR).drawing([Drawn::Average]),
/// ]);
/// // let (routes, openapi) = page.titled_in_japanese("店").routes(&statistics_api);
/// # let _ = page;
/// ```
#[derive(Debug, Clone)]
pub struct ChartPage {
    title: String,
    japanese: Option<String>,
    charts: Vec<Chart>,
}

impl ChartPage {
    /// A page called `title` with these charts.
    pub fn new(title: &str, charts: impl IntoIterator<Item = Chart>) -> Self {
        Self { title: title.to_owned(), japanese: None, charts: charts.into_iter().collect() }
    }

    /// With this title for readers of Japanese.
    #[must_use]
    pub fn titled_in_japanese(self, title: &str) -> Self {
        Self { japanese: Some(title.to_owned()), ..self }
    }

    /// The page at `/` with the stream that moves it, and what that is described as. It is mounted beside
    /// [`routes`](crate::routes), which has the house's style and the chart library.
    ///
    /// # Panics
    /// When a chart is of what `statistics` does not count, which is an error of the program.
    pub fn routes(&self, statistics: &StatisticsApi) -> (Router, OpenApi) {
        let html = self.document().into_string();
        let show = async move || page(StatusCode::OK, html.clone(), None);
        let (live, openapi) = statistics.charts(&self.charts);
        (live.route("/", get(show)).merge(assets(ASSETS.iter().copied())), openapi)
    }

    /// The same, and the routes of `statistics`: all that a program has that only counts.
    ///
    /// # Panics
    /// As [`routes`](Self::routes).
    pub fn with_streams(&self, statistics: &StatisticsApi) -> (Router, OpenApi) {
        let ((page, described), (streams, mut openapi)) = (self.routes(statistics), statistics.routes());
        openapi.merge(described);
        (streams.merge(page), openapi)
    }

    fn document(&self) -> Markup {
        let japanese = self.japanese.as_ref().unwrap_or(&self.title);
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (self.title) }
                    link rel="icon" href="data:,";
                    @for style in ["house", "uplot", "plot"] { link rel="stylesheet" href={ "/assets/" (style) ".css" }; }
                    @for script in ["uplot", "plot", "charts"] { script src={ "/assets/" (script) ".js" } defer {} }
                }
                body {
                    a.skip href="#main" data-text="skip" { "To the content" }
                    header.bar { div {
                        a.brand href="/" data-ja=(japanese) { (self.title) }
                        nav aria-label="Pages" {
                            a href="/control" data-text="control" { "Control room" }
                            a href="/docs" data-text="docs" { "API" }
                        }
                        div.end { span #state .badge role="status" {} }
                    } }
                    main #main {
                        h1 data-ja=(japanese) { (self.title) }
                        noscript { p.problem { "The charts need JavaScript; " a href="/v1/stats" { "/v1/stats" } " has the same counts." } }
                        div.charts { @for (number, chart) in self.charts.iter().enumerate() { (section(number, chart)) } }
                    }
                }
            }
        }
    }
}

fn section(number: usize, chart: &Chart) -> Markup {
    let title = format!("chart-{number}");
    let drawn: Vec<&str> = chart.drawn().iter().map(|drawn| drawn.name()).collect();
    html! {
        section.sheet.chart aria-labelledby=(title) data-dimension=(chart.dimension()) data-window=(chart.window())
            data-drawn=(drawn.join(" ")) {
            h2 #(title) data-ja=(chart.title_in_japanese()) { (chart.title()) }
            p.quiet.small.what {}
            div.plot role="img" aria-labelledby=(title) hidden {}
            div.scroll tabindex="0" role="group" aria-labelledby=(title) hidden { table {
                thead { tr {
                    th scope="col" data-text="value" { "Value" }
                    th.number scope="col" data-text="running" { "Now" }
                    th.number scope="col" data-text="last" { "Before" }
                } }
                tbody {}
            } }
            p.empty data-text="waiting" { "Waiting for the first counts." }
        }
    }
}

#[cfg(test)]
mod tests {
    use balcony_statistics::Window;
    use balcony_statistics::http::Drawn;

    use super::*;

    #[test]
    fn what_a_program_declares_stands_in_the_page_as_text() {
        let chart =
            Chart::new("<b>Prices</b>", "sales", "shop", Window::seconds(10)).drawing([Drawn::Least, Drawn::Most]);
        let page = ChartPage::new("A & B", [chart.titled_in_japanese("値段")]).titled_in_japanese("店").document();
        let html = page.into_string();
        assert!(html.contains("&lt;b&gt;Prices&lt;/b&gt;") && !html.contains("<b>"), "{html}");
        assert!(html.contains(r#"data-window="10s" data-drawn="least most""#), "{html}");
        assert!(html.contains(r#"<h1 data-ja="店">A &amp; B</h1>"#), "{html}");
        assert!(!html.contains("style=") && !html.contains("onclick"), "{html}");
    }
}
