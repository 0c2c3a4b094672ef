//! E-mail over SMTP: a mail when a person is needed, and one at the end.
//!
//! All mails about a rollback refer to each other, and each has an id of its own that stays the same when it is sent
//! again. The password is read for each mail and never said, and a connection is never less encrypted than was asked for.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lettre::Message;
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MessageBuilder};
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters,
};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use schemars::JsonSchema;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

use super::notice::{Moment, Notice};
use super::once::Once;
use super::reporter::{Failure, Remedy, Telling, Via};
use super::secret;
use crate::rollback::object::{NoticeReport, Report};

/// How long it may take until the server waits for the mail itself: the connection, the login, the recipients.
const OPENING: Duration = Duration::from_secs(15);
/// How long the server may take to accept the mail. Many look through it first; RFC 5321 (4.5.3.2.6) names ten minutes, because
/// whoever leaves earlier sends it twice. This is what a page can wait.
const HANDING: Duration = Duration::from_secs(120);
/// How long a farewell may take.
const CLOSING: Duration = Duration::from_secs(2);
/// The longest answer of a mail server that is repeated to people.
const SHOWN: usize = 200;

/// Mails over SMTP.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The mail server. Without one, no mail is sent.
    pub host: Option<String>,
    /// Its port. Left out: 587 with `starttls`, 465 with `tls`, 25 with `none`.
    pub port: Option<u16>,
    /// How the connection is encrypted: `starttls`, `tls` or `none`. It never falls back to less.
    pub encryption: Encryption,
    /// The file with the certificates of who may vouch for the server. Left out, the machine's own. It is read again for each
    /// mail.
    pub ca_file: Option<PathBuf>,
    /// Who logs in. Left out, nobody does.
    pub username: Option<String>,
    /// The file that holds the password. It is read again for each mail.
    pub password_file: Option<PathBuf>,
    /// The sender, such as `Ripcord <ripcord@example.com>`.
    pub from: Option<String>,
    /// The recipients.
    pub to: Vec<String>,
    /// What is told: any of `started`, `late`, `needed`, `ended`, `checked` and `untouched`.
    pub tell: Vec<Moment>,
}

/// How a connection to a mail server is encrypted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// It begins in the clear and must be encrypted before anything is said.
    #[default]
    Starttls,
    /// From the first byte on.
    Tls,
    /// Not at all.
    None,
}

/// Sends mails.
#[derive(Clone)]
pub struct Email {
    host: String,
    port: u16,
    encryption: Encryption,
    ca_file: Option<PathBuf>,
    login: Option<(String, secret::Source)>,
    from: Mailbox,
    to: Vec<Mailbox>,
    tell: Vec<Moment>,
}

/// Says that no person wrote it, so that no absence note answers (RFC 3834).
#[derive(Clone)]
struct AutoSubmitted;

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            host: None,
            port: None,
            encryption: Encryption::default(),
            ca_file: None,
            username: None,
            password_file: None,
            from: None,
            to: Vec::new(),
            tell: vec![Moment::Needed, Moment::Ended],
        }
    }
}

impl Settings {
    /// What is wrong, with the key at fault.
    #[must_use]
    pub fn fault(&self) -> Option<(&'static str, &'static str)> {
        let Some(host) = self.host.as_deref() else {
            let meant = self.from.is_some() || !self.to.is_empty() || self.username.is_some();
            return meant.then_some(("email.host", "is missing: no mail would be sent"));
        };
        let sound = |text: &String| {
            let mailbox = text.parse::<Mailbox>();
            mailbox.is_ok_and(|it| AsRef::<str>::as_ref(&it.email).is_ascii())
        };
        let local = matches!(host, "localhost" | "127.0.0.1" | "::1");
        let clear = self.encryption == Encryption::None && !local;
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || "/@".contains(c)) {
            Some(("email.host", "must be the name of a mail server, alone"))
        } else if self.port == Some(0) {
            Some(("email.port", "must be 1 to 65535"))
        } else if !self.from.as_ref().is_some_and(sound) {
            let said = "must be the sender's address, such as `Ripcord <ripcord@example.com>`";
            Some(("email.from", said))
        } else if self.to.is_empty() || !self.to.iter().all(sound) {
            let said = "must be one address or more, such as `On call <oncall@example.com>`";
            Some(("email.to", said))
        } else if self.username.is_some() != self.password_file.is_some() {
            let said = "needs `password_file`, and `password_file` needs it";
            Some(("email.username", said))
        } else if clear && self.username.is_some() {
            let said = "is `none`, so that the password would cross the network for all to read";
            Some(("email.encryption", said))
        } else if self.tell.is_empty() {
            Some(("email.tell", "is empty: nothing would ever be told"))
        } else {
            None
        }
    }
}

