//! Roles of AWS as AWS itself names them: accounts, ARNs of roles, and what STS calls somebody who has assumed one.

/// Digits of an account's number.
const ACCOUNT: usize = 12;
/// Most characters of a role's name, and of a session's.
const LONGEST_NAME: usize = 64;

/// A part of AWS that shares no accounts with the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partition {
    /// All regions but those below.
    Aws,
    /// China.
    China,
    /// GovCloud of the United States.
    GovCloud,
}

impl Partition {
    /// As ARNs have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::China => "aws-cn",
            Self::GovCloud => "aws-us-gov",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let all = [Self::Aws, Self::China, Self::GovCloud];
        all.into_iter().find(|known| known.as_str() == text)
    }

    /// The one that a region is in (`eu-central-1`), if the text can be a region's name.
    pub fn of_region(region: &str) -> Option<Self> {
        let parts: Vec<&str> = region.split('-').collect();
        let (number, words) = parts.split_last()?;
        let is_word = |word: &&str| {
            (2..=12).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_lowercase())
        };
        let is_number = (1..=2).contains(&number.len()) && is_digits(number);
        if !is_number || !(2..=3).contains(&words.len()) || !words.iter().all(is_word) {
            return None;
        }
        match words {
            ["cn", ..] => Some(Self::China),
            ["us", "gov", ..] => Some(Self::GovCloud),
            // Regions of partitions that nobody but governments reaches.
            [_, "iso" | "isob" | "isoe" | "isof", ..] | ["eusc", ..] => None,
            _ => Some(Self::Aws),
        }
    }
}

/// Somebody who has assumed a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssumedRole {
    /// Where the account is.
    pub partition: Partition,
    /// The account's number.
    pub account: String,
    /// The role's name, which is unique in its account; AWS leaves out its path here.
    pub role: String,
    /// What whoever assumed the role calls the session; on an instance of EC2 its id.
    pub session: String,
}

impl AssumedRole {
    /// Reads what STS calls somebody: `arn:aws:sts::123456789012:assumed-role/ROLE/SESSION`. Users, federated users and the account itself are no roles.
    pub fn parse(arn: &str) -> Option<Self> {
        let mut parts = arn.splitn(6, ':');
        let (is_arn, partition) = (parts.next() == Some("arn"), parts.next()?);
        let is_global = parts.next() == Some("sts") && parts.next() == Some("");
        let (account, resource) = (parts.next()?, parts.next()?);
        let (role, session) = resource.strip_prefix("assumed-role/")?.split_once('/')?;
        let is_sound = is_arn && is_global && is_account(account);
        if !is_sound || !is_name(role) || !is_name(session) {
            return None;
        }
        Some(Self {
            partition: Partition::parse(partition)?,
            account: account.to_owned(),
            role: role.to_owned(),
            session: session.to_owned(),
        })
    }

    /// The role's own ARN, without the path that it may have: `arn:aws:iam::123456789012:role/ROLE`.
    pub fn role_arn(&self) -> String {
        let partition = self.partition.as_str();
        format!("arn:{partition}:iam::{}:role/{}", self.account, self.role)
    }
}

/// The name of a role within its ARN, or the beginning of one, where the text has the account whole.
pub fn role_name(arn: &str) -> Option<&str> {
    let (partition, rest) = arn.strip_prefix("arn:")?.split_once(":iam::")?;
    let (account, name) = rest.split_once(":role/")?;
    let is_sound = Partition::parse(partition).is_some() && is_account(account);
    let is_beginning = name.is_empty() || is_name(name);
    (is_sound && is_beginning).then_some(name)
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_account(text: &str) -> bool {
    text.len() == ACCOUNT && is_digits(text)
}

/// Roles and sessions have letters, digits and `_+=,.@-`.
fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_assumed_role_is_read_and_nobody_else_is_one() {
        let read = AssumedRole::parse("arn:aws:sts::123456789012:assumed-role/deploy/run=1.a@b");
        let read = read.unwrap();
        assert_eq!((&*read.role, &*read.session), ("deploy", "run=1.a@b"));
        assert_eq!(read.role_arn(), "arn:aws:iam::123456789012:role/deploy");
        for (partition, arn) in [
            (Partition::China, "aws-cn"),
            (Partition::GovCloud, "aws-us-gov"),
        ] {
            let arn = format!("arn:{arn}:sts::123456789012:assumed-role/a/b");
            assert_eq!(AssumedRole::parse(&arn).unwrap().partition, partition);
        }
        for bad in [
            "arn:aws:iam::123456789012:user/alice",
            "arn:aws:iam::123456789012:role/deploy",
            "arn:aws:iam::123456789012:root",
            "arn:aws:sts::123456789012:federated-user/alice",
            "arn:aws:sts::123456789012:assumed-role/deploy",
            "arn:aws:sts::123456789012:assumed-role/deploy/",
            "arn:aws:sts::123456789012:assumed-role//run",
            "arn:aws:sts::123456789012:assumed-role/path/deploy/run",
            "arn:aws:sts::12345678901:assumed-role/deploy/run",
            "arn:aws:sts:eu-west-1:123456789012:assumed-role/deploy/run",
            "arn:aws-iso:sts::123456789012:assumed-role/deploy/run",
            "arn:aws:sts::123456789012:assumed-role/deploy/run ",
            " arn:aws:sts::123456789012:assumed-role/deploy/run",
            "",
        ] {
            assert_eq!(AssumedRole::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn regions_are_known_by_their_shape() {
        for (region, partition) in [
            ("us-east-1", Some(Partition::Aws)),
            ("ap-southeast-5", Some(Partition::Aws)),
            ("mx-central-1", Some(Partition::Aws)),
            ("cn-northwest-1", Some(Partition::China)),
            ("us-gov-west-1", Some(Partition::GovCloud)),
            ("us-iso-east-1", None),
            ("eusc-de-east-1", None),
            ("us-east", None),
            ("us-east-1a", None),
            ("us-east-", None),
            ("-east-1", None),
            ("US-EAST-1", None),
            ("us.east-1", None),
            ("compute-1", None),
            ("", None),
        ] {
            assert_eq!(Partition::of_region(region), partition, "{region}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_names_one_role(text in "arn:aws(-cn)?:sts::[0-9]{11,13}:assumed-role/[a-zA-Z0-9/+=,.@:-]{0,70}") {
            if let Some(read) = AssumedRole::parse(&text) {
                let arn = read.role_arn();
                prop_assert_eq!(role_name(&arn), Some(&*read.role));
                let partition = read.partition.as_str();
                let again = format!("arn:{partition}:sts::{}:assumed-role/{}/{}", read.account, read.role, read.session);
                prop_assert_eq!(again, text);
            }
        }
    }
}
