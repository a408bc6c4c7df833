//! Whether the text of a page looks as if it wrote to its session: a guess, by which pages that read a value in order to change it
//! wait for each other before they read.

/// What is written before a table that a function of Lua's changes.
const CHANGING: [&[u8]; 3] = [b"table.insert(", b"table.remove(", b"table.sort("];

/// Whether it does.
#[must_use]
pub fn found(text: &[u8]) -> bool {
    let mut names: Vec<&[u8]> = vec![b"plua.session"];
    names.extend(aliases(text));
    names.iter().any(|name| places(text, name).any(|(at, after)| is_changed(text, at, after)))
}

/// Names that the text gives the session: `local session = plua.session`.
fn aliases(text: &[u8]) -> Vec<&[u8]> {
    let given = |(at, after): (usize, usize)| {
        let is_whole = !matches!(text.get(after), Some(b'.' | b':' | b'['));
        let before = text[..at].trim_ascii_end().strip_suffix(b"=")?.trim_ascii_end();
        let begin = before.iter().rposition(|byte| !is_of_name(*byte)).map_or(0, |last| last + 1);
        Some(&before[begin..]).filter(|name| is_whole && !name.is_empty())
    };
    places(text, b"plua.session").filter_map(given).collect()
}

/// Where a name begins and ends as a whole word.
fn places<'t>(text: &'t [u8], name: &'t [u8]) -> impl Iterator<Item = (usize, usize)> {
    memchr::memmem::find_iter(text, name).map(|at| (at, at + name.len())).filter(|(at, after)| {
        let begins = at.checked_sub(1).is_none_or(|before| !is_of_name(text[before]) && text[before] != b'.');
        begins && text.get(*after).is_none_or(|byte| !is_of_name(*byte))
    })
}

/// Whether what stands there, with the fields that follow, is given a value or changed by one of Lua's functions.
fn is_changed(text: &[u8], at: usize, mut after: usize) -> bool {
    let mut has_field = false;
    loop {
        match text.get(after) {
            Some(b'.') => {
                after += 1;
                after += text[after..].iter().take_while(|byte| is_of_name(**byte)).count();
            }
            Some(b'[') => match text[after..].iter().position(|byte| *byte == b']') {
                Some(end) => after += end + 1,
                None => return false,
            },
            _ => break,
        }
        has_field = true;
    }
    let rest = text[after..].trim_ascii_start();
    let is_given = rest.starts_with(b"=") && !rest.starts_with(b"==");
    let before = text[..at].trim_ascii_end();
    has_field && (is_given || CHANGING.iter().any(|function| before.ends_with(function)))
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::found;

    #[test]
    fn what_changes_a_session_is_found() {
        for text in [
            "<? plua.session.count = (plua.session.count or 0) + 1 ?>",
            "<? local s = plua.session s.cart = {} ?>",
            "<? s=plua.session\ns['cart'] ={} ?>",
            "<? local session = plua.session session.cart.apples = 3 ?>",
            "<? table.insert(plua.session.cart, 'pear') ?>",
        ] {
            assert!(found(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_reads_one_is_not() {
        for text in [
            "<?= plua.session.count ?>",
            "<? if plua.session.user == 'ada' then end ?>",
            "<? local user = plua.session.user user = nil ?>",
            "<? local s = plua.session if s.user then echo(s.user) end ?>",
            "<? myplua.session.x = 1 plua.session_of = 2 other.plua.session.x = 3 ?>",
            "<? plua.session[ ",
            "plua.session",
            "= plua.session",
        ] {
            assert!(!found(text.as_bytes()), "{text}");
        }
    }
}
