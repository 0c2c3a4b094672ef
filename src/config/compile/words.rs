//! What counts as a name, a pointer, an address.

/// A DNS label as RFC 1123 and Kubernetes have it: at most 63 of `a-z`, `0-9` and `-`, not at either end a `-`.
pub(super) fn is_dns_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// DNS labels with dots between them, at most 253 in all.
pub(super) fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

/// A JSON pointer as RFC 6901 has it: empty, or each step begun by `/`, with `~0` and `~1` for `~` and `/`.
pub(super) fn is_json_pointer(text: &str) -> bool {
    let escapes_sound = text
        .split('~')
        .skip(1)
        .all(|after| after.starts_with(['0', '1']));
    (text.is_empty() || text.starts_with('/')) && escapes_sound
}

/// An address that can be asked: http or https, with a host.
pub(super) fn is_http_url(text: &str) -> bool {
    reqwest::Url::parse(text)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// Labels and their values as a selector has them: `app=redis,role=master`.
pub(super) fn is_labels(text: &str) -> bool {
    let word = |text: &str| {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let ends = |text: &str, b: char| text.starts_with(b) || text.ends_with(b);
        text.len() <= 63
            && text.bytes().all(inner)
            && !['.', '_', '-'].iter().any(|b| ends(text, *b))
    };
    text.split(',').all(|pair| {
        let Some((key, value)) = pair.split_once('=') else {
            return false;
        };
        let (prefix, name) = key
            .split_once('/')
            .map_or((None, key), |(prefix, name)| (Some(prefix), name));
        prefix.is_none_or(is_dns_subdomain) && !name.is_empty() && word(name) && word(value)
    })
}

/// The name of an image with its digest: what it means can never change.
pub(super) fn has_digest(text: &str) -> bool {
    let Some((name, digest)) = text.split_once("@sha256:") else {
        return false;
    };
    let named = |b: u8| b.is_ascii_alphanumeric() || b"._-/:".contains(&b);
    let hexadecimal = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    !name.is_empty()
        && name.bytes().all(named)
        && digest.len() == 64
        && digest.bytes().all(hexadecimal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "options-api", "0", "a0-b"] {
            assert!(is_dns_label(good), "{good}");
        }
        let long = "a".repeat(64);
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", "ä", long.as_str()] {
            assert!(!is_dns_label(bad), "{bad}");
        }
        assert!(is_dns_subdomain("a.b-c.d") && !is_dns_subdomain("a..b"));
    }

    #[test]
    fn digests() {
        let digest = "0123456789abcdef".repeat(4);
        for name in ["app", "registry:5000/team/app", "app:v1"] {
            assert!(has_digest(&format!("{name}@sha256:{digest}")), "{name}");
        }
        for bad in ["app", "app:v1", "app@sha256:0123", "@sha256:", "app@md5:0"] {
            assert!(!has_digest(bad), "{bad}");
        }
        assert!(!has_digest(&format!("a b@sha256:{digest}")));
        assert!(!has_digest(&format!(
            "app@sha256:{}",
            digest.to_uppercase()
        )));
    }

    #[test]
    fn labels() {
        for good in [
            "app=redis",
            "app=redis,role=master",
            "app.kubernetes.io/name=redis",
            "app=",
        ] {
            assert!(is_labels(good), "{good}");
        }
        for bad in [
            "",
            "redis",
            "app=redis,",
            "=redis",
            "app==redis",
            "app in (a)",
            "app=-a",
            "a/b/c=d",
            "app!=redis",
        ] {
            assert!(!is_labels(bad), "{bad}");
        }
    }

    #[test]
    fn pointers() {
        for good in ["", "/", "/overall_status", "/a/0/b", "/a~1b~0c"] {
            assert!(is_json_pointer(good), "{good}");
        }
        for bad in ["overall_status", ".a", "$.a", "/a~b", "/a~"] {
            assert!(!is_json_pointer(bad), "{bad}");
        }
    }

    #[test]
    fn addresses() {
        assert!(is_http_url("http://api.options-prod.com/health/pinn"));
        for bad in ["api.example/health", "ftp://x/", "http://", "/health"] {
            assert!(!is_http_url(bad), "{bad}");
        }
    }
}
