//! Secrets that were given as flags: every user of a machine can see the arguments of its processes, and only the owner
//! of a process its environment.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// A flag of a secret, and the variable that means the same.
type Secret = (String, OsString);

/// Where secrets of the command line are among the arguments, this program again in the same process, with them in the
/// environment.
///
/// # Errors
/// What the system says when that cannot be done.
pub(crate) fn conceal(
    command_line: &clap::Command,
    arguments: impl IntoIterator<Item = OsString>,
) -> std::io::Result<()> {
    let (rest, secrets) = separate(&secrets(command_line), arguments);
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

/// The secrets of `command_line` and its subcommands: what `--help` does not show the value of.
fn secrets(command_line: &clap::Command) -> Vec<Secret> {
    let is_secret = |argument: &&clap::Arg| argument.is_hide_env_values_set();
    let own = command_line.get_arguments().filter(is_secret).filter_map(|argument| {
        let (flag, variable) = argument.get_long().zip(argument.get_env())?;
        Some((format!("--{flag}"), variable.to_owned()))
    });
    own.chain(command_line.get_subcommands().flat_map(secrets)).collect()
}

/// The arguments without `secrets`, and those by their variables. What is behind `--` is no flag.
fn separate(
    secrets: &[Secret],
    arguments: impl IntoIterator<Item = OsString>,
) -> (Vec<OsString>, Vec<(OsString, OsString)>) {
    let (mut rest, mut found) = (Vec::new(), Vec::new());
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            rest.push(argument);
            rest.extend(arguments);
            break;
        }
        let text = argument.to_str().unwrap_or_default();
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value.into())));
        match secrets.iter().find(|(flag, _)| flag == name) {
            Some((_, variable)) => {
                found.extend(value.or_else(|| arguments.next()).map(|value| (variable.clone(), value)));
            }
            None => rest.push(argument),
        }
    }
    (rest, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    use clap::CommandFactory as _;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        _settings: crate::Settings,
        /// A secret of the program's own.
        #[arg(long, env = "MAIL_URL", hide_env_values = true)]
        _mail_url: Option<String>,
    }

    #[test]
    fn secrets_leave_the_arguments_and_nothing_else_does() {
        let secrets = secrets(&Cli::command());
        let arguments = [
            "orders",
            "--jwt-secret",
            "a=b",
            "token",
            "--user",
            "Mia",
            "--database-url=postgres://x?y=z",
            "--mail-url",
            "smtp://x",
            "--",
            "--jwt-secret",
        ];
        let (rest, found) = separate(&secrets, arguments.map(OsString::from));
        assert_eq!(rest, ["orders", "token", "--user", "Mia", "--", "--jwt-secret"]);
        let expected = [("JWT_SECRET", "a=b"), ("DATABASE_URL", "postgres://x?y=z"), ("MAIL_URL", "smtp://x")];
        assert_eq!(found, expected.map(|(variable, value)| (variable.into(), value.into())));
        assert!(separate(&secrets, ["orders", "--jwt-secret-file", "f"].map(OsString::from)).1.is_empty());
    }
}
