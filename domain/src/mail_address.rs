//! What is an address that mail can be sent to.

use email_address::{EmailAddress, Options};
use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use crate::text::{Kind, TextRule, Violation, is_blank};

/// Octets of an address at the most, as it stands in an envelope (RFC 5321, section 4.5.3.1.3).
const MOST: usize = 254;

/// An address to which mail can be sent, as it was given but for white space around it.
pub(crate) fn mail_address(field: &'static str, text: Option<&str>) -> Result<String, Violation> {
    let text = TextRule { field, max: MOST, kind: Kind::Line }.required(text)?;
    let looks_like_another = |character: char| {
        is_blank(character) && character != ' '
            || character.is_numeric() && !character.is_ascii_digit()
            || matches!(character, '\u{FF01}'..='\u{FF5E}')
    };
    let options = Options::default().with_required_tld().without_display_text().without_domain_literal();
    let is_well_formed = EmailAddress::parse_with_options(&text, options).is_ok()
        && !text.contains(looks_like_another)
        && mailed(&text).is_some_and(|(local, domain)| local.len() + 1 + domain.len() <= MOST);
    if is_well_formed {
        Ok(text)
    } else {
        Err(Violation::new(field, "is not a mail address, such as press@example.com"))
    }
}

/// The parts of `address` as they go into an envelope: what stands before the last `@`, and the domain in ASCII (IDNA).
/// `None` where that is not the name of a domain.
pub fn mailed(address: &str) -> Option<(&str, String)> {
    let (local, domain) = address.rsplit_once('@')?;
    let ascii =
        Uts46::new().to_ascii(domain.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify);
    let ascii = ascii.ok().filter(|ascii| names_a_domain(domain) && names_a_domain(ascii))?;
    Some((local, ascii.into_owned()))
}

/// `address` as it goes into an envelope, so that two that are one to whoever takes the mail are one text. What no mail can go to, as
/// older records may have it, is given as it is.
pub fn mailbox(address: &str) -> String {
    mailed(address).map_or_else(|| address.to_owned(), |(local, domain)| format!("{local}@{domain}"))
}

/// Whether `domain` is the name of a domain and not the address of a host: no top-level domain is a number (RFC 3696,
/// section 2), and labels are of letters, digits and hyphens within.
fn names_a_domain(domain: &str) -> bool {
    let legal = |character: char| character == '-' || character.is_alphanumeric() || !character.is_ascii();
    let is_label =
        |label: &str| !label.is_empty() && label.chars().all(legal) && !label.starts_with('-') && !label.ends_with('-');
    let top = domain.rsplit('.').next().unwrap_or_default();
    domain.split('.').all(is_label) && !top.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_its_domain_is_spelled_it_is_one_mailbox() {
        for same in ["d@X.EXAMPLE", "d@x.Example", "d@x.example"] {
            assert_eq!(mailbox(same), "d@x.example");
        }
        for same in ["jörg@BÜCHER.example", "jörg@bücher.EXAMPLE", "jörg@xn--bcher-kva.example"] {
            assert_eq!(mailbox(same), "jörg@xn--bcher-kva.example");
        }
        // Whether large letters are small ones is for the domain to say (RFC 5321, section 2.4).
        assert_eq!(mailbox("D@x.example"), "D@x.example");
        assert_eq!(mailbox("nobody"), "nobody");
    }

    #[test]
    fn mail_addresses_have_a_domain() {
        for good in
            ["a@b.example", "first.last+tag@sub.example.com", "a@1.example", "jörg@bücher.example", "\"a b\"@c.example"]
        {
            assert!(mail_address("address", Some(good)).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "a@",
            "@b.c",
            "a@b",
            "a b@c.d",
            "A <a@b.c>",
            "a@b@c.d",
            "a@[127.0.0.1]",
            "a@127.0.0.1",
            "a@[::1]",
            "a@b.1",
            "１@b.example",
            "a@１.example",
            "a@b.１",
            "ａ@b.example",
            "a\u{200B}@b.example",
            "a@b\u{AD}.example",
            "a@-b.example",
            "a@b-.example",
            "a@b..example",
            "a@b.example.",
            "a..b@c.example",
            ".a@b.example",
            "a.@b.example",
            "a@b.example\r\nBcc: x@y.example",
            "a@b.example, c@d.example",
            "<a@b.example>",
            "a@b_c.example",
            "a@xn--zz.example",
            "a@\u{2019}.example",
        ] {
            assert!(mail_address("address", Some(bad)).is_err(), "{bad}");
        }
        let long = [
            format!("a@{}com", "b.".repeat(130)),
            format!("a@{}.com", "b".repeat(64)),
            format!("a@{}.com", "ü".repeat(60)),
        ];
        for bad in &long {
            assert!(mail_address("address", Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn domains_go_into_envelopes_in_ascii() {
        let of = |address| mailed(address).map(|(local, domain)| format!("{local}@{domain}"));
        assert_eq!(of("a@bücher.example").as_deref(), Some("a@xn--bcher-kva.example"));
        assert_eq!(of("a@BÜCHER.Example").as_deref(), Some("a@xn--bcher-kva.example"));
        assert_eq!(of("\"q @ q\"@x.example").as_deref(), Some("\"q @ q\"@x.example"));
        assert_eq!(of("ü@x.example").as_deref(), Some("ü@x.example"));
        for none in ["a", "a@", "a@b_c.example", "a@127.0.0.1", "a@xn--zz.example"] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
