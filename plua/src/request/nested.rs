//! Fields whose names say which tables they belong into, as forms written for PHP name them: `a[b][]=1`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Tables inside of one another at most.
pub const DEEPEST: usize = 32;

/// Longest whole number, in digits, that is a number as a key: every Lua holds each of them exactly.
const LONGEST_NUMBER: usize = 15;

/// A key of a table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// A whole number, not below 0: what `[]` counts, or one that is written in brackets.
    Number(i64),
    /// Any other name.
    Text(Vec<u8>),
}

/// What stands under a key.
pub enum Node<V> {
    /// A field's value.
    Value(V),
    /// Another table.
    Table(Tree<V>),
}

/// A table of fields.
pub struct Tree<V> {
    /// What it holds.
    pub entries: HashMap<Key, Node<V>>,
    /// Highest number among its keys.
    highest: i64,
}

/// Why a field was not put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Its tables are inside of more than [`DEEPEST`].
    TooDeep,
    /// There would be more tables than allowed.
    TooMany,
}

impl<V> Default for Tree<V> {
    fn default() -> Tree<V> {
        Tree { entries: HashMap::new(), highest: 0 }
    }
}

impl<V> Tree<V> {
    /// The fields in tables of their names, no more than `most` tables. What comes later takes the place of what came before.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn of<'n>(fields: impl Iterator<Item = (&'n [u8], V)>, most: usize) -> Result<Tree<V>, Refusal> {
        let (mut tree, mut left) = (Tree::default(), most);
        for (name, value) in fields {
            let (first, inner) = parts(name)?;
            let mut place = &mut tree;
            let mut key = Key::Text(first.to_vec());
            for next in inner {
                place = place.table(key, &mut left)?;
                key = place.key(next);
            }
            place.entries.insert(key, Node::Value(value));
        }
        Ok(tree)
    }

    /// The table under a key, made where there is none.
    fn table(&mut self, key: Key, left: &mut usize) -> Result<&mut Tree<V>, Refusal> {
        let mut make = || {
            *left = left.checked_sub(1).ok_or(Refusal::TooMany)?;
            Ok(Node::Table(Tree::default()))
        };
        let node = match self.entries.entry(key) {
            Entry::Vacant(place) => place.insert(make()?),
            Entry::Occupied(place) => {
                let node = place.into_mut();
                if matches!(node, Node::Value(_)) {
                    *node = make()?;
                }
                node
            }
        };
        match node {
            Node::Table(table) => Ok(table),
            Node::Value(_) => unreachable!("a value was replaced above"),
        }
    }

    /// The key that is written in brackets as `text`.
    fn key(&mut self, text: &[u8]) -> Key {
        let number = match text {
            [] => self.highest + 1,
            _ => match whole(text) {
                Some(number) => number,
                None => return Key::Text(text.to_vec()),
            },
        };
        self.highest = self.highest.max(number);
        Key::Number(number)
    }
}

/// The parts of a name: what stands before its brackets, and in each of them. Where brackets do not fit, it is one name.
fn parts(name: &[u8]) -> Result<(&[u8], Vec<&[u8]>), Refusal> {
    let mut inner = Vec::new();
    let Some(first) = name.iter().position(|byte| *byte == b'[').filter(|first| *first > 0) else {
        return Ok((name, inner));
    };
    let mut rest = &name[first..];
    while let [b'[', after @ ..] = rest {
        let Some(end) = after.iter().position(|byte| *byte == b']') else { return Ok((name, Vec::new())) };
        if inner.len() == DEEPEST {
            return Err(Refusal::TooDeep);
        }
        inner.push(&after[..end]);
        rest = &after[end + 1..];
    }
    match rest {
        [] => Ok((&name[..first], inner)),
        _ => Ok((name, Vec::new())),
    }
}

/// The number that a text is, written as numbers are.
fn whole(text: &[u8]) -> Option<i64> {
    let is_number = match text {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => text.len() <= LONGEST_NUMBER && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    is_number.then(|| text.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree as text, keys in order: numbers as they are, text in quotes.
    fn shown(tree: &Tree<&str>) -> String {
        let mut entries: Vec<_> = tree.entries.iter().collect();
        entries.sort_by_key(|(key, _)| *key);
        let entries = entries.into_iter().map(|(key, node)| {
            let key = match key {
                Key::Number(number) => number.to_string(),
                Key::Text(text) => format!("'{}'", String::from_utf8_lossy(text)),
            };
            match node {
                Node::Value(value) => format!("{key}={value}"),
                Node::Table(table) => format!("{key}={}", shown(table)),
            }
        });
        format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
    }

    fn tree(fields: &[(&str, &'static str)], most: usize) -> Result<String, Refusal> {
        Tree::of(fields.iter().map(|(name, value)| (name.as_bytes(), *value)), most).map(|tree| shown(&tree))
    }

    #[test]
    fn names_with_brackets_become_tables() {
        for (fields, expected) in [
            (&[("a", "1"), ("b", "2")][..], "{'a'=1,'b'=2}"),
            (&[("a[]", "1"), ("a[]", "2"), ("b[]", "3")], "{'a'={1=1,2=2},'b'={1=3}}"),
            (&[("a[b][]", "1"), ("a[b][]", "2"), ("a[c]", "3")], "{'a'={'b'={1=1,2=2},'c'=3}}"),
            (&[("a[][x]", "1"), ("a[][x]", "2")], "{'a'={1={'x'=1},2={'x'=2}}}"),
            (&[("a[2]", "1"), ("a[]", "2"), ("a[0]", "3"), ("a[01]", "4")], "{'a'={0=3,2=1,3=2,'01'=4}}"),
            (&[("a[-1]", "1"), ("a[1.5]", "2"), ("a[ 1]", "3")], "{'a'={' 1'=3,'-1'=1,'1.5'=2}}"),
            (
                &[("a[999999999999999]", "1"), ("a[1000000000000000]", "2")],
                "{'a'={999999999999999=1,'1000000000000000'=2}}",
            ),
            (&[("1", "a"), ("1[1]", "b")], "{'1'={1=b}}"),
            (&[("a", "1"), ("a", "2")], "{'a'=2}"),
            (&[("a", "1"), ("a[b]", "2")], "{'a'={'b'=2}}"),
            (&[("a[b]", "1"), ("a", "2")], "{'a'=2}"),
            (&[("a[b[c]", "1")], "{'a'={'b[c'=1}}"),
        ] {
            assert_eq!(tree(fields, 100).as_deref(), Ok(expected), "{fields:?}");
        }
    }

    #[test]
    fn brackets_that_do_not_fit_are_part_of_the_name() {
        for name in ["[a]", "[]", "a[", "a[b", "a[b]c", "a[b]c[d]", "a]", "a[b][", "", "a]["] {
            assert_eq!(tree(&[(name, "1")], 100), Ok(format!("{{'{name}'=1}}")));
        }
    }

    #[test]
    fn tables_are_as_many_and_as_deep_as_they_may_be_and_no_more() {
        let deep = |levels| format!("a{}", "[b]".repeat(levels));
        assert!(tree(&[(&deep(DEEPEST), "1")], DEEPEST).is_ok());
        assert_eq!(tree(&[(&deep(DEEPEST), "1")], DEEPEST - 1), Err(Refusal::TooMany));
        assert_eq!(tree(&[(&deep(DEEPEST + 1), "1")], 100), Err(Refusal::TooDeep));
        assert!(tree(&[("a[]", "1"), ("a[]", "2"), ("b", "3"), ("a[]", "4")], 1).is_ok());
    }
}
