//! The keys of an installation, by which its processes know what they have made: consistency tokens, links in mails.

use anyhow::Context as _;
use balcony_http::{Authority, auth};
use balcony_projector::{Application, Deployment};
use balcony_store::Database;

use crate::authority::authority_beside;
use crate::secret_file::SecretFile;
use crate::settings::Settings;

/// The installation's own key, where everything is in a folder. It is not among the read models, which may be removed.
const OWN: SecretFile = SecretFile { name: "installation-key", ends: "consistency tokens and links in mails" };

/// What every process of the installation has and nobody else.
pub(crate) struct Keys {
    authority: Authority,
    /// Random, and kept with the installation since it was founded, or since it was first started by a version that
    /// makes one.
    own: Vec<u8>,
}

impl Keys {
    /// The keys of an installation that this process is part of. Its own is made when there is none.
    ///
    /// # Errors
    /// When the folder or the database does not give or take it.
    pub(crate) async fn of(
        authority: &Authority,
        database: &Database,
        deployment: &Deployment,
    ) -> anyhow::Result<Self> {
        let own = match deployment {
            Deployment::Embedded { data_dir } => OWN.made_in(data_dir)?.into_bytes(),
            Deployment::Distributed { .. } => in_database(database).await?,
        };
        Ok(Self { authority: authority.clone(), own })
    }

    /// A key for `purpose`, of no use for anything else. It is made of the secret that tokens are signed with, so that
    /// what was made with it counts in every process that has the secret and in an installation that was moved with it;
    /// where there is none, of the installation's own key.
    pub(crate) fn key_for(&self, purpose: &str) -> [u8; 32] {
        self.authority.key_for(purpose).unwrap_or_else(|| auth::key_of(&self.own, purpose))
    }
}

/// A key for `purpose`, as [`Service::key_for`](crate::Service::key_for) gives it, in any process that has the settings of an
/// installation that was started before, and its `database`: in an operator's, too.
///
/// # Errors
/// Names the setting that is wrong or missing, or says that the folder or the database does not give the key.
pub async fn key_for(
    application: &Application,
    settings: &Settings,
    database: &Database,
    purpose: &str,
) -> anyhow::Result<[u8; 32]> {
    let authority = authority_beside(application, settings)?;
    if let Some(key) = authority.key_for(purpose) {
        return Ok(key);
    }
    let own = match settings.installation.deployment(application)? {
        Deployment::Embedded { data_dir } => OWN.read_in(&data_dir)?.into_bytes(),
        Deployment::Distributed { .. } => in_database(database).await?,
    };
    Ok(auth::key_of(&own, purpose))
}

/// The key that a distributed installation has in its database.
async fn in_database(database: &Database) -> anyhow::Result<Vec<u8>> {
    let key = database.installation_key(&rand::random()).await;
    Ok(key.context("DATABASE_URL: the installation's key cannot be had")?.to_vec())
}
