use std::fmt::Write as _;

use axum::http::HeaderValue;
use tempfile::TempDir;

use super::*;

#[test]
fn without_a_token_the_service_starts_only_where_no_harm_can_come() {
    use AuthMode::{Bearer, OpenOnLoopback, OpenWithoutActing};
    for (listen, has_tokens, acts, wanted) in [
        ("0.0.0.0:8080", true, true, Some(Bearer)),
        ("0.0.0.0:8080", true, false, Some(Bearer)),
        ("127.0.0.1:8080", true, true, Some(Bearer)),
        ("127.0.0.1:8080", false, true, Some(OpenOnLoopback)),
        ("127.8.8.8:8080", false, false, Some(OpenOnLoopback)),
        ("[::1]:8080", false, true, Some(OpenOnLoopback)),
        ("[::ffff:127.0.0.1]:8080", false, true, Some(OpenOnLoopback)),
        ("0.0.0.0:8080", false, false, Some(OpenWithoutActing)),
        ("[::]:8080", false, false, Some(OpenWithoutActing)),
        ("0.0.0.0:8080", false, true, None),
        ("[::]:8080", false, true, None),
        ("10.1.2.3:8080", false, true, None),
        ("[::ffff:10.1.2.3]:8080", false, true, None),
    ] {
        let listen: SocketAddr = listen.parse().unwrap();
        let on = Schemes {
            bearer: has_tokens,
            basic: false,
        };
        let found = decide(listen, on, acts);
        assert_eq!(
            found.as_ref().ok(),
            wanted.as_ref(),
            "{listen} {has_tokens} {acts}"
        );
        if let Err(error) = found {
            let said = error.to_string();
            assert!(
                said.contains(&listen.to_string()) && said.contains("no bearer token"),
                "{said}"
            );
        }
    }
}

async fn knows(tokens: &Tokens, token: &str) -> bool {
    tokens
        .know(Scheme::Bearer, Sha256::digest(token).into())
        .await
}

/// Whether a sender with this header is let in.
async fn admitted(tokens: &Tokens, header: &str) -> bool {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, header.parse().unwrap());
    admits(Some(tokens), &headers).await
}

#[tokio::test]
async fn a_user_is_let_in_by_the_password_whether_the_file_holds_it_or_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    // Of `s3cret:with-colon`.
    let digest = Sha256::digest("s3cret:with-colon");
    let mut shown = String::new();
    for byte in digest {
        let _ = write!(shown, "{byte:02X}");
    }
    let digest = shown;
    let users = format!("plain:s3cret:with-colon\n\nhashed:sha256:{digest}\n");
    let users = file(&folder, "users", users.as_bytes());
    let token = file(&folder, "token", b"s3cret:with-colon");
    let both = Tokens::load_all(vec![token], vec![users.clone()]).unwrap();
    let basic = |pair: &str| format!("basic {}", BASE64_STANDARD.encode(pair));
    for user in ["plain", "hashed"] {
        let right = basic(&format!("{user}:s3cret:with-colon"));
        assert!(admitted(&both, &right).await, "{user}");
    }
    for wrong in [
        basic("plain:s3cret"),
        basic("plain:"),
        basic("other:s3cret:with-colon"),
        basic(&format!("hashed:sha256:{digest}")),
        basic("s3cret:with-colon"),
        basic("no colon"),
        "Basic ???".to_owned(),
        "Basic".to_owned(),
        "Bearer plain:s3cret:with-colon".to_owned(),
        "Digest s3cret:with-colon".to_owned(),
    ] {
        assert!(!admitted(&both, &wrong).await, "{wrong}");
    }
    assert!(admitted(&both, "Bearer s3cret:with-colon").await);
    assert_eq!(both.challenge(), "Bearer, Basic realm=\"ripcord\"");
    assert!(!format!("{both:?}").contains("s3cret"));
    let only = Tokens::load_all(Vec::new(), vec![users]).unwrap();
    assert!(!admitted(&only, "Bearer s3cret:with-colon").await);
    assert_eq!(only.challenge(), "Basic realm=\"ripcord\"");
    for bad in [
        "no-colon",
        ":password",
        "user:",
        "user:sha256:abc",
        "user:sha256:",
    ] {
        let path = file(&folder, "bad", bad.as_bytes());
        let said = Tokens::load_all(Vec::new(), vec![path])
            .unwrap_err()
            .to_string();
        assert!(said.contains("`user:password`"), "{bad}: {said}");
    }
}

