//! What is written to a company.

use balcony_domain::mailed;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lettre::address::Envelope;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::{Address, Message};
use uuid::Uuid;

use super::leaving::LEAVING_PATH;

/// What stands on every mail.
#[derive(Debug, Clone)]
pub struct Letterhead {
    from: Mailbox,
    /// What ids end with.
    domain: String,
    /// Where people find what is linked.
    public_url: Option<String>,
    /// Where commands are taken.
    command_url: Option<String>,
}

/// A comment as it is mailed.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// The same whenever it is delivered.
    pub(super) id: Uuid,
    pub(super) comment: Uuid,
    /// When it was posted, in milliseconds since 1970.
    pub(super) at: i64,
    pub(super) movie: Uuid,
    pub(super) movie_title: String,
    pub(super) author_name: String,
    pub(super) title: Option<String>,
    pub(super) body: String,
}

/// Why there is no letter.
#[derive(Debug, thiserror::Error)]
pub(super) enum LetterError {
    #[error("{address:?} is no address: {reason}")]
    Address { address: String, reason: String },
    #[error("the mail cannot be written: {0}")]
    Message(#[from] lettre::error::Error),
}

/// Characters of a comment in a subject.
const IN_SUBJECT: usize = 60;
/// Bytes of a text in an encoded word, which with the header's name is to fit into a line of 76 characters.
const IN_WORD: usize = 39;

impl Letterhead {
    /// The head of mails from `balcony@host`, or from localhost where the host is an address, with links to `public_url` if there is
    /// one. Links that do something lead to `command_url`, or there, too.
    pub fn new(host: &str, public_url: Option<String>, command_url: Option<String>) -> Self {
        let of =
            |host: &str| format!("balcony@{host}").parse().map(|address| Mailbox::new(Some("Balcony".into()), address));
        let is_name = host.contains(|char: char| char.is_ascii_alphabetic()) && !host.contains(':');
        let (from, domain) = match of(host) {
            Ok(from) if is_name => (from, host),
            _ => (of("localhost").expect("an address"), "localhost"),
        };
        let command_url = command_url.or_else(|| public_url.clone());
        Self { from, domain: domain.to_owned(), public_url, command_url }
    }

    /// Where the holder of `ticket` leaves.
    fn way_out(&self, ticket: &str) -> Option<String> {
        self.command_url.as_ref().map(|url| format!("{url}{LEAVING_PATH}{ticket}"))
    }

