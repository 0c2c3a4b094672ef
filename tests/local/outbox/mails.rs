//! Mails: what goes over the wire, and what becomes of a mail server that refuses or hangs.

use ripcord::report::email::{self, Email, Encryption};
use ripcord::report::once::Each;
use ripcord::report::secret;

use super::notices::record;
use super::*;
use crate::support::smtp::FakeSmtp;

const PASSWORD: &str = "pa55w0rd";

fn mail(server: &FakeSmtp, change: impl FnOnce(&mut email::Settings)) -> Each<Email> {
    let mut settings = email::Settings {
        host: Some("127.0.0.1".into()),
        port: Some(server.address.port()),
        encryption: Encryption::None,
        username: Some("ripcord".into()),
        from: Some("Ripcord <ripcord@example.com>".into()),
        to: vec!["oncall@example.com".into(), "team@example.com".into()],
        ..email::Settings::default()
    };
    change(&mut settings);
    let password = secret::fixed(PASSWORD.to_owned().into());
    Each(Email::new(&settings, Some(password)).unwrap())
}

/// The value of a header of a mail.
fn header<'a>(text: &'a str, name: &str) -> &'a str {
    let start = format!("{name}: ");
    let line = text.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// Waits until it is on record that people were told of the failure.
async fn is_told(world: &World) {
    let told = |world: &World| record(world, |it| &it.email).told == ["end/Failed"];
    world.until(told).await;
}

#[tokio::test]
async fn a_mail_says_that_a_person_is_needed_and_one_says_the_end() {
    let world = World::new().await;
    let server = FakeSmtp::start().await;
    world.report(mail(&server, |_| ()));
    world.store(given::running("options-api"));
    world.pass(Duration::from_secs(5), STEP).await;
    assert!(server.mails().is_empty(), "a start is no mail");
    let mut gave_up = given::running("options-api");
    gave_up["status"]["run"]["gaveUp"] = "2026-11-22T03:27:41Z".into();
    world.store(gave_up.clone());
    world.until(|_| server.mails().len() == 1).await;
    let mut ended = given::failed("options-api");
    ended["status"]["run"]["gaveUp"] = gave_up["status"]["run"]["gaveUp"].clone();
    world.store(ended);
    world
        .until(|world| record(world, |it| &it.email).told == ["gave_up", "end/Failed"])
        .await;
    world.pass(Duration::from_secs(30), STEP).await;
    let mails = server.mails();
    assert_eq!(mails.len(), 2);
    for mail in &mails {
        let login = mail.login.as_ref().unwrap();
        assert!(login.starts_with("AUTH PLAIN"), "{login}");
        assert_eq!(mail.to.len(), 2);
        assert_eq!(header(&mail.text, "From"), "Ripcord <ripcord@example.com>");
        assert_eq!(
            header(&mail.text, "References"),
            "<uid-options-api@ripcord>"
        );
        assert_eq!(header(&mail.text, "Auto-Submitted"), "auto-generated");
        assert!(!mail.text.contains(PASSWORD) && !mail.text.contains("S0123ABCD"));
        assert!(mail.text.is_ascii(), "any server takes it");
    }
    assert_eq!(
        header(&mails[1].text, "Message-ID"),
        "<uid-options-api.end.Failed@ripcord>"
    );
}

#[tokio::test]
async fn a_mail_server_that_is_busy_is_asked_again_and_one_that_refuses_is_on_record() {
    let world = World::new().await;
    let server = FakeSmtp::start().await;
    server.instead("MAIL", "451 later");
    server.instead(".", "452 no room now");
    server.instead("MAIL", "550 no such sender");
    world.store(given::failed("options-api"));
    world.report(mail(&server, |_| ()));
    world
        .until(|world| record(world, |it| &it.email).refused.is_some())
        .await;
    let said = record(&world, |it| &it.email).refused.unwrap();
    assert!(
        said.starts_with("e-mail: permanent error (550)") && said.contains("no such sender"),
        "{said}"
    );
    assert!(world.saw(Outcome::Retried) && world.saw(Outcome::Refused));
    assert!(!world.saw(Outcome::Unknown), "each refusal is one");
    world.until(|_| server.mails().len() == 1).await;
    world
        .until(|world| record(world, |it| &it.email).refused.is_none())
        .await;
}

#[tokio::test]
async fn a_password_that_is_refused_is_not_repeated() {
    let world = World::new().await;
    let server = FakeSmtp::start().await;
    server.instead("AUTH", "535 ripcord with pa55w0rd is nobody here");
    world.store(given::failed("options-api"));
    world.report(mail(&server, |_| ()));
    world
        .until(|world| record(world, |it| &it.email).refused.is_some())
        .await;
    let said = record(&world, |it| &it.email).refused.unwrap();
    assert!(
        said.contains("535") && said.contains("with … is nobody"),
        "{said}"
    );
    assert!(!said.contains(PASSWORD));
}

#[tokio::test]
async fn without_the_encryption_that_was_asked_for_nothing_is_said() {
    let world = World::new().await;
    let server = FakeSmtp::start().await;
    world.store(given::failed("options-api"));
    world.report(mail(&server, |settings| {
        settings.encryption = Encryption::Starttls;
    }));
    world
        .until(|world| record(world, |it| &it.email).refused.is_some())
        .await;
    let said = record(&world, |it| &it.email).refused.unwrap();
    assert!(said.contains("STARTTLS is not supported"), "{said}");
    assert_eq!((server.heard("AUTH"), server.heard("MAIL")), (0, 0));
}

