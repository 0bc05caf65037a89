//! The form of a segment: records one after another, each with a head of fixed size.
//!
//! The head is 32 bytes, little-endian: the text's length (u32), four bytes of nothing, how often (i64), when last (i64, microseconds), and
//! the first eight bytes of the text's SHA-256. Count and time are written anew in place when the same happens again. A record that was
//! cut short by a crash does not agree with its hash, and ends the segment.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::audit::decision::{Decided, Decision};
use crate::identity::principal::Principal;
use crate::secret::sha256;

/// Bytes of a record's head.
pub(super) const HEAD: usize = 32;
/// Where in a record's head the count stands, then the time, then the hash.
pub(super) const COUNT_AT: usize = 8;
const TIME_AT: usize = 16;
const HASH_AT: usize = 24;

/// What is written in a segment.
#[derive(Serialize, Deserialize)]
pub(super) enum Record<P, D> {
    /// Somebody whom later decisions of the segment name by this number.
    Principal(u32, P),
    /// What was decided about whom, and when first.
    Decision(Option<u32>, i64, D),
}

/// Count and time, as they stand in the head.
pub(super) fn counted(count: i64, last_at: i64) -> [u8; 16] {
    let mut bytes = [0; 16];
    let (first, second) = bytes.split_at_mut(8);
    first.copy_from_slice(&count.to_le_bytes());
    second.copy_from_slice(&last_at.to_le_bytes());
    bytes
}

/// Appends a record.
pub(super) fn write<P: Serialize, D: Serialize>(
    into: &mut Vec<u8>,
    record: &Record<P, D>,
    at: i64,
) -> std::io::Result<()> {
    let text = serde_json::to_vec(record)?;
    let length = u32::try_from(text.len()).map_err(std::io::Error::other)?;
    into.extend_from_slice(&length.to_le_bytes());
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(&counted(1, at));
    into.extend_from_slice(&digest(&text));
    into.extend_from_slice(&text);
    Ok(())
}

/// What a segment holds.
#[derive(Debug, Default)]
pub struct Contents {
    /// Every decision, up to where the segment cannot be read any more.
    pub decided: Vec<Decided>,
    /// Bytes from there on; room that nothing was written in does not count.
    pub unread: usize,
    /// What is wrong with the next record; `None` where it was cut short.
    pub why: Option<serde_json::Error>,
}

/// Counts beyond this are no counts: the head is not under the hash.
const LARGEST_COUNT: i64 = 1 << 40;

/// Reads a segment.
pub(super) fn read(mut bytes: &[u8]) -> Contents {
    let mut people: HashMap<u32, Arc<Principal>> = HashMap::new();
    let (mut decided, mut why) = (Vec::new(), None);
    while let Some((head, text, rest)) = next(bytes) {
        let record = match serde_json::from_slice::<Record<Principal, Decision>>(text) {
            Ok(record) => record,
            Err(error) => {
                why = Some(error);
                break;
            }
        };
        bytes = rest;
        match record {
            Record::Principal(number, principal) => {
                people.insert(number, Arc::new(principal));
            }
            Record::Decision(number, first_at, decision) => decided.push(Decided {
                principal: number.and_then(|number| people.get(&number).cloned()),
                decision,
                count: number_at(head, COUNT_AT),
                first_at,
                last_at: number_at(head, TIME_AT),
            }),
        }
    }
    let written = bytes.iter().rposition(|byte| *byte != 0);
    Contents {
        decided,
        unread: written.map_or(0, |last| last + 1),
        why,
    }
}

fn next(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let length = u32::from_le_bytes(head.first_chunk().copied()?);
    let (text, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    let is_whole = !text.is_empty()
        && head.get(HASH_AT..) == Some(&digest(text))
        && (1..=LARGEST_COUNT).contains(&number_at(head, COUNT_AT));
    is_whole.then_some((head, text, rest))
}

fn number_at(head: &[u8], at: usize) -> i64 {
    let bytes = head.get(at..).and_then(<[u8]>::first_chunk);
    bytes.copied().map_or(0, i64::from_le_bytes)
}

fn digest(text: &[u8]) -> [u8; 8] {
    let hash = sha256(text);
    hash.first_chunk().copied().unwrap_or_default()
}
