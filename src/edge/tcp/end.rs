//! How a tunnel ends, and how its client is told.

use crate::edge::body::BoxError;
use crate::edge::metrics::Outcome;
use crate::edge::streams::Cut;

/// How a tunnel has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Each side ended in order.
    Well,
    /// It must not go on.
    Cut(Cut),
    /// The client broke it off.
    ClientLeft,
    /// The workload's connection broke.
    FarBroke,
    /// The workload does not take the mesh identity.
    IdentityRefused,
}

/// Numbers of HTTP/2 errors that are ours; whoever does not know them takes them for what they are, errors (RFC 9113 §7).
const FIRST: u32 = 0x5741_5900;

/// The ends that a client is told, in the order of their numbers.
const TOLD: [End; 7] = [
    End::Cut(Cut::ProofEnded),
    End::Cut(Cut::NotAllowed),
    End::Cut(Cut::Stale),
    End::Cut(Cut::Idle),
    End::FarBroke,
    End::IdentityRefused,
    End::ClientLeft,
];

impl End {
    /// For the access log.
    pub const fn outcome(self) -> (Outcome, &'static str) {
        match self {
            Self::Well => (Outcome::Allowed, "allowed"),
            Self::Cut(cut) => (cut.outcome(), cut.code()),
            Self::ClientLeft => (Outcome::Aborted, "aborted"),
            Self::FarBroke => (Outcome::Failed, "upstream_broke_off"),
            Self::IdentityRefused => (Outcome::Failed, "upstream_refused_identity"),
        }
    }

    /// For whoever had the tunnel.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Well => "it ended",
            Self::Cut(Cut::ProofEnded) => "your session has ended",
            Self::Cut(Cut::NotAllowed) => {
                "the access rules do not allow it any more, or what was granted to you is over"
            }
            Self::Cut(Cut::Stale) => "the edge cannot check any more whether it is allowed",
            Self::Cut(Cut::Idle) => "it was silent for too long",
            Self::ClientLeft | Self::Cut(Cut::ClientLeft | Cut::Over) => "it was broken off",
            Self::FarBroke => "the workload broke the connection",
            Self::IdentityRefused => {
                "the workload refused your mesh identity: its own mesh policy or trust does not let you in"
            }
        }
    }

    /// What an error on a tunnel's stream says, if it is one of ours.
    pub fn told_by(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut cause = Some(error);
        while let Some(inner) = cause {
            if let Some(reason) = inner.downcast_ref().and_then(h2::Error::reason) {
                let place = u32::from(reason).checked_sub(FIRST)?;
                return TOLD.get(usize::try_from(place).ok()?).copied();
            }
            cause = inner.source();
        }
        None
    }
}

impl From<End> for BoxError {
    fn from(end: End) -> Self {
        let place = TOLD.iter().position(|told| *told == end);
        let number = place.and_then(|place| u32::try_from(place).ok());
        let reason = match number {
            Some(number) => h2::Reason::from(FIRST + number),
            None => h2::Reason::INTERNAL_ERROR,
        };
        h2::Error::from(reason).into()
    }
}

#[cfg(test)]
mod tests {
    use super::{End, TOLD};
    use crate::edge::body::BoxError;

    #[test]
    fn what_ended_a_tunnel_is_told_by_its_error() {
        for end in TOLD {
            let error = BoxError::from(end);
            assert_eq!(End::told_by(error.as_ref()), Some(end));
        }
        assert_eq!(End::told_by(BoxError::from(End::Well).as_ref()), None);
        assert_eq!(End::told_by(&std::io::Error::other("x")), None);
    }
}
