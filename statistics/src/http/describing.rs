//! What there is in this program, in the description of the routes.

use std::time::Duration;

use utoipa::openapi::path::Parameter;
use utoipa::openapi::{ObjectBuilder, OpenApi, RefOr, Type};

use crate::{Shape, Shapes, Windows};

/// The same description, which names the streams, dimensions and windows of `shapes`.
pub(super) fn with_names(mut openapi: OpenApi, shapes: &Shapes) -> OpenApi {
    let operations = openapi.paths.paths.values_mut().filter_map(|item| item.get.as_mut());
    for parameter in operations.flat_map(|operation| operation.parameters.iter_mut().flatten()) {
        let RefOr::T(parameter) = parameter else { continue };
        match parameter.name.as_str() {
            "stream" => parameter.description = Some(either(shapes.iter().map(|shape| &*shape.name))),
            "dimension" => {
                let known: Vec<String> = shapes.iter().map(dimensions).collect();
                let known = known.join("; ");
                parameter.description = Some(format!("What is counted by: {known}. The stream's first when absent."));
            }
            "window" => describe_windows(parameter, shapes.windows()),
            _ => {}
        }
    }
    openapi
}

fn dimensions(shape: &Shape) -> String {
    format!("{} of `{}`", either(shape.dimensions.iter().map(|known| &*known.name)), shape.name)
}

fn describe_windows(parameter: &mut Parameter, windows: &Windows) {
    let kept: Vec<String> =
        windows.lengths().map(|window| format!("`{window}` {}", span(windows.kept_for(window)))).collect();
    parameter.description = Some(format!("How long a window is. They are kept: {}.", kept.join(", ")));
    let choices = windows.lengths().map(|window| window.to_string());
    let schema = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(choices));
    parameter.schema = Some(schema.default(Some(windows.usual().to_string().into())).into());
}

fn span(kept: Option<Duration>) -> String {
    let Some(kept) = kept else { return "for ever".to_owned() };
    let hours = kept.as_secs().div_ceil(3_600);
    if hours >= 48 && hours % 24 == 0 { format!("{} days", hours / 24) } else { format!("{hours} hours") }
}

/// `a`, `b` or `c`.
fn either<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

#[cfg(test)]
mod tests {
    use balcony_http::testing::{gaps, operations};

    use super::*;
    use crate::http::described;
    use crate::{Stream, Window};

    #[test]
    fn the_description_has_no_gaps_and_names_what_there_is() {
        let streams: [Stream<()>; 2] = [
            Stream::named("sales").by("shop", |()| None).by("range", |()| None),
            Stream::named("gifts").by("shop", |()| None),
        ];
        let windows = Windows::of([(Window::seconds(10), Some(Duration::from_secs(7_200))), (Window::MINUTE, None)]);
        let openapi = described(&Shapes::of(&streams, windows));
        assert_eq!(openapi.info.title, "", "the title is the program's");
        let openapi = balcony_http::service::described(openapi);
        assert_eq!(gaps(&openapi), [""; 0]);
        for operation in operations(&openapi) {
            assert!(operation.answers(422) && operation.answers(503), "{}", operation.name);
            let parameters = operation.described["parameters"].as_array().expect("parameters");
            let named = |name: &str| parameters.iter().find(|known| known["name"] == name).expect("it is there");
            if operation.name == "GET /v1/stats" {
                continue;
            }
            assert_eq!(named("stream")["description"], "`sales` or `gifts`");
            let dimensions =
                "What is counted by: `shop` or `range` of `sales`; `shop` of `gifts`. The stream's first when absent.";
            assert_eq!(named("dimension")["description"], dimensions);
            if operation.name.ends_with("/top") {
                continue;
            }
            assert_eq!(named("window")["schema"]["enum"], serde_json::json!(["10s", "1m"]));
            assert_eq!(named("window")["schema"]["default"], "10s");
            let kept = "How long a window is. They are kept: `10s` 2 hours, `1m` for ever.";
            assert_eq!(named("window")["description"], kept);
        }
    }
}