// === impl Encryption ===

impl Encryption {
    const fn port(self) -> u16 {
        match self {
            Self::Starttls => 587,
            Self::Tls => 465,
            Self::None => 25,
        }
    }
}

// === impl Email ===

impl Email {
    /// Mails as configured, where they are; `password` is asked for each mail.
    #[must_use]
    pub fn new(settings: &Settings, password: Option<secret::Source>) -> Option<Self> {
        let to = settings.to.iter().filter_map(|to| to.parse().ok());
        Some(Self {
            host: settings.host.clone()?,
            port: settings.port.unwrap_or(settings.encryption.port()),
            encryption: settings.encryption,
            ca_file: settings.ca_file.clone(),
            login: settings.username.clone().zip(password),
            from: settings.from.as_ref()?.parse().ok()?,
            to: to.collect(),
            tell: settings.tell.clone(),
        })
    }

    /// A connection that waits for the mail itself. Whatever fails here has sent nothing.
    async fn open(&self, message: &Message) -> Result<AsyncSmtpConnection, Failure> {
        let password = match &self.login {
            Some((_, password)) => password(),
            None => secrecy::SecretString::default(),
        };
        if self.login.is_some() && password.expose_secret().is_empty() {
            let said = "e-mail: there is no usable password";
            return Err(Failure::new(Remedy::Fix, said));
        }
        let login = self
            .login
            .as_ref()
            .map(|(name, _)| Credentials::new(name.clone(), password.expose_secret().to_owned()));
        let tls = match self.encryption {
            Encryption::None => None,
            Encryption::Starttls | Encryption::Tls => Some(self.tls()?),
        };
        let opened = self.converse(tls, login.as_ref(), message).await;
        opened.map_err(|error| failure(&error, false, password.expose_secret()))
    }

    fn tls(&self) -> Result<TlsParameters, Failure> {
        let builder = TlsParameters::builder(self.host.clone());
        let builder = match &self.ca_file {
            Some(path) => {
                let fix = |said| Failure::new(Remedy::Fix, format!("e-mail: {said}"));
                let vouches = authority(path).map_err(fix)?;
                let none = CertificateStore::None;
                builder
                    .certificate_store(none)
                    .add_root_certificate(vouches)
            }
            None => builder,
        };
        builder.build().map_err(|error| failure(&error, false, ""))
    }

