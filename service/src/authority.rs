//! Who issues and checks the tokens of an installation.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use balcony_http::{Authority, Subjects};
use balcony_projector::{Application, Deployment, private_folder};

use crate::settings::Settings;

/// The file of the secret in the data folder.
const SECRET_FILE: &str = "jwt-secret";
/// Bytes of a secret that is made, before they are written in hexadecimal.
const SECRET_BYTES: usize = 32;

/// Whoever has the installation's secret, which is made when an embedded one has none.
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
    let secret = match (settings.jwt_secret()?, settings.installation.deployment(application)?) {
        (Some(secret), _) => secret,
        (None, Deployment::Embedded { data_dir }) => in_folder(&data_dir)?,
        (None, Deployment::Distributed { .. }) => {
            bail!(
                "JWT_SECRET: is missing; a distributed installation needs one of 32 bytes or more, the same everywhere"
            )
        }
    };
    let subjects = Subjects::derived_in(application.ids());
    Ok(Authority::new(secret.as_bytes(), application.name(), subjects, settings.expected_tokens()?))
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
