//! Fold classes of CATH: the numbering that networks know them by.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The fold class of a chain: indices into the classes of the levels C, A and T; `None` where it is not told.
pub type Fold = [Option<u32>; 3];

/// The classes of each level, in the order of their codes; a class's index is its place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FoldClasses {
    /// Codes of the levels C (`1`), A (`1.10`), T (`1.10.8`), each ascending as text.
    pub levels: [Vec<String>; 3],
}

impl FoldClasses {
    /// The classes that occur in these codes.
    pub fn from_codes<'a>(codes: impl IntoIterator<Item = &'a str>) -> Self {
        let mut levels: [BTreeSet<String>; 3] = Default::default();
        for code in codes {
            for (level, prefix) in levels.iter_mut().zip(prefixes(code)) {
                level.insert(prefix.to_string());
            }
        }
        FoldClasses { levels: levels.map(|level| level.into_iter().collect()) }
    }

    /// The class of a code such as `1.10.8.10`: from the first level on that is not given (`x`) or not among the
    /// classes it is not told.
    pub fn fold(&self, code: &str) -> Fold {
        let mut fold = Fold::default();
        for ((index, level), prefix) in fold.iter_mut().zip(&self.levels).zip(prefixes(code)) {
            match level.binary_search_by(|class| class.as_str().cmp(prefix)) {
                Ok(place) => *index = Some(place as u32),
                Err(_) => break,
            }
        }
        fold
    }

    /// Whether the classes can be searched: each level ascending.
    pub fn is_sorted(&self) -> bool {
        self.levels.iter().all(|level| level.windows(2).all(|pair| pair[0] < pair[1]))
    }
}

/// The code cut after C, A, T, as far as numbers go.
fn prefixes(code: &str) -> impl Iterator<Item = &str> {
    let mut end = 0;
    let mut levels = code.split('.');
    (0..3).map_while(move |level| {
        let number = levels.next().filter(|number| is_number(number))?;
        end += number.len() + usize::from(level > 0);
        Some(&code[..end])
    })
}

/// A CATH code: one to four numbers, the later ones perhaps `x`.
pub(super) fn is_code(text: &str) -> bool {
    let levels: Vec<&str> = text.split('.').collect();
    levels.len() <= 4 && is_number(levels[0]) && levels.iter().all(|level| is_number(level) || *level == "x")
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_numbered_in_the_order_of_their_codes() {
        let classes = FoldClasses::from_codes(["3.40.50.300", "1.10.8.10", "1.10.490", "1.x.x", "3.40"]);
        assert_eq!(classes.levels[0], ["1", "3"]);
        assert_eq!(classes.levels[1], ["1.10", "3.40"]);
        assert_eq!(classes.levels[2], ["1.10.490", "1.10.8", "3.40.50"]);
        assert!(classes.is_sorted());
        assert_eq!(classes.fold("1.10.8.77"), [Some(0), Some(0), Some(1)]);
        assert_eq!(classes.fold("3.40"), [Some(1), Some(1), None]);
        assert_eq!(classes.fold("3.40.99"), [Some(1), Some(1), None]);
        assert_eq!(classes.fold("3.x.50"), [Some(1), None, None]);
        assert_eq!(classes.fold("9.40.50"), [None; 3]);
        assert_eq!(classes.fold(""), [None; 3]);
    }

    #[test]
    fn codes_are_told_from_other_words() {
        for code in ["1", "1.10.8.10", "2.x.x.x", "3.40.50"] {
            assert!(is_code(code), "{code}");
        }
        for other in ["", "-", "1oaiA00", "x.1", "1.2.3.4.5", "1..2"] {
            assert!(!is_code(other), "{other}");
        }
    }
}