    async fn converse(
        &self,
        tls: Option<TlsParameters>,
        login: Option<&Credentials>,
        message: &Message,
    ) -> Result<AsyncSmtpConnection, smtp::Error> {
        let name = ClientId::default();
        let (at_once, later) = match self.encryption {
            Encryption::Starttls => (None, tls),
            Encryption::Tls | Encryption::None => (tls, None),
        };
        let server = (self.host.as_str(), self.port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, None, &name, at_once, None).await?;
        if let Some(tls) = later {
            connection.starttls(tls, &name).await?;
        }
        if let Some(login) = login {
            connection.auth(DEFAULT_MECHANISMS, login).await?;
        }
        let envelope = message.envelope();
        let from = Mail::new(envelope.from().cloned(), Vec::new());
        connection.command(from).await?;
        let mut refused = None;
        let mut taken = 0;
        for to in envelope.to() {
            match connection.command(Rcpt::new(to.clone(), Vec::new())).await {
                Ok(_) => taken += 1,
                // One that is gone does not keep the mail from the others.
                Err(error) if error.is_permanent() => {
                    tracing::warn!(recipient = %to, %error, "a recipient of e-mail is refused");
                    refused = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = refused.filter(|_| taken == 0) {
            return Err(error);
        }
        connection.command(Data).await?;
        Ok(connection)
    }
}

impl Once for Email {
    type Content = Message;

    const VIA: Via = Via::Email;
    const KEY: &'static str = "email";
    // Longer than its own bounds together.
    const PATIENCE: Duration = Duration::from_secs(150);

    fn record(report: &Report) -> &NoticeReport {
        &report.email
    }

    fn wants(&self, notice: &Notice) -> bool {
        notice.is_one_of(&self.tell)
    }

    fn content(&self, notice: &Notice, telling: &Telling<'_>) -> Result<Message, String> {
        let rollback = telling.rollback;
        let id = rollback.metadata.uid.clone();
        let id = id.unwrap_or_else(|| rollback.full_name().replace('/', "."));
        let key = notice.key.replace('/', ".");
        let message = Message::builder()
            .from(self.from.clone())
            .subject(notice.headline.clone())
            .message_id(Some(format!("<{id}.{key}@ripcord>")))
            // A message that never was: mail programs show all that refer to it as one conversation.
            .references(format!("<{id}@ripcord>"))
            .header(AutoSubmitted)
            .header(ContentType::TEXT_PLAIN);
        let message = self.to.iter().cloned().fold(message, MessageBuilder::to);
        message
            .body(notice.text.clone())
            .map_err(|error| format!("e-mail: {error}"))
    }

    async fn send(&self, message: &Message) -> Result<(), Failure> {
        let opened = tokio::time::timeout(OPENING, self.open(message)).await;
        let late = |remedy| Failure::new(remedy, "e-mail: no answer in time");
        let mut connection = opened.map_err(|_| late(Remedy::Retry))??;
        let mail = message.formatted();
        let taken = tokio::time::timeout(HANDING, connection.message(&mail)).await;
        let taken = taken.map_err(|_| late(Remedy::MayHaveHappened))?;
        taken.map_err(|error| failure(&error, true, ""))?;
        // It is taken: how the server parts does not matter.
        let _parted = tokio::time::timeout(CLOSING, connection.quit()).await;
        Ok(())
    }
}

// === impl AutoSubmitted ===

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// The certificates of who may vouch for a server.
///
/// # Errors
/// Why there are none, for people.
pub fn authority(path: &Path) -> Result<Certificate, String> {
    let shown = path.display();
    let text = std::fs::read(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let begins = b"-----BEGIN CERTIFICATE-----";
    let found = text.windows(begins.len()).any(|part| part == begins);
    let read = Certificate::from_pem(&text).ok().filter(|_| found);
    read.ok_or_else(|| format!("{shown} holds no certificates in PEM"))
}

/// What a failure means. A server that refused has not taken the mail; a connection that broke after the mail went out may
/// have carried it.
fn failure(error: &smtp::Error, handed: bool, password: &str) -> Failure {
    let remedy = if error.is_permanent() || error.is_client() {
        Remedy::Fix
    } else if handed && !error.is_transient() {
        Remedy::MayHaveHappened
    } else {
        Remedy::Retry
    };
    let said = secret::hide(&error.to_string(), [password]);
    let said = said.chars().map(|c| if c.is_control() { ' ' } else { c });
    let said: String = said.take(SHOWN).collect();
    Failure::new(remedy, format!("e-mail: {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Settings {
        Settings {
            host: Some("mail.example.com".into()),
            from: Some("Ripcord <ripcord@example.com>".into()),
            to: vec!["oncall@example.com".into()],
            ..Settings::default()
        }
    }

    #[test]
    fn mail_needs_a_sender_recipients_and_no_password_in_the_clear() {
        assert_eq!(sound().fault(), None);
        assert_eq!(Settings::default().fault(), None);
        let fault = |change: fn(&mut Settings)| {
            let mut settings = sound();
            change(&mut settings);
            settings.fault().map(|(key, _)| key)
        };
        assert_eq!(fault(|s| s.host = None), Some("email.host"));
        assert_eq!(
            fault(|s| s.host = Some("smtp://mail".into())),
            Some("email.host")
        );
        assert_eq!(fault(|s| s.port = Some(0)), Some("email.port"));
        assert_eq!(fault(|s| s.from = None), Some("email.from"));
        assert_eq!(fault(|s| s.to = vec!["nobody".into()]), Some("email.to"));
        assert_eq!(fault(|s| s.tell.clear()), Some("email.tell"));
        assert_eq!(
            fault(|s| s.username = Some("x".into())),
            Some("email.username")
        );
        assert_eq!(
            fault(|s| {
                s.username = Some("x".into());
                s.password_file = Some("/p".into());
                s.encryption = Encryption::None;
            }),
            Some("email.encryption")
        );
        assert_eq!(fault(|s| s.encryption = Encryption::None), None);
    }

    #[test]
    fn the_port_follows_from_the_encryption() {
        let port = |change: fn(&mut Settings)| {
            let mut settings = sound();
            change(&mut settings);
            Email::new(&settings, None).unwrap().port
        };
        assert_eq!(port(|_| ()), 587);
        assert_eq!(port(|s| s.encryption = Encryption::Tls), 465);
        assert_eq!(port(|s| s.encryption = Encryption::None), 25);
        assert_eq!(port(|s| s.port = Some(2525)), 2525);
    }
}
