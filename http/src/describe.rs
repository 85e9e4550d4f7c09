//! What an operation is described as in the OpenAPI document: its handler's signature says it.
//!
//! Each extractor describes, beside the code that reads the request, what it takes of it and what it refuses
//! ([`Describe`]). [`operation!`](crate::operation) puts together what the parameters of a handler describe, so a handler
//! declares only what is its own: what it answers when it succeeds, and refusals that no extractor knows of. **Every
//! refusal is described as a problem document**, those of handlers too.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::MethodRouter;
use utoipa::openapi::path::{Operation, ParameterIn, PathItem, Paths};
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Required, Response};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use crate::Problem;

/// Something that a handler takes of a request.
pub trait Describe {
    /// Adds what it takes and what it refuses.
    fn describe(description: &mut Description<'_>);
}

/// An operation that is being described.
pub struct Description<'a> {
    operation: &'a mut Operation,
    schemas: &'a mut Schemas,
}

/// A handler whose parameters, of the types `Parameters`, describe themselves.
pub trait Handler<Parameters> {
    /// Adds what its parameters describe.
    fn describe(description: &mut Description<'_>);
}

/// Schemas by name.
pub type Schemas = Vec<(String, RefOr<Schema>)>;

/// The name of the security scheme: a bearer token.
const TOKEN: &str = "token";
const JSON: &str = "application/json";
const PROBLEM_JSON: &str = "application/problem+json";

impl Description<'_> {
    /// The operation takes the parameters of `P`.
    pub fn takes<P: IntoParams>(&mut self) {
        let parameters = P::into_params(|| Some(ParameterIn::Query));
        self.operation.parameters.get_or_insert_default().extend(parameters.into_iter().map(RefOr::T));
    }

    /// The operation takes a body: a `T` in JSON.
    pub fn takes_json<T: ToSchema>(&mut self) {
        let mut body = RequestBody::new();
        body.content.insert(JSON.to_owned(), RefOr::T(Content::new(Some(Ref::from_schema_name(T::name())))));
        body.required = Some(Required::True);
        self.operation.request_body = Some(RefOr::T(body));
        self.schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(self.schemas);
    }

    /// The operation takes a bearer token, and can do without.
    pub fn takes_token(&mut self) {
        let security = self.operation.security.get_or_insert_default();
        security.extend([SecurityRequirement::default(), SecurityRequirement::new(TOKEN, [""; 0])]);
    }

    /// The operation needs a bearer token.
    pub fn needs_token(&mut self) {
        self.operation.security = Some(vec![SecurityRequirement::new(TOKEN, [""; 0])]);
    }

    /// The operation answers `status` when `what` is so. The reasons for one status are listed one after the other.
    pub fn refuses(&mut self, status: StatusCode, what: &str) {
        refuse(self.operation, status, what);
    }
}

fn refuse(operation: &mut Operation, status: StatusCode, what: &str) {
    let responses = &mut operation.responses.responses;
    let response = responses.entry(status.as_str().to_owned()).or_insert_with(|| RefOr::T(Response::default()));
    let RefOr::T(response) = response else { return };
    if !response.description.is_empty() {
        response.description = format!("{}; {what}", response.description);
        return;
    }
    let mut characters = what.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    response.description = first.into_iter().chain(characters).collect();
}

/// Adds what the parameters of a handler describe to the operations of `routes`, which have that handler.
pub fn described<S, E, P, H: Handler<P>>(
    (mut schemas, mut paths, router): (Schemas, Paths, MethodRouter<S, E>),
    _: &H,
) -> (Schemas, Paths, MethodRouter<S, E>) {
    for operation in paths.paths.values_mut().flat_map(operations) {
        H::describe(&mut Description { operation, schemas: &mut schemas });
    }
    (schemas, paths, router)
}

/// Adds what holds of every operation of a service: the security scheme; whatever `refusals` the edge has; and the form
/// of refusals.
pub(crate) fn at_the_edge(openapi: &mut OpenApi, refusals: &[(StatusCode, &str)]) {
    let components = openapi.components.get_or_insert_default();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    components.add_security_scheme(TOKEN, SecurityScheme::Http(bearer));
    let mut schemas = vec![(Problem::name().into_owned(), Problem::schema())];
    Problem::schemas(&mut schemas);
    components.schemas.extend(schemas);

    for operation in openapi.paths.paths.values_mut().flat_map(operations) {
        for &(status, what) in refusals {
            refuse(operation, status, what);
        }
        for (status, response) in &mut operation.responses.responses {
            let RefOr::T(response) = response else { continue };
            if status.starts_with(['4', '5']) {
                let problem = Content::new(Some(Ref::from_schema_name(Problem::name())));
                response.content = [(PROBLEM_JSON.to_owned(), RefOr::T(problem))].into_iter().collect();
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, options, head, patch, trace, .. } = item;
    [get, put, post, delete, options, head, patch, trace].into_iter().flatten()
}

/// The route of a handler that `#[utoipa::path]` describes, with what its parameters describe. It goes to
/// `utoipa_axum`'s `OpenApiRouter::routes`; the crate that says `operation!` depends on `utoipa_axum`.
#[macro_export]
macro_rules! operation {
    ($handler:path) => {
        $crate::describe::described(::utoipa_axum::routes!($handler), &$handler)
    };
}

/// The state is no part of a request.
impl<S> Describe for State<S> {
    fn describe(_: &mut Description<'_>) {}
}

macro_rules! handler {
    ($($parameter:ident)*) => {
        impl<F, A, $($parameter: Describe),*> Handler<($($parameter,)*)> for F
        where
            F: Fn($($parameter),*) -> A,
        {
            fn describe(description: &mut Description<'_>) {
                $($parameter::describe(description);)*
            }
        }
    };
}

handler! { P1 }
handler! { P1 P2 }
handler! { P1 P2 P3 }
handler! { P1 P2 P3 P4 }
handler! { P1 P2 P3 P4 P5 }
handler! { P1 P2 P3 P4 P5 P6 }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reasons_for_one_status_are_listed() {
        let mut operation = Operation::default();
        refuse(&mut operation, StatusCode::UNPROCESSABLE_ENTITY, "a field is wrong");
        refuse(&mut operation, StatusCode::UNPROCESSABLE_ENTITY, "a header is wrong");
        let RefOr::T(response) = &operation.responses.responses["422"] else { panic!("a response") };
        assert_eq!(response.description, "A field is wrong; a header is wrong");
    }
}