    fn link(&self, item: &Item) -> Option<String> {
        self.public_url.as_ref().map(|url| format!("{url}/movies/{}", item.movie))
    }
}

/// A mail to `address` about `items`, of which there is one at the least. Its `Message-ID` is made of `id`. With a `ticket` it says how to get no more, in one click (RFC 8058).
pub(super) fn letter(
    head: &Letterhead,
    address: &str,
    ticket: Option<&str>,
    id: Uuid,
    items: &[&Item],
) -> Result<Message, LetterError> {
    let to = recipient(address)?;
    // Said here, because what reads addresses from headers does not know all of them.
    let envelope = Envelope::new(Some(head.from.email.clone()), vec![to.clone()])?;
    let raw = |name, value: String| HeaderValue::new(HeaderName::new_from_ascii_str(name), value);
    let way_out = ticket.and_then(|ticket| head.way_out(ticket));
    let mut message = Message::builder()
        .envelope(envelope)
        .from(head.from.clone())
        .to(Mailbox::new(None, to))
        .raw_header(subject_header(&one_line(&subject(items))))
        .message_id(Some(format!("<{id}@{}>", head.domain)))
        .raw_header(raw("Auto-Submitted", "auto-generated".to_owned()));
    if let Some(link) = &way_out {
        message = message
            .raw_header(raw("List-Unsubscribe", format!("<{link}>")))
            .raw_header(raw("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()));
    }
    let (text, html) = (text(head, items, way_out.as_deref()), html(head, items, way_out.as_deref()));
    Ok(message.multipart(MultiPart::alternative_plain_html(text, html))?)
}

/// The address as it stands on an envelope, its domain in ASCII.
fn recipient(address: &str) -> Result<Address, LetterError> {
    let wrong = |reason: String| LetterError::Address { address: address.to_owned(), reason };
    let (local, domain) = mailed(address).ok_or_else(|| wrong("it has no domain".to_owned()))?;
    Address::new(local, domain).map_err(|error| wrong(error.to_string()))
}

/// The subject as a reader of mail shows it, character for character. Words of users that look encoded (RFC 2047) would be
/// decoded there, so a text with such is encoded as a whole.
fn subject_header(text: &str) -> HeaderValue {
    let name = HeaderName::new_from_ascii_str("Subject");
    if text.contains("=?") {
        return HeaderValue::dangerous_new_pre_encoded(name, text.to_owned(), encoded_words(text));
    }
    HeaderValue::new(name, text.to_owned())
}

/// `text` in encoded words, each on a line of its own.
fn encoded_words(mut text: &str) -> String {
    let mut words = Vec::new();
    while !text.is_empty() {
        let (word, rest) = text.split_at(text.floor_char_boundary(IN_WORD));
        words.push(format!("=?utf-8?b?{}?=", STANDARD.encode(word)));
        text = rest;
    }
    words.join("\r\n ")
}

fn subject(items: &[&Item]) -> String {
    match items {
        [Item { author_name, movie_title, title, body, .. }] => {
            let said = title.as_ref().unwrap_or(body);
            let short: String = said.chars().take(IN_SUBJECT).collect();
            let more = if short.len() < said.len() { "…" } else { "" };
            format!("{author_name} on {movie_title}: {short}{more}")
        }
        items => {
            let mut movies: Vec<&str> = items.iter().map(|item| &*item.movie_title).collect();
            movies.sort_unstable();
            movies.dedup();
            let more = movies.len().saturating_sub(3);
            let named = movies.iter().take(3).copied().collect::<Vec<_>>().join(", ");
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{} comments on {named}{more}", items.len())
        }
    }
}

/// Nothing that a header could end with.
fn one_line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

fn text(head: &Letterhead, items: &[&Item], way_out: Option<&str>) -> String {
    let item = |item: &&Item| {
        let Item { author_name, movie_title, title, body, .. } = item;
        let mut text = format!("{author_name} on {movie_title}:\n\n");
        if let Some(title) = title {
            text += &format!("{title}\n\n");
        }
        text += &format!("{body}\n");
        if let Some(link) = head.link(item) {
            text += &format!("\n{link}\n");
        }
        text
    };
    let way_out = way_out.map(|link| format!("No more of these: {link}\n"));
    items.iter().map(item).chain(way_out).collect::<Vec<_>>().join("\n--------\n\n")
}

fn html(head: &Letterhead, items: &[&Item], way_out: Option<&str>) -> String {
    let item = |item: &&Item| {
        let Item { author_name, movie_title, title, body, .. } = item;
        let mut html = format!("<p><b>{}</b> on <b>{}</b>:</p>\n", escaped(author_name), escaped(movie_title));
        if let Some(title) = title {
            html += &format!("<h3>{}</h3>\n", escaped(title));
        }
        html += &format!("<p style=\"white-space: pre-wrap\">{}</p>\n", escaped(body));
        if let Some(link) = head.link(item) {
            let link = escaped(&link);
            html += &format!("<p><a href=\"{link}\">{link}</a></p>\n");
        }
        html
    };
    let way_out = way_out.map(|link| format!("<p><a href=\"{}\">No more of these</a></p>\n", escaped(link)));
    let items = items.iter().map(item).chain(way_out).collect::<Vec<_>>().join("<hr>\n");
    format!("<!DOCTYPE html>\n<html><body>\n{items}</body></html>\n")
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use balcony_domain::request::company;
    use proptest::prelude::*;

    use super::*;

    /// Texts that are addresses more often than not.
    fn addresses() -> impl Strategy<Value = String> {
        let local = prop_oneof![
            "[a-z0-9!#$%&'*+/=?^_`{|}~äü夏.-]{1,64}",
            "\"[a-z0-9 @<>,;:.()äü\\[\\]-]{0,20}\"",
            "\"(\\\\[ -~]|[!#-\\[\\]-~ ]){0,10}\"",
            "\\PC{1,10}",
        ];
        let domain = prop_oneof![
            "[a-z0-9äüß夏-]{1,20}(\\.[a-z0-9äü-]{1,63}){0,3}\\.[a-z夏]{2,10}",
            "xn--[a-z0-9-]{1,10}\\.example",
            "\\PC{1,10}\\.example",
        ];
        (local, domain).prop_map(|(local, domain)| format!("{local}@{domain}"))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4_096, ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_taken_as_a_contact_can_be_written_to(address in addresses()) {
            if let Ok(company) = company(Some("c"), Some(&address)) {
                let letter = letter(&head(), &company.contact_email, None, ID, &[&item(7)]);
                prop_assert!(letter.is_ok(), "{:?}", letter);
                let letter = letter.expect("it is");
                let [to] = letter.envelope().to() else { panic!("one recipient") };
                prop_assert!(to.domain().is_ascii() && to.user().len() + 1 + to.domain().len() <= 254, "{}", to);
                let text = String::from_utf8(letter.formatted()).expect("UTF-8");
                let headers = text.split_once("\r\n\r\n").expect("a head").0;
                prop_assert!(headers.split("\r\n").any(|line| line == format!("To: {to}")), "{}", headers);
            }
        }
    }

    #[test]
    fn letters_go_to_addresses_of_every_kind() {
        for (address, on_envelope) in [
            ("a@b.example", "a@b.example"),
            ("\"q q\"@x.example", "\"q q\"@x.example"),
            ("\"a@b, c\"@x.example", "\"a@b, c\"@x.example"),
            ("a@bücher.example", "a@xn--bcher-kva.example"),
            ("ü@x.example", "ü@x.example"),
        ] {
            let company = company(Some("c"), Some(address)).expect("a contact");
            let letter = letter(&head(), &company.contact_email, None, ID, &[&item(7)]).expect("a letter");
            let to: Vec<&str> = letter.envelope().to().iter().map(AsRef::as_ref).collect();
            assert_eq!(to, [on_envelope]);
            assert_eq!(letter.envelope().from().map(AsRef::as_ref), Some("balcony@balcony.example"));
        }
    }

    fn item(number: u128) -> Item {
        Item {
            id: Uuid::from_u128(number),
            comment: Uuid::from_u128(number),
            at: 0,
            movie: Uuid::from_u128(1),
            movie_title: "七人の侍".into(),
            author_name: "Mia".into(),
            title: None,
            body: "The last <battle>".into(),
        }
    }

    const ID: Uuid = Uuid::from_u128(9);

    fn head() -> Letterhead {
        Letterhead::new("balcony.example", Some("https://balcony.example".into()), None)
    }

    fn headers(letter: &Message) -> Vec<String> {
        let text = String::from_utf8(letter.formatted()).expect("ASCII");
        let head = text.split_once("\r\n\r\n").expect("a head").0.replace("\r\n ", " ");
        head.split("\r\n").map(|line| line.split(':').next().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn a_mail_has_the_id_that_it_is_given_whatever_is_left_of_it() {
        let (first, second) = (item(7), item(8));
        for items in [&[&first][..], &[&first, &second]] {
            let letter = letter(&head(), "a@b.example", Some("ticket"), ID, items).expect("a letter");
            let id = letter.headers().get_raw("Message-ID").expect("an id");
            assert_eq!(id, "<00000000-0000-0000-0000-000000000009@balcony.example>");
        }
    }

    #[test]
    fn a_mail_says_how_to_get_no_more_where_there_is_a_place_for_it() {
        let shown = |head: &Letterhead| {
            let letter = letter(head, "a@b.example", Some("ticket"), ID, &[&item(7)]).expect("a letter");
            let raw = |name| letter.headers().get_raw(name).map(str::to_owned);
            (raw("List-Unsubscribe"), raw("List-Unsubscribe-Post"))
        };
        let one_click = Some("List-Unsubscribe=One-Click".to_owned());
        let link = |host: &str| Some(format!("<https://{host}/v1/mail/unsubscribe/ticket>"));
        assert_eq!(shown(&head()), (link("balcony.example"), one_click.clone()));
        let apart = Letterhead { command_url: Some("https://commands.example".into()), ..head() };
        assert_eq!(shown(&apart), (link("commands.example"), one_click));
        assert_eq!(shown(&Letterhead::new("balcony.example", None, None)), (None, None));
        let way_out = Some("https://balcony.example/ticket");
        assert!(text(&head(), &[&item(7)], way_out).ends_with("No more of these: https://balcony.example/ticket\n"));
        assert!(html(&head(), &[&item(7)], way_out).contains("<a href=\"https://balcony.example/ticket\">"));
    }

    #[test]
    fn no_text_adds_a_header() {
        let plain = headers(&letter(&head(), "a@b.example", Some("ticket"), ID, &[&item(7)]).expect("a letter"));
        for break_out in ["x\r\nBcc: c@d.example", "x\nBcc: c@d.example", "x\rBcc: c", "x\u{2028}Bcc: c", "\r\n\r\nx"] {
            let evil = Item {
                movie_title: break_out.into(),
                author_name: break_out.into(),
                title: Some(break_out.into()),
                body: break_out.into(),
                ..item(7)
            };
            let letter = letter(&head(), "a@b.example", Some("ticket"), ID, &[&evil]).expect("a letter");
            assert_eq!(headers(&letter), plain, "{break_out:?}");
        }
        for address in ["a@b.example\r\nBcc: c@d.example", "a@b.example, c@d.example", ""] {
            assert!(
                matches!(letter(&head(), address, Some("ticket"), ID, &[&item(7)]), Err(LetterError::Address { .. })),
                "{address:?}"
            );
        }
    }

    /// The subject as it stands in the mail, and what its encoded words say; `None` where anything else stands in it.
    fn raw_subject(said: &str) -> (String, Option<String>) {
        let item = Item { movie_title: "Ran".into(), title: Some(said.into()), ..item(7) };
        let letter = letter(&head(), "a@b.example", None, ID, &[&item]).expect("a letter");
        let mail = String::from_utf8(letter.formatted()).expect("ASCII");
        let from = mail.find("Subject: ").expect("a subject");
        let raw = mail[from..].split("\r\n").enumerate().take_while(|(at, line)| *at == 0 || line.starts_with(' '));
        let raw: Vec<&str> = raw.map(|(_, line)| line).collect();
        assert!(raw.iter().all(|line| line.len() <= 76), "{raw:?}");
        let raw = raw.join(" ").trim_start_matches("Subject: ").to_owned();
        let word = |word: &str| {
            let text = word.strip_prefix("=?utf-8?b?")?.strip_suffix("?=")?;
            String::from_utf8(STANDARD.decode(text).ok()?).ok()
        };
        let said = raw.split_whitespace().map(word).collect();
        (raw, said)
    }

    #[test]
    fn no_word_of_a_user_is_decoded_by_a_reader_of_mail() {
        for said in [
            "=?utf-8?q?x=0D=0ABcc:_c=40d.example?=",
            "=?utf-8?b?4oCuZXZpbA==?= =?utf-8?q?_?=",
            "七人の侍 =?utf-8?q?x?= が来る =?iso-8859-1?Q?=E9?=",
            "a=?utf-8?q?glued?=b",
            "=?",
        ] {
            let (raw, decoded) = raw_subject(said);
            assert_eq!(decoded.as_deref(), Some(&*format!("Mia on Ran: {said}")), "{raw}");
        }
        // What cannot be taken for an encoded word stays readable.
        assert_eq!(raw_subject("Why = ? really?").0, "Mia on Ran: Why = ? really?");
    }

    #[test]
    fn what_is_said_stands_in_subject_and_text_and_is_escaped_in_html() {
        let one = item(7);
        assert_eq!(subject(&[&one]), "Mia on 七人の侍: The last <battle>");
        assert!(text(&head(), &[&one], None).contains("The last <battle>\n\nhttps://balcony.example/movies/0000"));
        let html = html(&head(), &[&one], None);
        assert!(html.contains("The last &lt;battle&gt;") && !html.contains("<battle>"));
        let other = Item { movie_title: "Ran".into(), ..item(8) };
        assert_eq!(subject(&[&one, &other, &one]), "3 comments on Ran, 七人の侍");
        let long = Item { body: "夏".repeat(61), ..item(9) };
        assert!(subject(&[&long]).ends_with("夏…"));
    }

    #[test]
    fn mail_comes_from_a_name() {
        let from = |host: &str| Letterhead::new(host, None, None).from.email.to_string();
        assert_eq!(from("balcony.example"), "balcony@balcony.example");
        for address in ["127.0.0.1", "::1", "[::1]", "", "a b"] {
            assert_eq!(from(address), "balcony@localhost", "{address}");
        }
    }
}
