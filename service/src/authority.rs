//! Who issues and checks the tokens of an installation.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use balcony_http::{Authority, IdentityProvider, Subjects};
use balcony_projector::{Application, Deployment, private_folder};

use crate::settings::Settings;

/// The file of the secret in the data folder.
const SECRET_FILE: &str = "jwt-secret";
/// Bytes of a secret that is made, before they are written in hexadecimal.
const SECRET_BYTES: usize = 32;

/// Whoever has the installation's secret, or is its identity provider. Where there is neither, an embedded installation
/// makes a secret.
///
/// # Errors
/// Names the setting that is wrong or missing.
pub fn authority(application: &Application, settings: &Settings) -> anyhow::Result<Authority> {
    of_secret(application, settings, secret)
}

/// The same beside an installation. Nothing is made.
pub(crate) fn authority_beside(application: &Application, settings: &Settings) -> anyhow::Result<Authority> {
    of_secret(application, settings, |data_dir| {
        let has_one = data_dir.join(SECRET_FILE).is_file();
        let (folder, name) = (data_dir.display(), application.name());
        ensure!(has_one, "DATA_DIR: there is no installation in {folder}; start {name} first");
        read(data_dir)
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

/// The secret in the data folder, made when there is none. A process that makes one at the same time wins or loses
/// as a whole: the file appears complete.
fn secret(data_dir: &Path) -> anyhow::Result<String> {
    private_folder(data_dir).with_context(|| format!("DATA_DIR: {} cannot be made", data_dir.display()))?;
    let path = data_dir.join(SECRET_FILE);
    if !path.exists() {
        let bytes: [u8; SECRET_BYTES] = rand::random();
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let draft = data_dir.join(format!("jwt-secret.{}", std::process::id()));
        let write = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            match std::fs::hard_link(&draft, &path) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
                _ => std::fs::remove_file(&draft),
            }
        };
        write().with_context(|| format!("DATA_DIR: {} cannot be written", path.display()))?;
    }
    read(data_dir)
}

fn read(data_dir: &Path) -> anyhow::Result<String> {
    let path = data_dir.join(SECRET_FILE);
    let mut text = String::new();
    let read = File::open(&path).and_then(|mut file| file.read_to_string(&mut text));
    read.with_context(|| format!("DATA_DIR: {} cannot be read", path.display()))?;
    let text = text.trim();
    if text.len() < 2 * SECRET_BYTES {
        bail!("DATA_DIR: {} is damaged; remove it to have a new one made, which ends all tokens", path.display());
    }
    Ok(text.to_owned())
}
