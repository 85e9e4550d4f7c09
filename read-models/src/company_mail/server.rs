//! The server that mail goes out through, and what it says of one.

use std::iter::successors;
use std::time::Duration;

use lettre::address::Envelope;
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use percent_encoding::percent_decode_str;
use tokio::time::timeout;
use url::{Host, Url};

/// Where it is, and how it is talked to.
pub(super) struct Server {
    host: String,
    port: u16,
    security: Security,
    credentials: Option<Credentials>,
    hello: ClientId,
}

enum Security {
    Plain,
    /// STARTTLS where the server offers it.
    Opportunistic(TlsParameters),
    /// STARTTLS.
    Required(TlsParameters),
    /// From the first byte on.
    Wrapped(TlsParameters),
}

/// Why mail cannot be sent as the settings say.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongPostOffice(String);

/// Why a mail did not go out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// It says nothing about the mail: the server is away, or does not let us in.
    #[error("{0}")]
    Away(String),
    /// The server hung up, closed (421) or did not answer while it was given the mail. That may be because of the mail.
    #[error("{0}")]
    CutOff(String),
    /// The server does not take this mail now.
    #[error("{0}")]
    ForNow(String),
    /// It will never take it.
    #[error("{0}")]
    ForGood(String),
}

/// How long the server may take to be connected to, and to let us in.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
/// How long it may take to say goodbye.
const GOODBYE_PATIENCE: Duration = Duration::from_secs(5);
/// How long both take together.
pub(super) const CONNECTING_PATIENCE: Duration = CONNECT_PATIENCE.saturating_add(GOODBYE_PATIENCE);
/// What a server says that does not like how we sign in: no fault of the mail.
const NOT_OF_THE_MAIL: [u16; 5] = [454, 530, 534, 535, 538];
/// What a server says that closes.
const CLOSES: u16 = 421;

impl Server {
    /// The one at `url`: `smtp://` (`?tls=required` for STARTTLS, or `opportunistic`) or `smtps://`, with a name and a password
    /// where the server wants them. A path is the name by which we greet it.
    pub(super) fn at(url: &str) -> Result<Self, WrongPostOffice> {
        let url = Url::parse(url).map_err(wrong)?;
        let host = match url.host() {
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => return Err(wrong("it names no host")),
        };
        let tls = || TlsParameters::new(host.clone()).map_err(wrong);
        let wanted = url.query_pairs().find(|(name, _)| name == "tls").map(|(_, value)| value);
        let (security, port) = match (url.scheme(), wanted.as_deref()) {
            ("smtp", None) => (Security::Plain, smtp::SMTP_PORT),
            ("smtp", Some("required")) => (Security::Required(tls()?), smtp::SUBMISSION_PORT),
            ("smtp", Some("opportunistic")) => (Security::Opportunistic(tls()?), smtp::SUBMISSION_PORT),
            ("smtps", _) => (Security::Wrapped(tls()?), smtp::SUBMISSIONS_PORT),
            ("smtp", Some(tls)) => return Err(wrong(format!("tls={tls} is neither required nor opportunistic"))),
            (scheme, _) => return Err(wrong(format!("{scheme}:// is neither smtp:// nor smtps://"))),
        };
        let decoded = |text| percent_decode_str(text).decode_utf8().map_err(wrong);
        let credentials = match url.password() {
            Some(password) => {
                Some(Credentials::new(decoded(url.username())?.into_owned(), decoded(password)?.into_owned()))
            }
            None => None,
        };
        let hello = match url.path().trim_matches('/') {
            "" => ClientId::default(),
            name => ClientId::Domain(name.to_owned()),
        };
        Ok(Self { port: url.port().unwrap_or(port), host, security, credentials, hello })
    }