fn file(folder: &TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

#[test]
fn at_the_start_every_file_must_hold_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let good = file(&folder, "good", b"  s3cret-t0ken\n");
    assert!(Tokens::load(vec![good.clone()]).is_ok());
    assert!(matches!(Tokens::load(Vec::new()), Err(TokenError::None)));
    let missing = folder.path().join("missing");
    for (bad, why) in [
        (missing, "cannot read"),
        (file(&folder, "empty", b" \n"), "it is empty"),
        (file(&folder, "words", b"one two\n"), "each line"),
        (file(&folder, "one-bad", b"one\nt wo\n"), "each line"),
        (file(&folder, "binary", &[0xff, 0xfe]), "each line"),
        (file(&folder, "large", &[b'a'; 5000]), "larger"),
        (file(&folder, "many", &vec![b'\n'; 70_000]), "larger"),
    ] {
        let said = Tokens::load(vec![good.clone(), bad.clone()])
            .unwrap_err()
            .to_string();
        assert!(said.contains(why), "{said}");
        assert!(said.contains(&bad.display().to_string()), "{said}");
    }
}

#[tokio::test]
async fn each_line_of_a_file_is_a_token_and_a_file_that_goes_keeps_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "tokens", b"\nfirst\r\n  second \n\n");
    let tokens = Tokens::load(vec![path.clone()]).unwrap();
    for gone in [false, true] {
        if gone {
            std::fs::remove_file(&path).unwrap();
            let mut files = tokens.files.lock().unwrap();
            files.files.iter_mut().for_each(File::refresh);
        }
        assert!(knows(&tokens, "first").await && knows(&tokens, "second").await);
        for wrong in ["", "first\r\n  second", "firstsecond"] {
            assert!(!knows(&tokens, wrong).await, "{wrong:?}");
        }
    }
}

#[test]
fn nothing_shows_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = Tokens::load(vec![file(&folder, "token", b"s3cret-t0ken")]).unwrap();
    assert!(!format!("{tokens:?}").contains("s3cret"));
}

#[test]
fn one_bearer_header_is_read_in_any_case() {
    let headers = |values: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_static(value));
        }
        headers
    };
    for (values, wanted) in [
        (&["Bearer abc"][..], Some(&b"abc"[..])),
        (&["bearer  abc "], Some(b"abc")),
        (&["Bearer"], None),
        (&["Bearerabc"], None),
        (&["Bearer abc", "Bearer abc"], None),
        (&[], None),
    ] {
        let wanted = wanted.map(|token| (Scheme::Bearer, Sha256::digest(token).into()));
        assert_eq!(presented(&headers(values)), wanted, "{values:?}");
    }
}

#[tokio::test]
async fn a_wrong_token_is_refused_whatever_its_length() {
    let folder = tempfile::tempdir().unwrap();
    let paths = vec![file(&folder, "a", b"first"), file(&folder, "b", b"second")];
    let tokens = Tokens::load(paths).unwrap();
    assert!(knows(&tokens, "first").await && knows(&tokens, "second").await);
    for wrong in ["", "firs", "first ", "firstsecond", "First"] {
        assert!(!knows(&tokens, wrong).await, "{wrong:?}");
    }
}

#[tokio::test]
async fn without_tokens_a_browser_is_still_turned_away() {
    let mut headers = HeaderMap::new();
    assert!(admits(None, &headers).await);
    headers.insert(ORIGIN, HeaderValue::from_static("http://evil.example"));
    assert!(!admits(None, &headers).await);
}
