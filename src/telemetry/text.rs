//! The program's own log (not the access log): `tracing` to standard error, text on a terminal and JSON lines elsewhere.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// Why logging did not start.
#[derive(Debug, thiserror::Error)]
pub enum TextLogError {
    /// The filter cannot be read.
    #[error("the log filter cannot be read")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The process logs already.
    #[error("logging was started twice")]
    Started(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts logging with a filter such as `info,wayleave::oidc=debug`. Once per process.
pub fn start(filter: &str) -> Result<(), TextLogError> {
    let filter = EnvFilter::try_new(filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        builder.finish().try_init()?;
    } else {
        builder
            .json()
            .flatten_event(true)
            .with_ansi(false)
            .finish()
            .try_init()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{TextLogError, start};

    #[test]
    fn a_filter_that_cannot_be_read_is_refused() {
        assert!(matches!(start("info,=?="), Err(TextLogError::Filter(_))));
    }
}
