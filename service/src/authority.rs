//! Who issues and checks the tokens of an installation.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use balcony_http::{Authority, IdentityProvider, Subjects};
use balcony_projector::{Application, Deployment};

use crate::secret_file::SecretFile;
use crate::settings::Settings;

/// What signs the tokens of an embedded installation that was given nothing to sign them with.
const SECRET: SecretFile = SecretFile { name: "jwt-secret", ends: "all tokens" };

/// Whoever has the installation's secret, or is its identity provider. Where there is neither, an embedded installation
/// makes a secret.
///
/// # Errors
/// Names the setting that is wrong or missing.
pub fn authority(application: &Application, settings: &Settings) -> anyhow::Result<Authority> {
    of_secret(application, settings, |data_dir| SECRET.made_in(data_dir))
}

/// The same beside an installation. Nothing is made.
pub(crate) fn authority_beside(application: &Application, settings: &Settings) -> anyhow::Result<Authority> {
    of_secret(application, settings, |data_dir| {
        let has_one = data_dir.join(SECRET.name).is_file();
        let (folder, name) = (data_dir.display(), application.name());
        ensure!(has_one, "DATA_DIR: there is no installation in {folder}; start {name} first");
        SECRET.read_in(data_dir)
    })
}

fn of_secret(
    application: &Application,
    settings: &Settings,
    in_folder: impl Fn(&Path) -> anyhow::Result<String>,
) -> anyhow::Result<Authority> {
    let (subjects, expected) = (Subjects::derived_in(application.ids()), settings.expected_tokens()?);
    let given = settings.jwt_secret()?;
    if let Some(provider) = provider(settings)? {
        let secret = given.as_deref().map(str::as_bytes);
        return Ok(Authority::of_provider(provider, secret, application.name(), subjects, expected));
    }
    let secret = match (given, settings.installation.deployment(application)?) {
        (Some(secret), _) => secret,
        (None, Deployment::Embedded { data_dir }) => in_folder(&data_dir)?,
        (None, Deployment::Distributed { .. }) => {
            bail!(
                "JWT_SECRET: is missing; a distributed installation needs one of 32 bytes or more, the same everywhere, or JWKS_URL"
            )
        }
    };
    Ok(Authority::new(secret.as_bytes(), application.name(), subjects, expected))
}

/// The identity provider, if there is one.
fn provider(settings: &Settings) -> anyhow::Result<Option<IdentityProvider>> {
    let Some(url) = settings.jwks_url()? else { return Ok(None) };
    #[cfg(feature = "identity-provider")]
    let provider = crate::identity_provider::provider(url);
    #[cfg(not(feature = "identity-provider"))]
    let provider = Err(anyhow::anyhow!("this program is built without identity providers"));
    provider.map(Some).with_context(|| format!("JWKS_URL: {url}"))
}

/// Says what an operator should know of an identity provider's tokens, and begins to fetch its keys.
pub(crate) fn follow(provider: &IdentityProvider, settings: &Settings) -> anyhow::Result<()> {
    if settings.expected_tokens()?.audience.is_none() {
        tracing::warn!("JWT_AUDIENCE is not set: tokens of the identity provider for any other service are taken, too");
    }
    provider.follow();
    Ok(())
}
