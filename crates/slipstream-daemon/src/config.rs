use crate::error::Error;
use std::{path::PathBuf, time::Duration};

/// How this daemon runs.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The state folder, already made and checked by the client.
    pub(crate) dir: PathBuf,
    /// Without links and clients for that long, the daemon ends.
    pub(crate) idle: Duration,
    /// Log level at start.
    pub(crate) log: String,
    /// What ssh runs to ask for a secret.
    pub(crate) askpass: PathBuf,
    /// Told to clients, which compare it with their own.
    pub(crate) surroundings: String,
}

impl Config {
    pub(crate) fn parse(args: Vec<String>) -> Result<Self, Error> {
        let (mut dir, mut askpass, mut surroundings) = (None, None, String::new());
        let (mut idle, mut log) = (Duration::from_secs(300), "info".to_owned());
        let mut args = args.into_iter();
        while let Some(name) = args.next() {
            let value = args.next().ok_or_else(|| Error::Usage(format!("{name} wants a value")))?;
            match name.as_str() {
                "--dir" => dir = Some(PathBuf::from(value)),
                "--surroundings" => surroundings = value,
                "--askpass" => askpass = Some(PathBuf::from(value)),
                "--log" => log = value,
                "--idle" => idle = seconds(&value)?,
                _ => return Err(Error::Usage(format!("unknown option {name}"))),
            }
        }
        let dir = dir.ok_or_else(|| Error::Usage("--dir is missing".into()))?;
        let askpass = match askpass {
            Some(path) => path,
            None => std::env::current_exe()?,
        };
        Ok(Self { dir, idle, log, askpass, surroundings })
    }

    /// Where clients connect.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("daemon.sock")
    }
}

/// Reads a duration in seconds, as the configuration writes it.
pub(crate) fn seconds(text: &str) -> Result<Duration, Error> {
    let wrong = || Error::Usage(format!("{text:?} is not a number of seconds"));
    Duration::try_from_secs_f64(text.parse().map_err(|_| wrong())?).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Config, Error> {
        Config::parse(words.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn options_are_read() {
        let config = parse(&["--dir", "/d", "--idle", "1.5"]).expect("valid");
        assert_eq!(config.idle, Duration::from_millis(1500));
    }

    #[test]
    fn nonsense_is_refused_with_its_name() {
        let error = parse(&["--dir", "/d", "--idle", "-3"]).expect_err("negative");
        assert!(error.to_string().contains("-3"));
        assert!(parse(&["--what", "x"]).is_err());
    }
}
