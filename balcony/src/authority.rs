//! Who issues and checks the tokens of an installation.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use balcony_domain::DERIVED;
use balcony_http::{Authority, Expected, Subjects};
use balcony_projector::Deployment;

use crate::application::NAME;
use crate::settings::Settings;

/// Bytes of a secret that is made, before they are written in hexadecimal.
const SECRET_BYTES: usize = 32;

/// Whoever has the installation's secret. Works beside a running installation.
pub(crate) fn authority(settings: &Settings) -> anyhow::Result<Authority> {
    if let Some(secret) = settings.jwt_secret()? {
        return Ok(over(secret));
    }
    match settings.deployment()? {
        Deployment::Embedded { data_dir } => Ok(over(&secret(&data_dir)?)),
        Deployment::Distributed { .. } => {
            bail!(
                "JWT_SECRET: is missing; a distributed installation needs one of 32 bytes or more, the same everywhere"
            )
        }
    }
}

fn over(secret: &str) -> Authority {
    Authority::new(secret.as_bytes(), NAME, Subjects::derived_in(DERIVED), Expected::default())
}

/// The secret in the data folder, made when there is none. A process that makes one at the same time wins or loses
/// as a whole: the file appears complete.
fn secret(data_dir: &Path) -> anyhow::Result<String> {
    make_folder(data_dir)?;
    let path = data_dir.join("jwt-secret");
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
    let mut text = String::new();
    let read = File::open(&path).and_then(|mut file| file.read_to_string(&mut text));
    read.with_context(|| format!("DATA_DIR: {} cannot be read", path.display()))?;
    let text = text.trim();
    if text.len() < 2 * SECRET_BYTES {
        bail!("DATA_DIR: {} is damaged; remove it to have a new one made, which ends all tokens", path.display());
    }
    Ok(text.to_owned())
}

fn make_folder(data_dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(data_dir).with_context(|| format!("DATA_DIR: {} cannot be made", data_dir.display()))
}
