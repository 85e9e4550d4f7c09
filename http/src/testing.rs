//! What tests ask of the description of a service.

use std::collections::BTreeSet;

use serde_json::Value;
use utoipa::openapi::OpenApi;

/// An operation of a description.
#[derive(Debug, Clone)]
pub struct Operation {
    /// The method and the path, such as `GET /v1/things/{id}`.
    pub name: String,
    /// The description, as OpenAPI has it.
    pub described: Value,
}

/// All operations of `openapi`, by name.
///
/// # Panics
/// When the document is no JSON.
pub fn operations(openapi: &OpenApi) -> Vec<Operation> {
    let document = serde_json::to_value(openapi).expect("a description is JSON");
    let paths = document["paths"].as_object().cloned().unwrap_or_default();
    let of_path = |(path, methods): (String, Value)| {
        let methods = methods.as_object().cloned().unwrap_or_default();
        let operation = move |(method, described): (String, Value)| Operation {
            name: format!("{} {path}", method.to_uppercase()),
            described,
        };
        methods.into_iter().map(operation)
    };
    let mut operations: Vec<Operation> = paths.into_iter().flat_map(of_path).collect();
    operations.sort_by(|a, b| a.name.cmp(&b.name));
    operations
}

/// What every description of a service should say and this one does not, a line for each gap. It asks that
///
/// - operations have ids, each its own;
/// - every part of a path is a parameter, and the id in it may name nothing (404);
/// - what is no HTTP (400), comes too slowly (408), is too long (413, 414, 431) or encoded (415), has a wrong token (401), comes
///   too often (429) or when there is no room (503) is refused, everywhere;
/// - a body may be against the rules (422);
/// - every refusal says when it happens and is a problem document.
pub fn gaps(openapi: &OpenApi) -> Vec<String> {
    let mut ids = BTreeSet::new();
    let mut gaps = Vec::new();
    for operation in operations(openapi) {
        let id = operation.described["operationId"].as_str().unwrap_or_default().to_owned();
        let has_id = !id.is_empty() && ids.insert(id);
        let found = operation.gaps().into_iter().chain((!has_id).then(|| "an id of its own".to_owned()));
        gaps.extend(found.map(|gap| format!("{} lacks {gap}", operation.name)));
    }
    gaps
}

impl Operation {
    /// The names of its parameters.
    pub fn parameters(&self) -> Vec<&str> {
        let parameters = self.described["parameters"].as_array().into_iter().flatten();
        parameters.filter_map(|parameter| parameter["name"].as_str()).collect()
    }

    /// Whether it says that it answers `status`.
    pub fn answers(&self, status: u16) -> bool {
        self.described["responses"].get(status.to_string()).is_some()
    }

    fn gaps(&self) -> Vec<String> {
        let in_path: Vec<&str> =
            self.name.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        let parameters = self.parameters();
        let mut gaps: Vec<String> = Vec::new();
        gaps.extend(
            in_path.iter().filter(|name| !parameters.contains(name)).map(|name| format!("the parameter {name}")),
        );

        let mut refusals = vec![400, 401, 408, 413, 414, 415, 429, 431, 503];
        if !in_path.is_empty() {
            refusals.push(404);
        }
        if self.described.get("requestBody").is_some() {
            refusals.push(422);
        }
        gaps.extend(
            refusals.iter().filter(|status| !self.answers(**status)).map(|status| format!("the refusal {status}")),
        );

        for (status, response) in self.described["responses"].as_object().into_iter().flatten() {
            let content = &response["content"]["application/problem+json"]["schema"]["$ref"];
            let is_problem = *content == "#/components/schemas/Problem";
            if status.starts_with(['4', '5']) && !(is_problem && response["description"] != "") {
                gaps.push(format!("a problem document and its description for {status}"));
            }
        }
        gaps
    }
}
