//! The first screen of whoever starts Balcony for the first time.

use balcony_service::{FirstToken, Service};

/// What is shown once everything is ready at `service`.
pub(crate) fn greeting(service: &Service) -> anyhow::Result<String> {
    let (address, place) = (service.address(), service.place());
    let (note, token) = match service.first_token("balcony")? {
        FirstToken::Token(token) => (" (this token is valid for a day)", token),
        FirstToken::Command(command) => ("", format!("'\"$({command})\"'")),
        FirstToken::Provided => (" (the token comes from the identity provider)", "TOKEN".to_owned()),
    };
    Ok(format!(
        "Balcony listens on http://{address} ({place}).

Register a movie, as an admin{note}:

curl -i http://{address}/v1/movies -H 'Content-Type: application/json' -H 'Authorization: Bearer {token}' -d '{{\"title\":\"Seven Samurai\"}}'

See it: http://{address}/v1/movies   Everything else: http://{address}/docs
More tokens: balcony token --user NAME   Something to look at: balcony demo
"
    ))
}