#[tokio::test]
async fn a_recipient_that_is_gone_keeps_the_mail_from_no_other() {
    let world = World::new().await;
    let server = FakeSmtp::start().await;
    server.instead("RCPT", "550 no such user");
    world.store(given::failed("options-api"));
    world.report(mail(&server, |_| ()));
    is_told(&world).await;
    let mails = server.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].to, ["RCPT TO:<team@example.com>"]);
}

#[tokio::test]
async fn a_mail_server_that_hangs_is_left_and_asked_again() {
    let world = World::new().await;
    let server = FakeSmtp::start().await;
    // Before the mail went out, nothing is in doubt.
    server.instead("hello", None);
    server.instead("RCPT", None);
    world.store(given::failed("options-api"));
    world.report(mail(&server, |_| ()));
    is_told(&world).await;
    assert_eq!(server.mails().len(), 1);
    assert!(world.saw(Outcome::Retried) && !world.saw(Outcome::Unknown));
}

#[tokio::test]
async fn a_mail_of_which_nobody_knows_is_repeated_once() {
    let world = World::new().await;
    let server = FakeSmtp::start().await;
    server.instead(".", None);
    world.store(given::failed("options-api"));
    world.report(mail(&server, |_| ()));
    is_told(&world).await;
    assert!(world.saw(Outcome::Unknown));
    let mails = server.mails();
    assert_eq!(mails.len(), 2);
    let id = |at: usize| header(&mails[at].text, "Message-ID");
    assert_eq!(id(0), id(1), "so that it can be told to be the same");
}

#[tokio::test]
async fn a_mail_server_that_looks_through_a_mail_first_gets_one() {
    let world = World::new().await;
    let server = FakeSmtp::start().await;
    server.looks(Duration::from_secs(100));
    world.store(given::failed("options-api"));
    world.report(mail(&server, |_| ()));
    is_told(&world).await;
    assert_eq!(server.mails().len(), 1);
    assert!(!world.saw(Outcome::Unknown), "its answer was waited for");
}

#[tokio::test]
async fn a_mail_server_that_never_answers_gets_a_mail_three_times_and_no_more() {
    let world = World::new().await;
    let server = FakeSmtp::start().await;
    for _ in 0..9 {
        server.instead(".", None);
    }
    world.store(given::failed("options-api"));
    world.report(mail(&server, |_| ()));
    is_told(&world).await;
    let said = record(&world, |it| &it.email).refused.unwrap();
    assert_eq!(
        said,
        "e-mail: no answer in time; sent 3 times, and not again"
    );
    world
        .pass(Duration::from_secs(3_600), Duration::from_secs(5))
        .await;
    assert_eq!(server.mails().len(), 3);
    let times = |outcome| world.times(outcome);
    assert_eq!((times(Outcome::Unknown), times(Outcome::GivenUp)), (2, 1));
}

#[tokio::test]
async fn a_mail_that_is_not_answered_keeps_that_of_another_rollback_for_seconds() {
    let world = World::new().await;
    let server = FakeSmtp::start().await;
    server.instead(".", None);
    world.store(given::failed("first"));
    world.report(mail(&server, |_| ()));
    world.until(|_| server.mails().len() == 1).await;
    let start = Instant::now();
    world.store(given::failed("second"));
    world.until(|_| server.mails().len() == 2).await;
    let id = header(&server.mails()[1].text, "Message-ID").to_owned();
    assert!(id.contains("uid-second"), "{id}");
    let waited = start.elapsed();
    assert!(waited < Duration::from_secs(20), "{waited:?}");
}

/// A mail over a connection that is encrypted at once, or once that was asked for.
async fn arrives_encrypted(encryption: Encryption) {
    let world = World::new().await;
    let at_once = encryption == Encryption::Tls;
    let (server, vouches) = FakeSmtp::encrypted(at_once).await;
    let authority = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(authority.path(), vouches).unwrap();
    world.store(given::failed("options-api"));
    world.report(mail(&server, |settings| {
        settings.host = Some("localhost".into());
        settings.encryption = encryption;
        settings.ca_file = Some(authority.path().to_owned());
    }));
    is_told(&world).await;
    assert_eq!(server.mails().len(), 1);
    assert!(server.mails()[0].login.is_some());
    assert_eq!(server.heard("STARTTLS"), usize::from(!at_once));
}

#[tokio::test]
async fn a_mail_is_encrypted_from_the_first_byte_on() {
    arrives_encrypted(Encryption::Tls).await;
}

#[tokio::test]
async fn a_mail_is_encrypted_before_anybody_logs_in() {
    arrives_encrypted(Encryption::Starttls).await;
}

#[tokio::test]
async fn a_mail_server_for_which_nobody_vouches_is_told_nothing() {
    let world = World::new().await;
    let (server, _) = FakeSmtp::encrypted(false).await;
    let (_, of_another) = FakeSmtp::encrypted(false).await;
    let authority = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(authority.path(), of_another).unwrap();
    world.store(given::failed("options-api"));
    world.report(mail(&server, |settings| {
        settings.host = Some("localhost".into());
        settings.encryption = Encryption::Starttls;
        settings.ca_file = Some(authority.path().to_owned());
    }));
    world.until(|_| server.heard("STARTTLS") > 1).await;
    assert_eq!((server.heard("AUTH"), server.heard("MAIL")), (0, 0));
    assert!(server.mails().is_empty());
}
