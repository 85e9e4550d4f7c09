//! Whether a company gets mail, as the registry has it.

use balcony_domain::CompanyId;
use balcony_store::{Reader, StoreError};

/// Whether mail goes to the address of a company. All companies that have the address share it, however they spell its
/// domain: mail ends when one of them unsubscribes, and begins again when one is registered with the address later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The address.
    pub address: String,
    /// When a company was registered with it last, in milliseconds since 1970.
    pub registered_at: i64,
    /// When a company that has it unsubscribed last.
    unsubscribed_at: Option<i64>,
}

impl Subscription {
    /// That of `company`, as the registry that `reader` reads has it; `None` where there is no such company.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn of(company: CompanyId, reader: &Reader) -> Result<Option<Self>, StoreError> {
        let sql = "SELECT companies.contact_email,
                       (SELECT MAX(same.registered_at) FROM companies AS same
                        WHERE same.mailbox = companies.mailbox),
                       (SELECT MAX(unsubscriptions.unsubscribed_at) FROM companies AS same
                        JOIN unsubscriptions ON unsubscriptions.company_id = same.id
                        WHERE same.mailbox = companies.mailbox)
                   FROM companies WHERE companies.id = $1";
        let rows: Vec<(String, i64, Option<i64>)> = reader.fetch(sql, &[company.0.into()]).await?;
        let row = rows.into_iter().next();
        Ok(row.map(|(address, registered_at, unsubscribed_at)| Self { address, registered_at, unsubscribed_at }))
    }

    /// Whether it gets mail.
    pub fn is_on(&self) -> bool {
        self.unsubscribed_at.is_none_or(|at| at < self.registered_at)
    }
}
