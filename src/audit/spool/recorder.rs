//! What one thread writes to the spool.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::hash::BuildHasher;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::audit::decision::{Decision, template};
use crate::audit::spool::format::{COUNT_AT, Record, counted, write};
use crate::audit::spool::{CLOSED, OPEN, Spool, SpoolError, Writing, lock};
use crate::clock::Timestamp;
use crate::identity::principal::Principal;
use crate::telemetry::causes::Causes;

/// A segment of so many bytes is ended.
const LARGE: u64 = 8 * 1024 * 1024;
/// A segment is ended after this long, unless others wait already.
const OLD: Duration = Duration::from_secs(1);
/// One of more bytes than these is after this long: where there is much traffic, more of it is alike in a longer time.
const BUSY: u64 = 128 * 1024;
const OLD_AND_BUSY: Duration = Duration::from_secs(10);
/// So many denials of one caller in one segment are written one by one; more are counted.
const ONE_BY_ONE: u32 = 100;

/// So many records of one caller in one segment have their own path; the others have [`ANY_PATH`].
const PATHS: u32 = 1000;
/// Stands for every path of whoever could ask for any number of them, and so fill the disk: strangers, and people who do.
const ANY_PATH: &str = "/{**}";

/// Records the decisions of one thread.
pub struct Recorder {
    spool: Spool,
    segment: RefCell<Option<Segment>>,
}

/// A request that was decided about, and by whom it was sent.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The decision's id.
    pub id: &'a str,
    /// When.
    pub at: Timestamp,
    /// Tells callers apart for as long as the process runs; one whose principal changes has another number from then on.
    pub caller: u64,
    /// `None`: nobody is signed in.
    pub principal: Option<&'a Principal>,
    /// What logs call the session.
    pub session: Option<&'a str>,
    /// Why it was refused; empty where it was not.
    pub reason: &'static str,
    /// The rule that decided.
    pub rule: Option<&'a Arc<str>>,
    /// The policy revision.
    pub revision: i64,
    /// The route's name.
    pub route: &'a Arc<str>,
    /// The host as it was asked for.
    pub host: &'a str,
    /// The method.
    pub method: &'a str,
    /// The path without its query.
    pub path: &'a str,
    /// The connection's other end.
    pub peer: IpAddr,
    /// The mesh identity that it is forwarded under.
    pub mesh_identity: Option<&'a str>,
}

/// What makes two requests alike.
#[derive(PartialEq, Eq, Hash)]
struct Key<'a> {
    caller: u64,
    revision: i64,
    reason: &'static str,
    template: &'a str,
    host: &'a str,
    method: &'a str,
    route: &'a str,
    rule: Option<&'a str>,
    peer: IpAddr,
}

/// A record of the segment.
struct Known {
    caller: u64,
    revision: i64,
    reason: &'static str,
    template: Box<str>,
    host: Box<str>,
    method: Box<str>,
    route: Arc<str>,
    rule: Option<Arc<str>>,
    peer: IpAddr,
    /// Where its count stands.
    count_at: u64,
    count: i64,
}

struct Segment {
    path: PathBuf,
    writing: Arc<Writing>,
    length: u64,
    begun: Timestamp,
    people: HashMap<u64, Person, foldhash::fast::RandomState>,
    /// By [`Key`], which is borrowed of what is compared: what is counted once more costs no memory.
    known: HashTable<Known>,
    hasher: foldhash::quality::RandomState,
    /// The template of the request at hand.
    template: String,
}

#[derive(Clone, Copy)]
struct Person {
    number: u32,
    denials: u32,
    records: u32,
}

impl Recorder {
    pub(super) fn new(spool: Spool) -> Self {
        Self {
            spool,
            segment: RefCell::default(),
        }
    }

    /// Writes a decision down; when this returns `Ok`, a kill does not lose it.
    pub fn record(&self, asked: &Asked<'_>) -> Result<(), SpoolError> {
        let mut current = self.segment.borrow_mut();
        let segment = match &mut *current {
            Some(segment) => segment,
            none @ None => none.insert(Segment::begin(&self.spool, asked.at)?),
        };
        let outcome = segment.record(&self.spool, asked);
        if segment.length >= LARGE {
            self.end(current.take());
        }
        outcome
    }

    /// Ends a segment that is old enough to be shipped. To be called every now and then.
    pub fn tidy(&self, now: Timestamp) {
        let mut current = self.segment.borrow_mut();
        let is_old = |segment: &Segment| {
            let old = if segment.length > BUSY {
                OLD_AND_BUSY
            } else {
                OLD
            };
            now.since(segment.begun) >= old
        };
        if current.as_ref().is_some_and(is_old) && !self.spool.has_waiting() {
            self.end(current.take());
        }
    }

