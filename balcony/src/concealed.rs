//! Secrets that were given as flags: every user of a machine can see the arguments of its processes, and only the owner
//! of a process its environment.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// The flags of secrets, and the variables that mean the same.
const SECRETS: &[(&str, &str)] =
    &[("--jwt-secret", "JWT_SECRET"), ("--database-url", "DATABASE_URL"), ("--smtp-url", "SMTP_URL")];

/// Where secrets are among the arguments, this program again in the same process, with them in the environment.
///
/// # Errors
/// What the system says when that cannot be done.
pub(crate) fn conceal(arguments: impl IntoIterator<Item = OsString>) -> std::io::Result<()> {
    let (rest, secrets) = separate(arguments);
    if secrets.is_empty() {
        return Ok(());
    }
    let mut rest = rest.into_iter();
    let mut again = Command::new(std::env::current_exe()?);
    if let Some(name) = rest.next() {
        again.arg0(name);
    }
    Err(again.args(rest).envs(secrets).exec())
}

/// The arguments without secrets, and the secrets by their variables. What is behind `--` is no flag.
fn separate(arguments: impl IntoIterator<Item = OsString>) -> (Vec<OsString>, Vec<(&'static str, OsString)>) {
    let (mut rest, mut secrets) = (Vec::new(), Vec::new());
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            rest.push(argument);
            rest.extend(arguments);
            break;
        }
        let text = argument.to_str().unwrap_or_default();
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value.into())));
        match SECRETS.iter().find(|(flag, _)| *flag == name) {
            Some(&(_, variable)) => secrets.extend(value.or_else(|| arguments.next()).map(|value| (variable, value))),
            None => rest.push(argument),
        }
    }
    (rest, secrets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_leave_the_arguments_and_nothing_else_does() {
        let arguments = [
            "balcony",
            "--jwt-secret",
            "a=b",
            "token",
            "--user",
            "Mia",
            "--database-url=postgres://x?y=z",
            "--",
            "--smtp-url",
        ];
        let (rest, secrets) = separate(arguments.map(OsString::from));
        assert_eq!(rest, ["balcony", "token", "--user", "Mia", "--", "--smtp-url"]);
        assert_eq!(secrets, [("JWT_SECRET", "a=b".into()), ("DATABASE_URL", "postgres://x?y=z".into())]);
        assert!(separate(["balcony", "--jwt-secret-file", "f"].map(OsString::from)).1.is_empty());
    }
}
