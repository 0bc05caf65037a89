//! Where a list goes on. A cursor is of a type of its own and read as such: a number stays a number, and nothing of it ever becomes SQL text.

use crate::console::answer::Refused;
use crate::console::link;
use crate::store::After;
use crate::web::parameters::Parameters;

/// Reads a number of a query.
pub fn number(text: &str) -> Result<i64, Refused> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = is_plain.then(|| text.parse().ok()).flatten();
    parsed.ok_or_else(|| Refused::Unreadable("The place in the list is no number.".to_owned()))
}

/// How many of a list come before its page, by the parameter `name`; none where it is not given.
pub fn position(query: &Parameters, name: &str) -> Result<usize, Refused> {
    let given = query.one(name).map(number).transpose()?;
    Ok(given.map_or(0, |given| usize::try_from(given).unwrap_or_default()))
}

/// Where the pages before and after one begin that begins at `from`, of a list of `all`.
pub fn beside(from: usize, page: usize, all: usize) -> (Option<usize>, Option<usize>) {
    let next = from.saturating_add(page);
    let before = (from > 0).then(|| from.saturating_sub(page));
    (before, (next < all).then_some(next))
}

/// A moment and an id, since several things can have the same time; the id is of digits and lower-case letters.
impl After {
    /// Reads what [`Self::text`] wrote.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let senseless = || Refused::Unreadable("The place in the list cannot be read.".to_owned());
        let (at, id) = text.split_once('-').ok_or_else(senseless)?;
        let is_id = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
        if id.len() > 64 || !id.bytes().all(is_id) {
            return Err(senseless());
        }
        Ok(Self {
            at: number(at)?,
            id: id.to_owned(),
        })
    }

    /// For a query.
    pub fn text(&self) -> String {
        format!("{}-{}", self.at, self.id)
    }
}

/// Cuts a list that was read with one more than a page has: the page, and whether there is more.
pub fn split<T>(mut found: Vec<T>, page: i64) -> (Vec<T>, bool) {
    let page = usize::try_from(page).unwrap_or_default();
    let is_more = found.len() > page;
    found.truncate(page);
    (found, is_more)
}

/// What is asked of a list that is searched, and goes on page by page.
pub struct Listing {
    path: &'static str,
    /// The text that is looked for, as it was typed.
    pub contains: String,
    /// Where this page begins.
    pub after: Option<After>,
}

impl Listing {
    /// Reads a query of the list at this path.
    pub fn of(path: &'static str, query: &Parameters) -> Result<Self, Refused> {
        Ok(Self {
            path,
            contains: query.one("q").unwrap_or_default().to_owned(),
            after: query.one("after").map(After::parse).transpose()?,
        })
    }

    /// The text that is looked for, if there is any.
    pub fn wanted(&self) -> Option<&str> {
        Some(self.contains.as_str()).filter(|text| !text.is_empty())
    }

    /// Cuts what was read with one more than a page has: the page, and the address of the next.
    pub fn page<T>(
        &self,
        found: Vec<T>,
        page: i64,
        place: impl Fn(&T) -> After,
    ) -> (Vec<T>, Option<String>) {
        let (found, is_more) = split(found, page);
        let last = found.last().filter(|_| is_more);
        let older = last.map(|last| {
            let parameters = [
                ("q", self.contains.as_str()),
                ("after", &place(last).text()),
            ];
            link::with_query(self.path, &parameters)
        });
        (found, older)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k5_cursors_are_typed() {
        let after = After {
            at: 17,
            id: "00ab".to_owned(),
        };
        assert_eq!(After::parse(&after.text()).unwrap(), after);
        assert_eq!(number("42").unwrap(), 42);
        for bad in [
            "",
            "-1",
            "1'",
            "1;",
            "1 OR 1=1",
            "+1",
            "0x1",
            "1e3",
            "99999999999999999999",
            "١",
        ] {
            assert!(number(bad).is_err(), "{bad}");
            assert!(After::parse(&format!("{bad}-00")).is_err(), "{bad}");
        }
        for bad in ["1", "1-'", "1-a;b", "1-A", "1-\u{e9}", "1-a-b"] {
            assert!(After::parse(bad).is_err(), "{bad}");
        }
        assert!(After::parse(&format!("1-{}", "a".repeat(65))).is_err());
    }
}
