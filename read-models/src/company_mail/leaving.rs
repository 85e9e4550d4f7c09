//! Links by which a company leaves the list of those who get mail.

use balcony_domain::CompanyId;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use uuid::Uuid;

/// Makes and reads what stands in such a link: which company it is for, signed.
#[derive(Clone)]
pub struct Leaving(Hmac<Sha256>);

/// Where a link leads, at the command API.
pub const LEAVING_PATH: &str = "/v1/mail/unsubscribe/";
/// How much of a signature stands in a link, in bytes.
const SIGNATURE: usize = 16;

impl Leaving {
    /// Signs with `key`, which every process of an installation has.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Hmac::new_from_slice(key).expect("a key may have any length"))
    }

    /// What stands in the link of `company`.
    pub fn ticket(&self, company: CompanyId) -> String {
        let id = company.0.into_bytes();
        let signature = self.0.clone().chain_update(id).finalize().into_bytes();
        BASE64_URL_SAFE_NO_PAD.encode([&id[..], &signature[..SIGNATURE]].concat())
    }

    /// The company that `ticket` was made for; `None` when it was not made here.
    pub fn company(&self, ticket: &str) -> Option<CompanyId> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(ticket).ok()?;
        let (id, signature) = bytes.split_first_chunk::<16>().filter(|(_, rest)| rest.len() == SIGNATURE)?;
        self.0.clone().chain_update(id).verify_truncated_left(signature).ok()?;
        Some(CompanyId(Uuid::from_bytes(*id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_for_one_company_and_of_one_key() {
        let (ours, others) = (Leaving::new(&[1; 32]), Leaving::new(&[2; 32]));
        let company = CompanyId(Uuid::from_u128(7));
        let ticket = ours.ticket(company);
        assert_eq!(ours.company(&ticket), Some(company));
        assert_eq!(others.company(&ticket), None);
        let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(&ticket).expect("a ticket");
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert_eq!(ours.company(&BASE64_URL_SAFE_NO_PAD.encode(&bytes)), None, "byte {at}");
            bytes[at] ^= 1;
        }
        for wrong in ["", &ticket[..22], &ticket[..42], &format!("{ticket}AA"), &format!("{ticket}="), "\u{e9}"] {
            assert_eq!(ours.company(wrong), None, "{wrong:?}");
        }
    }
}
