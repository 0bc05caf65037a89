//! The policy file: loaded into the store as a revision, and followed when it changes.
//!
//! The file is the truth: what it says becomes the current revision, whoever wrote the last one. A file with any fault changes nothing.

use std::path::PathBuf;
use std::time::Duration;

use tokio::io::AsyncReadExt;

use crate::admin::policy_rules::PolicyRules;
use crate::policy::yaml::{LARGEST_DOCUMENT, PolicyFault};
use crate::snapshot::objects::to_objects;
use crate::store::policy::Written;
use crate::store::{Store, StoreError};
use crate::telemetry::causes::Causes;

/// How often the file is looked at. Polling its content also sees Kubernetes' swap of symbolic links.
const POLL: Duration = Duration::from_millis(500);
/// One byte more than the reader accepts, so that it can say that a document is too large.
const MAX_READ: u64 = LARGEST_DOCUMENT as u64 + 1;

/// Why a policy file did not become a revision.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFileError {
    /// The file cannot be read, or is not UTF-8.
    #[error("the policy file cannot be read")]
    Unreadable(#[source] std::io::Error),
    /// All that is wrong with it.
    #[error("the policy file has {} faults", .0.len())]
    Faults(Vec<PolicyFault>),
    /// Others wrote revisions at the same time, twice.
    #[error("others are writing policy at the same time")]
    Conflict,
    /// The store failed.
    #[error("the policy cannot be written to the store")]
    Store(#[from] StoreError),
}

/// Makes a text the store's current revision, by author `file:<file_name>`. A text that says what is current already writes nothing.
pub async fn load(
    store: &Store,
    text: &str,
    file_name: &str,
    rules: &PolicyRules,
) -> Result<Written, PolicyFileError> {
    let (policy, document) = rules.read(text).map_err(PolicyFileError::Faults)?;
    let objects = to_objects(&policy, &document);
    let author = format!("file:{file_name}");
    let mut parent = store.current_revision().await?;
    // Another replica that loads the same file may come first; then the second attempt finds nothing to write.
    for _attempt in 0..2 {
        let written = store
            .write_revision(parent, &author, "loaded from the policy file", &objects)
            .await?;
        match written {
            Written::Revision(_) | Written::Unchanged(_) => return Ok(written),
            Written::Conflict(current) => parent = current,
            // It comes of no draft.
            Written::Overtaken => break,
        }
    }
    Err(PolicyFileError::Conflict)
}

/// A policy file that is followed.
#[derive(Clone)]
pub struct FollowedFile {
    /// Where revisions go.
    pub store: Store,
    /// The file.
    pub path: PathBuf,
    /// What it has to comply with.
    pub rules: PolicyRules,
}

/// Which contents were seen and dealt with. A content counts only when it is seen twice in a row, since half a file that is just being
/// written could be a valid policy without its deny rules.
struct Watched {
    seen: Option<String>,
    done: Option<String>,
}

impl Watched {
    /// After this content was dealt with.
    fn of(content: String) -> Self {
        Self {
            seen: None,
            done: Some(content),
        }
    }

    /// Whether this content has to be loaded now.
    fn is_due(&mut self, content: &str) -> bool {
        if self.done.as_deref() == Some(content) {
            self.seen = None;
            return false;
        }
        let is_settled = self.seen.as_deref() == Some(content);
        if !is_settled {
            self.seen = Some(content.to_owned());
        }
        is_settled
    }

    /// It was loaded or found faulty: either way it is not looked at again.
    fn mark_done(&mut self) {
        self.done = self.seen.take();
    }
}

impl FollowedFile {
    /// Never returns. What was `loaded` before is not loaded again. `on_load` hears of every attempt (for metrics); faults are logged here, each
    /// with its line and key.
    pub async fn follow(
        self,
        loaded: String,
        on_load: impl Fn(&Result<Written, PolicyFileError>) + Send + Sync,
    ) {
        let mut watched = Watched::of(loaded);
        let mut is_failing = false;
        loop {
            let outcome = match read(&self.path).await {
                Ok(content) if watched.is_due(&content) => Some(self.load(&content).await),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            };
            if let Some(outcome) = outcome {
                // The store and the file may be back in a second; a content that was judged stays judged.
                let is_passing = matches!(
                    outcome,
                    Err(PolicyFileError::Store(_)
                        | PolicyFileError::Conflict
                        | PolicyFileError::Unreadable(_))
                );
                if !is_passing {
                    watched.mark_done();
                }
                if !(is_passing && is_failing) {
                    self.log(&outcome);
                }
                is_failing = is_passing;
                on_load(&outcome);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Makes a content of the file the store's current revision.
    pub async fn load(&self, content: &str) -> Result<Written, PolicyFileError> {
        let name = self.path.file_name().map(|name| name.to_string_lossy());
        let name = name.as_deref().unwrap_or_default();
        load(&self.store, content, name, &self.rules).await
    }

    fn log(&self, outcome: &Result<Written, PolicyFileError>) {
        let file = self.path.display();
        match outcome {
            Ok(Written::Revision(revision)) => {
                tracing::info!(%file, revision = revision.0, "the policy file is a new revision");
            }
            Ok(Written::Unchanged(_) | Written::Conflict(_) | Written::Overtaken) => {}
            Err(PolicyFileError::Faults(faults)) => {
                for fault in faults {
                    let PolicyFault {
                        line,
                        column,
                        key,
                        message,
                    } = fault;
                    tracing::error!(%file, line, column, key, fault = message, "the policy file has a fault; the last good policy stays in force");
                }
            }
            Err(error) => {
                tracing::error!(%file, error = %Causes(&error), "the policy file could not be loaded; the last good policy stays in force");
            }
        }
    }
}

/// Reads a policy file, and no more of it than can be a policy.
pub async fn read(path: &std::path::Path) -> Result<String, PolicyFileError> {
    let mut content = Vec::new();
    let file = tokio::fs::File::open(path)
        .await
        .map_err(PolicyFileError::Unreadable)?;
    file.take(MAX_READ)
        .read_to_end(&mut content)
        .await
        .map_err(PolicyFileError::Unreadable)?;
    if content.len() > LARGEST_DOCUMENT {
        // Cut off in the middle of a character, perhaps; its size is what is wrong with it.
        return Ok(String::from_utf8_lossy(&content).into_owned());
    }
    let not_text = |fault| std::io::Error::new(std::io::ErrorKind::InvalidData, fault);
    String::from_utf8(content).map_err(|fault| PolicyFileError::Unreadable(not_text(fault)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_due_once_when_it_has_settled() {
        let mut watched = Watched::of("at start".to_owned());
        assert!(!watched.is_due("at start") && !watched.is_due("at start"));
        assert!(!watched.is_due("a"));
        assert!(watched.is_due("a"));
        // Loading failed for want of the store: it is due again.
        assert!(watched.is_due("a"));
        watched.mark_done();
        assert!(!watched.is_due("a"));
        // A half-written content is passed over.
        assert!(!watched.is_due("a, b"));
        assert!(!watched.is_due("a, b, c"));
        assert!(watched.is_due("a, b, c"));
        watched.mark_done();
        // Back to an earlier one.
        assert!(!watched.is_due("a"));
        assert!(watched.is_due("a"));
    }

    fn needs_send(_task: impl Future<Output = ()> + Send + 'static) {}

    #[test]
    fn following_can_be_spawned() {
        let _proof = |file: FollowedFile| needs_send(file.follow(String::new(), |_outcome| ()));
    }

    #[tokio::test]
    async fn a_file_is_read_up_to_its_bound() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.yaml");
        assert!(matches!(
            read(&path).await,
            Err(PolicyFileError::Unreadable(_))
        ));
        std::fs::write(&path, "x".repeat(LARGEST_DOCUMENT + 2)).unwrap();
        assert_eq!(read(&path).await.unwrap().len(), LARGEST_DOCUMENT + 1);
        std::fs::write(&path, [0xff]).unwrap();
        assert!(matches!(
            read(&path).await,
            Err(PolicyFileError::Unreadable(_))
        ));
    }
}