    fn end(&self, segment: Option<Segment>) {
        let Some(segment) = segment else {
            return;
        };
        // What was written last is made safe by whoever does so for all: no request waits for a disk.
        segment.writing.is_ended.store(true, Ordering::Release);
        let closed = segment.path.with_extension(CLOSED);
        match std::fs::rename(&segment.path, &closed) {
            Ok(()) => lock(&self.spool.0.closed).push_back(closed),
            Err(error) => {
                tracing::error!(error = %Causes(&error), "a segment of the spool cannot be ended; it is shipped after the next start");
            }
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let segment = self.segment.take();
        self.end(segment);
    }
}

impl Segment {
    fn begin(spool: &Spool, now: Timestamp) -> io::Result<Self> {
        let name = format!("{}.{OPEN}", uuid::Uuid::now_v7());
        let path = spool.0.folder.join(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let writing = Arc::new(Writing {
            file,
            is_dirty: AtomicBool::new(false),
            is_ended: AtomicBool::new(false),
        });
        lock(&spool.0.open).push(Arc::clone(&writing));
        Ok(Self {
            path,
            writing,
            length: 0,
            begun: now,
            people: HashMap::default(),
            known: HashTable::new(),
            hasher: foldhash::quality::RandomState::default(),
            template: String::new(),
        })
    }

    fn record(&mut self, spool: &Spool, asked: &Asked<'_>) -> Result<(), SpoolError> {
        let person = self.people.get(&asked.caller).copied();
        let mut text = std::mem::take(&mut self.template);
        text.clear();
        if may_have_a_path(asked, person) {
            template(asked.path, &mut text);
        } else {
            text.push_str(ANY_PATH);
        }
        let recorded = self.record_as(spool, asked, person, &text);
        self.template = text;
        recorded
    }

    fn record_as(
        &mut self,
        spool: &Spool,
        asked: &Asked<'_>,
        person: Option<Person>,
        template: &str,
    ) -> Result<(), SpoolError> {
        let key = Key::new(asked, template);
        let hash = self.hasher.hash_one(&key);
        if !is_told_apart(asked, person)
            && let Some(known) = self.known.find_mut(hash, |known| known.key() == key)
        {
            known.count += 1;
            let counted = counted(known.count, asked.at.micros());
            self.writing.file.write_all_at(&counted, known.count_at)?;
            self.writing.is_dirty.store(true, Ordering::Relaxed);
            return Ok(());
        }
        let at = self.append(spool, asked, person, template)?;
        let known = Known::new(&key, asked, at + COUNT_AT as u64);
        let hasher = &self.hasher;
        match self.known.entry(
            hash,
            |other| other.key() == key,
            |other| hasher.hash_one(other.key()),
        ) {
            // Told apart so far: what is counted from here on is counted at the last.
            Entry::Occupied(mut former) => *former.get_mut() = known,
            Entry::Vacant(room) => {
                room.insert(known);
            }
        }
        Ok(())
    }

    /// Where the record stands.
    fn append(
        &mut self,
        spool: &Spool,
        asked: &Asked<'_>,
        mut person: Option<Person>,
        template: &str,
    ) -> Result<u64, SpoolError> {
        let at = asked.at.micros();
        let mut bytes = Vec::with_capacity(1024);
        let next = u32::try_from(self.people.len()).unwrap_or(u32::MAX);
        if let (None, Some(principal)) = (person, asked.principal) {
            let record: Record<&Principal, ()> = Record::Principal(next, principal);
            write(&mut bytes, &record, at)?;
            person = Some(Person {
                number: next,
                denials: 0,
                records: 0,
            });
        }
        let place = bytes.len() as u64;
        let number = person.map(|person| person.number);
        let decision = decision(asked, template);
        let record: Record<(), &Decision> = Record::Decision(number, at, &decision);
        write(&mut bytes, &record, at)?;
        let length = bytes.len() as u64;
        spool.take_room(length)?;
        if let Err(error) = self.writing.file.write_all_at(&bytes, self.length) {
            // What was written of it is written over.
            spool.0.used.fetch_sub(length, Ordering::Relaxed);
            return Err(error.into());
        }
        self.writing.is_dirty.store(true, Ordering::Relaxed);
        if let Some(mut person) = person {
            person.denials += u32::from(!asked.reason.is_empty());
            person.records += 1;
            self.people.insert(asked.caller, person);
        }
        let record_at = self.length + place;
        self.length += length;
        Ok(record_at)
    }
}

impl<'a> Key<'a> {
    fn new(asked: &Asked<'a>, template: &'a str) -> Self {
        Self {
            caller: asked.caller,
            revision: asked.revision,
            reason: asked.reason,
            template,
            host: asked.host,
            method: asked.method,
            route: asked.route,
            rule: asked.rule.map(|rule| &**rule),
            peer: asked.peer,
        }
    }
}

impl Known {
    fn new(key: &Key<'_>, asked: &Asked<'_>, count_at: u64) -> Self {
        Self {
            caller: key.caller,
            revision: key.revision,
            reason: key.reason,
            template: key.template.into(),
            host: key.host.into(),
            method: key.method.into(),
            route: Arc::clone(asked.route),
            rule: asked.rule.cloned(),
            peer: key.peer,
            count_at,
            count: 1,
        }
    }

    fn key(&self) -> Key<'_> {
        Key {
            caller: self.caller,
            revision: self.revision,
            reason: self.reason,
            template: &self.template,
            host: &self.host,
            method: &self.method,
            route: &self.route,
            rule: self.rule.as_deref(),
            peer: self.peer,
        }
    }
}

fn may_have_a_path(asked: &Asked<'_>, person: Option<Person>) -> bool {
    asked.principal.is_some() && person.is_none_or(|person| person.records < PATHS)
}

/// Denials of people are, so that each decision can be explained; those of nobody could come from anywhere in any number.
fn is_told_apart(asked: &Asked<'_>, person: Option<Person>) -> bool {
    let denials = person.map_or(0, |person| person.denials);
    !asked.reason.is_empty() && asked.principal.is_some() && denials < ONE_BY_ONE
}

fn decision(asked: &Asked<'_>, template: &str) -> Decision {
    Decision {
        id: asked.id.to_owned(),
        is_allowed: asked.reason.is_empty(),
        reason: asked.reason.to_owned(),
        rule: asked.rule.cloned(),
        revision: asked.revision,
        route: Arc::clone(asked.route),
        host: asked.host.to_owned(),
        method: asked.method.to_owned(),
        path: asked.path.to_owned(),
        template: template.to_owned(),
        peer: asked.peer,
        session: asked.session.map(str::to_owned),
        mesh_identity: asked.mesh_identity.map(str::to_owned),
    }
}
