//! Mail to companies, through a real SMTP server.

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use balcony_domain::CompanyId;
use balcony_event_log::testing::eventually;
use balcony_read_models::Leaving;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::deployment::{Deployment, Kind, authority, root};

/// A digest waits for a minute at the most.
const PATIENCE: Duration = Duration::from_secs(90);

/// Longer than other reactors' deliveries are waited for at the end.
const LONGER_THAN_MOST: Duration = Duration::from_secs(8);

/// An SMTP server, and what it took. Killed when dropped.
struct Server {
    port: u16,
    mails: PathBuf,
    child: Option<Child>,
    _folder: TempDir,
}

impl Server {
    /// `None` where it cannot be had; with `CI` set that is a failure.
    async fn start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let mut server = Self { port, mails: folder.path().join("mails"), child: None, _folder: folder };
        if server.run().await {
            return Some(server);
        }
        assert!(std::env::var_os("CI").is_none(), "no SMTP server could be started");
        eprintln!("left out: no SMTP server could be started");
        None
    }

    /// Runs it, again after [`Server::kill`] on the same port; `false` when it ends at once.
    async fn run(&mut self) -> bool {
        let arguments = [self.port.to_string(), self.mails.display().to_string()];
        let mut child =
            Command::new(root().join("tests/smtp/run")).args(arguments).stdout(Stdio::null()).spawn().unwrap();
        let address = ("127.0.0.1", self.port);
        let runs = eventually("an SMTP server listens", Duration::from_secs(120), async || {
            if child.try_wait().unwrap().is_some() {
                return Some(false);
            }
            TcpStream::connect(address).is_ok().then_some(true)
        });
        let runs = runs.await;
        self.child = Some(child);
        runs
    }

    /// Lets it take what it has not answered for.
    fn take(&self) {
        std::fs::write(self.mails.with_extension("taken"), "").unwrap();
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    /// What it took for `address`.
    fn mails(&self, address: &str) -> Vec<Value> {
        let lines = std::fs::read_to_string(&self.mails).unwrap_or_default();
        let mails = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        mails.filter(|mail| mail["to"] == json!([address])).collect()
    }

    /// The mails for `address`, once their texts have all of `said`.
    async fn mails_with(&self, address: &str, said: &[String]) -> Vec<Value> {
        eventually("the mail comes", PATIENCE, async || {
            let mails = self.mails(address);
            let has = |said: &String| mails.iter().any(|mail| mail["text"].as_str().unwrap().contains(said));
            said.iter().all(has).then_some(mails)
        })
        .await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn header(mail: &Value, name: &str) -> String {
    let headers = mail["headers"].as_array().unwrap();
    let header = headers.iter().find(|header| header[0].as_str().unwrap().eq_ignore_ascii_case(name));
    header.unwrap_or_else(|| panic!("{name} in {mail}"))[1].as_str().unwrap().to_owned()
}

/// A movie of a company with this address.
async fn movie_of(admin: &Client, address: &str, title: &str) -> String {
    let company = json!({"name": "Ōmori Pictures", "contact_email": address});
    let company = admin.post("/v1/companies", &company).await.expect(StatusCode::CREATED).id();
    let movie = json!({"title": title, "company_id": company});
    admin.post("/v1/movies", &movie).await.expect(StatusCode::CREATED).id()
}

pub async fn a_company_gets_what_is_said_of_its_movies_once(mut deployment: Deployment) {
    let Some(mut server) = Server::start().await else { return };
    deployment.settings.push(("SMTP_URL", server.url()));
    deployment.settings.push(("PUBLIC_URL", "https://balcony.example".to_owned()));
    deployment.start_all().await;
    let (admin, mia) = (deployment.admin(), deployment.user("Mia"));
    let movie = movie_of(&admin, "press@omori.example", "七人の侍").await;
    let other = movie_of(&admin, "later@toho.example", "Ran").await;
    mia.comment(&admin.register_movie("Of no company").await.id(), "to nobody").await;

    let comment = json!({"title": "Rain", "body": "<b>wet</b>\r\nBcc: evil@example.com"});
    let path = format!("/v1/movies/{movie}/comments");
    mia.post(&path, &comment).await.expect(StatusCode::CREATED);
    // Refused at first.
    mia.comment(&other, "the castle burns").await;
    // No text of a user is decoded by the reader of mail.
    let encoded = movie_of(&admin, "exact@shochiku.example", "Ikiru").await;
    let looks_encoded = json!({"title": "=?utf-8?q?x=0D=0ABcc:_evil?=", "body": "a park"});
    mia.post(&format!("/v1/movies/{encoded}/comments"), &looks_encoded).await.expect(StatusCode::CREATED);
    let mails = server.mails_with("press@omori.example", &["wet".to_owned()]).await;
    assert_eq!(mails.len(), 1);
    let mail = &mails[0];
    assert_eq!(header(mail, "subject"), "Mia on 七人の侍: Rain");
    let (text, html) = (mail["text"].as_str().unwrap(), mail["html"].as_str().unwrap());
    assert!(text.contains("<b>wet</b>") && text.contains(&format!("https://balcony.example/movies/{movie}")), "{text}");
    assert!(html.contains("&lt;b&gt;wet&lt;/b&gt;") && !html.contains("<b>wet"), "{html}");
    assert!(mail["headers"].as_array().unwrap().iter().all(|header| header[0] != "Bcc"), "{mail}");
    server.mails_with("later@toho.example", &["the castle burns".to_owned()]).await;
    let mails = server.mails_with("exact@shochiku.example", &["a park".to_owned()]).await;
    assert_eq!(header(&mails[0], "subject"), "Mia on Ikiru: =?utf-8?q?x=0D=0ABcc:_evil?=");

    // Many at once, while the server is away: they come when it is back, and not one by one.
    server.kill();
    let said: Vec<String> = (0..30).map(|number| format!("number {number}.")).collect();
    for body in &said {
        mia.comment(&movie, body).await;
    }
    assert!(server.run().await);
    let mails = server.mails_with("press@omori.example", &said).await;
    let digests = mails.len();
    assert!(digests < 1 + said.len(), "{digests} mails");

    // A node that dies repeats nothing.
    let arguments: Vec<(String, Vec<String>)> = deployment
        .processes
        .iter()
        .map(|process| {
            let name = process.name.clone();
            let arguments = if name == "balcony" { Vec::new() } else { vec![name.clone()] };
            (name, arguments)
        })
        .collect();
    noted(&deployment).await;
    for (name, arguments) in arguments {
        deployment.kill(&name);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        deployment.start(&name, &arguments).await;
    }
    deployment.user("Mia").comment(&movie, "afterwards").await;
    let mails = server.mails_with("press@omori.example", &["afterwards".to_owned()]).await;
    let texts: Vec<&str> = mails.iter().map(|mail| mail["text"].as_str().unwrap()).collect();
    for said in &said {
        assert_eq!(texts.iter().map(|text| text.matches(said).count()).sum::<usize>(), 1, "{said}");
    }
    let ids: BTreeSet<String> = mails.iter().map(|mail| header(mail, "message-id")).collect();
    assert_eq!(ids.len(), mails.len());
}

/// Waits until nothing is left to be mailed.
async fn noted(deployment: &Deployment) {
    eventually("what was mailed is noted", PATIENCE, async || {
        let mail = doctor(deployment)?;
        (mail["lag"]["events"] == 0).then_some(())
    })
    .await;
}

/// What doctor says of the reactor.
fn doctor(deployment: &Deployment) -> Option<Value> {
    let output = deployment.command(&["doctor", "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).ok()?;
    report["projections"].as_array()?.iter().find(|step| step["name"] == "company-mail").cloned()
}

pub async fn mail_that_is_refused_for_good_is_parked(mut deployment: Deployment) {
    let Some(server) = Server::start().await else { return };
    deployment.settings.push(("SMTP_URL", server.url()));
    deployment.start_all().await;
    let admin = deployment.admin();
    let refused = movie_of(&admin, "refused@omori.example", "Ran").await;
    let taken = movie_of(&admin, "press@omori.example", "Ikiru").await;
    deployment.user("Mia").comment(&refused, "to nobody").await;
    deployment.user("Mia").comment(&taken, "to the press").await;
    server.mails_with("press@omori.example", &["to the press".to_owned()]).await;

    let parked = eventually("it is parked", PATIENCE, async || {
        let output = deployment.command(&["parked", "list", "--json"]).output().unwrap();
        let parked: Value = serde_json::from_slice(&output.stdout).ok()?;
        parked.as_array()?.iter().find(|parked| parked["projection"] == "company-mail").cloned()
    })
    .await;
    assert!(parked["error"].as_str().unwrap().contains("there is nobody of this name"), "{parked}");
    eventually("doctor sees it", PATIENCE, async || (doctor(&deployment)?["parked"] == 1).then_some(())).await;

    // However much it is, it is nobody else's trouble.
    for number in 0..150 {
        deployment.user("Mia").comment(&refused, &format!("to nobody again, {number}")).await;
    }
    eventually("all is parked", PATIENCE, async || (doctor(&deployment)?["parked"] == 151).then_some(())).await;
    deployment.user("Mia").comment(&taken, "to the press again").await;
    server.mails_with("press@omori.example", &["to the press again".to_owned()]).await;
    assert_eq!(doctor(&deployment).unwrap()["state"], "running");
    let rebuilt = deployment.command(&["rebuild", "company-mail"]).output().unwrap();
    assert!(!rebuilt.status.success());
    assert_eq!(server.mails("refused@omori.example").len(), 0);
}

/// Whoever retries it sends it: the command line, and each service.
pub async fn parked_mail_is_sent_by_whoever_retries_it(mut deployment: Deployment) {
    let Some(server) = Server::start().await else { return };
    deployment.settings.push(("SMTP_URL", server.url()));
    deployment.settings.push(("PUBLIC_URL", "https://balcony.example".to_owned()));
    deployment.start_all().await;
    let admin = deployment.admin();
    let places: Vec<Option<String>> =
        [None].into_iter().chain(deployment.processes.iter().map(|process| Some(process.url.clone()))).collect();
    let address = |number: usize| format!("shut-{number}@omori.example");
    for number in 0..places.len() {
        let movie = movie_of(&admin, &address(number), "Ran").await;
        deployment.user("Mia").comment(&movie, &format!("number {number}.")).await;
    }
    let list = || -> Vec<Value> {
        let output = deployment.command(&["parked", "list", "--json"]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    };
    let parked = eventually("they are parked", PATIENCE, async || {
        let parked = list();
        (parked.len() == places.len()).then_some(parked)
    })
    .await;
    let ids: Vec<&str> = parked.iter().map(|parked| parked["id"].as_str().unwrap()).collect();
    let on_command_line = |id: &str| deployment.command(&["parked", "retry", id]).output().unwrap();
    assert!(!on_command_line(ids[0]).status.success());
    let still = list();
    assert_eq!(still.len(), places.len());
    assert!(still.iter().all(|parked| parked["error"].as_str().unwrap().contains("the mailbox is shut")), "{still:?}");

    server.take();
    for (id, place) in ids.iter().zip(&places) {
        match place {
            None => {
                let retried = on_command_line(id);
                assert!(retried.status.success(), "{}", String::from_utf8_lossy(&retried.stderr));
            }
            Some(url) => {
                let path = format!("{url}/v1/admin/parked/{id}/retry");
                let retried = admin.send(Method::POST, path, None).await.unwrap().expect(StatusCode::OK).json();
                assert_eq!(retried, json!({"applied": 1, "discarded": 0, "refused": []}), "{url}");
            }
        }
    }
    assert!(list().is_empty());
    for number in 0..places.len() {
        let mail = server.mails_with(&address(number), &[format!("number {number}.")]).await.remove(0);
        let link = header(&mail, "list-unsubscribe").trim_matches(['<', '>']).to_owned();
        let path = link.strip_prefix("https://balcony.example").unwrap();
        deployment.nobody().command(Method::GET, path, None).await.expect(StatusCode::OK);
    }
}

/// A server that thinks for longer than anything else may take to end.
pub async fn a_restart_repeats_no_mail_however_long_the_server_takes(mut deployment: Deployment) {
    let Some(server) = Server::start().await else { return };
    deployment.settings.push(("SMTP_URL", server.url()));
    deployment.start_all().await;
    let movie = movie_of(&deployment.admin(), "slow@omori.example", "Ran").await;
    let mia = deployment.user("Mia");
    mia.comment(&movie, "before").await;
    server.mails_with("slow@omori.example", &["before".to_owned()]).await;
    let (name, arguments): (_, &[&str]) = match deployment.kind {
        Kind::Embedded { .. } => ("balcony", &[]),
        Kind::Distributed { .. } => ("projector", &["projector"]),
    };
    // What comes now has not begun to be sent when it ends.
    mia.comment(&movie, "meanwhile").await;
    {
        let mut ending = std::pin::pin!(deployment.process_mut(name).terminate());
        let ended = tokio::time::timeout(LONGER_THAN_MOST, &mut ending).await;
        assert!(ended.is_err(), "it waits for what the server makes of the mail");
        server.take();
        assert!(ending.await.success());
    }
    deployment.kill(name);
    deployment.start(name, arguments).await;
    deployment.user("Mia").comment(&movie, "afterwards").await;
    let said = ["before", "meanwhile", "afterwards"].map(str::to_owned);
    server.mails_with("slow@omori.example", &said).await;
    noted(&deployment).await;
    let mails = server.mails("slow@omori.example");
    for said in said {
        let times = mails.iter().filter(|mail| mail["text"].as_str().unwrap().contains(&said)).count();
        assert_eq!(times, 1, "{said}: {mails:?}");
    }
}

pub async fn a_company_that_unsubscribed_gets_no_mail_until_it_is_registered_again(mut deployment: Deployment) {
    let Some(server) = Server::start().await else { return };
    deployment.settings.push(("SMTP_URL", server.url()));
    deployment.settings.push(("PUBLIC_URL", "https://balcony.example".to_owned()));
    deployment.start_all().await;
    let (admin, mia, company) = (deployment.admin(), deployment.user("Mia"), deployment.nobody());
    let movie = movie_of(&admin, "press@omori.example", "Ran").await;
    // The same address, of another company.
    let spelled = movie_of(&admin, "press@OMORI.Example", "Ran, spelled").await;
    let other = movie_of(&admin, "press@toho.example", "Ikiru").await;
    mia.comment(&movie, "before").await;
    let mail = server.mails_with("press@omori.example", &["before".to_owned()]).await.remove(0);
    assert_eq!(header(&mail, "list-unsubscribe-post"), "List-Unsubscribe=One-Click");
    let link = header(&mail, "list-unsubscribe").trim_matches(['<', '>']).to_owned();
    assert!(mail["text"].as_str().unwrap().contains(&link) && mail["html"].as_str().unwrap().contains(&link), "{mail}");
    let path = link.strip_prefix("https://balcony.example").unwrap();

    // Who looks at the link ends nothing, and neither does who makes one up.
    let page = company.command(Method::GET, path, None).await.expect(StatusCode::OK);
    assert!(page.text.contains("<form method=\"post\">") && page.text.contains("lang=\"en\""), "{}", page.text);
    let japanese = company.clone().with_header("accept-language", "ja-JP,ja;q=0.9,en;q=0.8");
    let page = japanese.command(Method::GET, path, None).await.expect(StatusCode::OK);
    assert!(page.text.contains("lang=\"ja\"") && page.text.contains("配信を停止する"), "{}", page.text);
    assert_eq!(page.headers["vary"], "accept-language");
    let forged = format!("{}{}", &path[..path.len() - 2], if path.ends_with("AA") { "BA" } else { "AA" });
    company.command(Method::POST, &forged, None).await.expect(StatusCode::NOT_FOUND);
    mia.comment(&movie, "still").await;
    server.mails_with("press@omori.example", &["still".to_owned()]).await;

    let click = format!("{}{path}", company.commands);
    let form = company.clone().with_header("content-type", "application/x-www-form-urlencoded");
    let clicked = form.send(Method::POST, click, Some(b"List-Unsubscribe=One-Click".to_vec())).await.unwrap();
    let clicked = clicked.expect(StatusCode::OK);
    company.clone().having_seen(&clicked).get(&format!("/v1/movies/{movie}")).await.expect(StatusCode::OK);
    mia.comment(&movie, "meanwhile").await;
    mia.comment(&spelled, "meanwhile, to another company").await;
    mia.comment(&other, "to somebody else").await;
    server.mails_with("press@toho.example", &["to somebody else".to_owned()]).await;
    noted(&deployment).await;

    let again = movie_of(&admin, "press@omori.example", "Ran, again").await;
    mia.comment(&movie, "of the first").await;
    mia.comment(&again, "of the second").await;
    let said = ["of the first".to_owned(), "of the second".to_owned()];
    let mails = server.mails_with("press@omori.example", &said).await;
    assert!(mails.iter().all(|mail| !mail["text"].as_str().unwrap().contains("meanwhile")), "{mails:?}");
}

pub async fn a_company_leaves_once_however_often_it_says_so(mut deployment: Deployment) {
    deployment.start_all().await;
    let commands = match &deployment.kind {
        Kind::Embedded { .. } => vec![deployment.process("balcony").url.clone()],
        Kind::Distributed { .. } => {
            deployment.start("another", &["command-api"]).await;
            ["command-api", "another"].map(|name| deployment.process(name).url.clone()).to_vec()
        }
    };
    let admin = deployment.admin();
    let company = json!({"name": "Ōmori Pictures", "contact_email": "press@omori.example"});
    let register = async || admin.post("/v1/companies", &company).await.expect(StatusCode::CREATED);
    let id = register().await.id();
    let leaving = Leaving::new(&authority().key_for("leaving").unwrap());
    let path = format!("/v1/mail/unsubscribe/{}", leaving.ticket(CompanyId(id.parse().unwrap())));
    let click = |at: &str, client: Client| {
        let url = format!("{at}{path}");
        async move { client.send(Method::POST, url, None).await.unwrap() }
    };
    let nobody = deployment.nobody();
    let events = || {
        let exported = deployment.command(&["export"]).output().unwrap();
        assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
        let text = String::from_utf8(exported.stdout).unwrap();
        let lines = text.lines().filter(|line| line.contains("balcony.company.unsubscribed.v1"));
        let ids = lines.map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].to_string());
        ids.collect::<Vec<_>>()
    };

    let at_once: JoinSet<_> = (0..40).map(|number| click(&commands[number % commands.len()], nobody.clone())).collect();
    for answer in at_once.join_all().await {
        let answer = answer.expect(StatusCode::OK);
        assert!(answer.text.contains("no more mail"), "{}", answer.text);
        nobody.clone().having_seen(&answer).get("/v1/movies").await.expect(StatusCode::OK);
    }
    for _ in 0..5 {
        click(&commands[0], nobody.clone()).await.expect(StatusCode::OK);
    }
    // Instances that look at the same moment may both write it down: as one event.
    let first = events();
    assert!(first.len() <= commands.len() && first.iter().all(|id| *id == first[0]), "{first:?}");

    // What was undone can be done again. Under a key it is the same request, whatever became of it.
    register().await;
    let under_key = nobody.clone().with_key("k");
    click(&commands[0], under_key.clone()).await.expect(StatusCode::OK);
    let second = events();
    assert_eq!(second.len(), first.len() + 1);
    register().await;
    click(&commands[0], under_key).await.expect(StatusCode::OK);
    assert_eq!(events(), second);
    click(&commands[0], nobody.clone()).await.expect(StatusCode::OK);
    assert_eq!(events().len(), second.len() + 1);
    click(&commands[0], nobody.with_header("idempotency-key", "a b")).await.problem(422);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_followed_as_often_as_an_address_may_write() {
    let mut deployment = Deployment::embedded_idle();
    deployment.settings.push(("RATE_LIMIT", "1".to_owned()));
    deployment.start_all().await;
    let nobody = deployment.nobody();
    let mut answers = Vec::new();
    for _ in 0..300 {
        answers.push(nobody.command(Method::POST, "/v1/mail/unsubscribe/none", None).await.status.as_u16());
    }
    assert!(answers.contains(&404) && answers.contains(&429), "{answers:?}");
}

mod embedded {
    use crate::deployment::Deployment;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_restart_repeats_no_mail_however_long_the_server_takes() {
        super::a_restart_repeats_no_mail_however_long_the_server_takes(Deployment::embedded_idle()).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn parked_mail_is_sent_by_whoever_retries_it() {
        super::parked_mail_is_sent_by_whoever_retries_it(Deployment::embedded_idle()).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_company_leaves_once_however_often_it_says_so() {
        super::a_company_leaves_once_however_often_it_says_so(Deployment::embedded_idle()).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_company_that_unsubscribed_gets_no_mail_until_it_is_registered_again() {
        let deployment = Deployment::embedded_idle();
        super::a_company_that_unsubscribed_gets_no_mail_until_it_is_registered_again(deployment).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_company_gets_what_is_said_of_its_movies_once() {
        super::a_company_gets_what_is_said_of_its_movies_once(Deployment::embedded_idle()).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn mail_that_is_refused_for_good_is_parked() {
        super::mail_that_is_refused_for_good_is_parked(Deployment::embedded_idle()).await;
    }
}

mod distributed {
    use crate::deployment::Deployment;
    use balcony_test_support::Services;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_restart_repeats_no_mail_however_long_the_server_takes() {
        let Some(services) = Services::shared() else { return };
        let deployment = Deployment::distributed_idle(&services).await;
        super::a_restart_repeats_no_mail_however_long_the_server_takes(deployment).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn parked_mail_is_sent_by_whoever_retries_it() {
        let Some(services) = Services::shared() else { return };
        super::parked_mail_is_sent_by_whoever_retries_it(Deployment::distributed_idle(&services).await).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_company_leaves_once_however_often_it_says_so() {
        let Some(services) = Services::shared() else { return };
        let deployment = Deployment::distributed_idle(&services).await;
        super::a_company_leaves_once_however_often_it_says_so(deployment).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_company_that_unsubscribed_gets_no_mail_until_it_is_registered_again() {
        let Some(services) = Services::shared() else { return };
        let deployment = Deployment::distributed_idle(&services).await;
        super::a_company_that_unsubscribed_gets_no_mail_until_it_is_registered_again(deployment).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_company_gets_what_is_said_of_its_movies_once() {
        let Some(services) = Services::shared() else { return };
        super::a_company_gets_what_is_said_of_its_movies_once(Deployment::distributed_idle(&services).await).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn mail_that_is_refused_for_good_is_parked() {
        let Some(services) = Services::shared() else { return };
        super::mail_that_is_refused_for_good_is_parked(Deployment::distributed_idle(&services).await).await;
    }
}