    /// Sends a mail. Neither letting us in nor taking it may take longer than `patience`.
    pub(super) async fn send(&self, envelope: &Envelope, mail: &[u8], patience: Duration) -> Result<(), Refusal> {
        let connected = timeout(CONNECT_PATIENCE.min(patience), self.connect()).await;
        let connected = connected.map_err(|_| Refusal::Away("the mail server cannot be reached in time".to_owned()))?;
        let mut connection = connected.map_err(|error| Refusal::Away(text(&error)))?;
        // Where it does not end in time its connection is closed, so that the server does not get the rest when it wakes up.
        let sent = timeout(patience, hand_over(&mut connection, envelope, mail)).await;
        let sent = sent.map_err(|_| Refusal::CutOff("the mail server does not answer".to_owned()))?;
        // What becomes of the mail is known: how the server takes leave changes nothing.
        let _ = timeout(GOODBYE_PATIENCE, connection.abort()).await;
        sent
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, smtp::Error> {
        let Self { host, port, security, credentials, hello } = self;
        let wrapped = match security {
            Security::Wrapped(tls) => Some(tls.clone()),
            _ => None,
        };
        let place = (host.as_str(), *port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(place, Some(CONNECT_PATIENCE), hello, wrapped, None).await?;
        match security {
            Security::Required(tls) => connection.starttls(tls.clone(), hello).await?,
            Security::Opportunistic(tls) if connection.can_starttls() => {
                connection.starttls(tls.clone(), hello).await?;
            }
            _ => {}
        }
        if let Some(credentials) = credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await?;
        }
        Ok(connection)
    }
}

async fn hand_over(connection: &mut AsyncSmtpConnection, envelope: &Envelope, mail: &[u8]) -> Result<(), Refusal> {
    let mut options = Vec::new();
    if !envelope.to().iter().chain(envelope.from()).all(|address| AsRef::<str>::as_ref(address).is_ascii()) {
        offers(connection, Extension::SmtpUtfEight, "SMTPUTF8, which the address needs")?;
        options.push(MailParameter::SmtpUtfEight);
    }
    if !mail.is_ascii() {
        offers(connection, Extension::EightBitMime, "8BITMIME, which the mail needs")?;
        options.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    let steps = async {
        connection.command(Mail::new(envelope.from().cloned(), options)).await?;
        for address in envelope.to() {
            connection.command(Rcpt::new(address.clone(), Vec::new())).await?;
        }
        connection.command(Data).await?;
        connection.message(mail).await.map(drop)
    };
    steps.await.map_err(|error| refusal(&error))
}

fn offers(connection: &AsyncSmtpConnection, extension: Extension, named: &str) -> Result<(), Refusal> {
    let offers = connection.server_info().supports_feature(extension);
    if offers { Ok(()) } else { Err(Refusal::ForGood(format!("the mail server does not offer {named}"))) }
}

fn refusal(error: &smtp::Error) -> Refusal {
    let text = text(error);
    match error.status().map(u16::from) {
        Some(code) if NOT_OF_THE_MAIL.contains(&code) => Refusal::Away(text),
        None | Some(CLOSES) => Refusal::CutOff(text),
        Some(_) if error.is_permanent() => Refusal::ForGood(text),
        Some(_) => Refusal::ForNow(text),
    }
}

fn text(error: &smtp::Error) -> String {
    let texts = successors(Some(error as &dyn std::error::Error), |error| error.source()).map(ToString::to_string);
    texts.collect::<Vec<_>>().join(": ")
}

fn wrong(error: impl ToString) -> WrongPostOffice {
    WrongPostOffice(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::TcpListener;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// What a server that answers each command by `answers` makes of a mail to `to`. What it is sent by [`DATA`](Data) it answers as `.`,
    /// and it greets by what it answers to nothing; where that is nothing, it is silent.
    async fn sends(to: &str, answers: impl Fn(&str) -> &'static str + Send + 'static) -> Result<(), Refusal> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let server = Server::at(&format!("smtp://me:secret@{}", listener.local_addr().expect("an address")));
        let server = Arc::new(server.expect("a server"));
        tokio::spawn(async move {
            let (connection, _) = listener.accept().await.expect("a connection");
            let mut connection = BufReader::new(connection);
            let mut command = String::new();
            let mut in_mail = false;
            loop {
                if !in_mail || command == "." {
                    in_mail = command == "DATA";
                    let answer = answers(&command);
                    if !answer.is_empty() {
                        connection.write_all(format!("{answer}\r\n").as_bytes()).await.expect("an answer");
                    }
                }
                let mut line = String::new();
                if connection.read_line(&mut line).await.expect("a line") == 0 {
                    return;
                }
                line.trim_end().clone_into(&mut command);
            }
        });
        let [from, to] = ["balcony@balcony.example", to].map(|address| address.parse().expect("an address"));
        let envelope = Envelope::new(Some(from), vec![to]).expect("an envelope");
        timeout(LONG, server.send(&envelope, b"Subject: a\r\n\r\nb", LONG)).await.expect("it ends")
    }

    /// What a server answers that takes everything, but where a command begins like this.
    fn but(begins: &'static str, answer: &'static str) -> impl Fn(&str) -> &'static str + Send + 'static {
        move |command| match command {
            command
                if (begins.is_empty() && command.is_empty()) || (!begins.is_empty() && command.starts_with(begins)) =>
            {
                answer
            }
            "" => "220 here",
            "DATA" => "354 go on",
            command if command.starts_with("EHLO") => "250-here\r\n250 AUTH PLAIN",
            command if command.starts_with("AUTH") => "235 come in",
            _ => "250 yes",
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn only_what_a_server_says_of_a_mail_counts_against_it() {
        let mails = [
            ("MAIL", "550 never", "450 later"),
            ("RCPT", "550 there is nobody of this name", "450 4.2.1 mailbox busy"),
            ("DATA", "554 no", "451 local error"),
            (".", "554 spam", "452 full"),
        ];
        for (command, for_good, for_now) in mails {
            assert!(
                matches!(sends("a@b.example", but(command, for_good)).await, Err(Refusal::ForGood(_))),
                "{command}"
            );
            assert!(matches!(sends("a@b.example", but(command, for_now)).await, Err(Refusal::ForNow(_))), "{command}");
            for cut_off in ["421 closing", "nonsense"] {
                let sent = sends("a@b.example", but(command, cut_off)).await;
                assert!(matches!(sent, Err(Refusal::CutOff(_))), "{command}");
            }
            for away in ["454 not now", "530 sign in", "535 who are you"] {
                assert!(matches!(sends("a@b.example", but(command, away)).await, Err(Refusal::Away(_))), "{command}");
            }
        }
        for server in ["", "EHLO", "AUTH"] {
            for answer in ["554 nobody is in", "421 too many", "451 not now", "nonsense"] {
                let sent = sends("a@b.example", but(server, answer)).await;
                assert!(matches!(sent, Err(Refusal::Away(_))), "{server} {answer}: {sent:?}");
            }
        }
        assert_eq!(sends("a@b.example", but("nothing", "")).await, Ok(()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_mail_that_a_server_has_taken_is_sent_however_the_server_takes_leave() {
        for goodbye in ["", "500 what"] {
            assert_eq!(sends("a@b.example", but("QUIT", goodbye)).await, Ok(()));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_address_that_a_server_cannot_take_is_refused_for_good() {
        let sent = sends("ü@x.example", but("nothing", "")).await;
        let reason = "the mail server does not offer SMTPUTF8, which the address needs";
        assert_eq!(sent, Err(Refusal::ForGood(reason.to_owned())));
        let utf8 = |command: &str| match command {
            command if command.starts_with("EHLO") => "250-here\r\n250-AUTH PLAIN\r\n250 SMTPUTF8",
            command if command.starts_with("MAIL") && !command.ends_with("SMTPUTF8") => "550 without a word",
            command => but("nothing", "")(command),
        };
        assert_eq!(sends("ü@x.example", utf8).await, Ok(()));
    }

    #[test]
    fn a_url_says_where_and_how() {
        let of = |url| {
            let Server { host, port, security, credentials, .. } = Server::at(url).expect("a server");
            let security = match security {
                Security::Plain => "plain",
                Security::Opportunistic(_) => "opportunistic",
                Security::Required(_) => "required",
                Security::Wrapped(_) => "wrapped",
            };
            (host, port, security, credentials)
        };
        let credentials = Some(Credentials::new("a@b".to_owned(), "p:w".to_owned()));
        assert_eq!(of("smtp://mail.example"), ("mail.example".to_owned(), 25, "plain", None));
        assert_eq!(
            of("smtp://a%40b:p%3Aw@mail.example?tls=required"),
            ("mail.example".to_owned(), 587, "required", credentials)
        );
        assert_eq!(of("smtp://mail.example:26?tls=opportunistic").1, 26);
        assert_eq!(of("smtps://[::1]"), ("::1".to_owned(), 465, "wrapped", None));
        for wrong in ["http://mail.example", "smtp:mail", "smtp://mail.example?tls=maybe", "mail.example:25"] {
            assert!(Server::at(wrong).is_err(), "{wrong}");
        }
    }
}
