//! The password and the certificates of a Redis, read anew each time that they are needed.
//!
//! What is read is used and not kept, and what cannot be read as text is not shown either.

use std::env::{self, VarError};
use std::fs;

use crate::target::redis::PasswordAt;

/// The password, without the line break at its end.
///
/// # Errors
/// Where it should be, and why it cannot be read there.
pub fn password(at: &PasswordAt) -> Result<String, String> {
    let (read, place) = match at {
        PasswordAt::File(path) => (
            fs::read_to_string(path).map_err(|error| error.to_string()),
            format!("file {path}"),
        ),
        PasswordAt::Env(name) => (
            env::var(name).map_err(|error| match error {
                VarError::NotPresent => "it is not set".to_owned(),
                // The error itself shows what was read.
                VarError::NotUnicode(_) => "it is no text".to_owned(),
            }),
            format!("variable {name}"),
        ),
    };
    let password = read.and_then(|text| match text.trim_end_matches(['\n', '\r']) {
        "" => Err("it is empty".to_owned()),
        password => Ok(password.to_owned()),
    });
    password.map_err(|why| format!("the password of Redis cannot be read from the {place}: {why}"))
}

/// The certificates of who may vouch for the server.
///
/// # Errors
/// Why they cannot be read.
pub fn certificates(path: &str) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("the certificates in {path} cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_a_file_or_a_variable_that_is_not_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let file = PasswordAt::File(path.display().to_string());
        let wrong = |at: &PasswordAt, place: &str, why: &str| {
            let said = password(at).unwrap_err();
            assert!(said.contains(place) && said.contains(why), "{said}");
        };
        wrong(&file, &format!("file {}", path.display()), "No such file");
        fs::write(&path, "\r\n").unwrap();
        wrong(&file, "password", "it is empty");
        fs::write(&path, b"\xffhunter2").unwrap();
        wrong(&file, "password", "UTF-8");
        assert!(!password(&file).unwrap_err().contains("hunter2"));
        // A space may belong to it.
        fs::write(&path, "hunter2 \r\n").unwrap();
        assert_eq!(password(&file).unwrap(), "hunter2 ");

        let unset = PasswordAt::Env("RIPCORD_TEST_OF_NO_PASSWORD".to_owned());
        wrong(&unset, "variable RIPCORD_TEST_OF_NO_PASSWORD", "not set");
        let path = password(&PasswordAt::Env("PATH".to_owned()));
        assert_eq!(path.ok(), env::var("PATH").ok());
    }
}
