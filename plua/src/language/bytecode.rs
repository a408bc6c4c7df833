//! LuaJIT's bytecode, read for what its functions see of the functions around them.

/// How a dump begins, with its version.
const HEAD: &[u8] = b"\x1bLJ\x02";

/// The dump has no names.
const STRIPPED: u32 = 2;

/// Variables of Lua's own have a number below this for a name.
const FIRST_CHARACTER: u8 = 7;

/// A function as its bytecode tells of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Compiled<'d> {
    /// Its first variable: the first parameter, if it has one.
    pub first_variable: &'d [u8],
    /// The variables that it, or a function inside it, takes from functions around it.
    pub upvalues: Vec<&'d [u8]>,
}

/// All functions of a dump, in no order of use. Nothing for what is no dump of this version with its names.
#[must_use]
pub fn functions(dump: &[u8]) -> Option<Vec<Compiled<'_>>> {
    let mut rest = Bytes(dump.strip_prefix(HEAD)?);
    if rest.number()? & STRIPPED != 0 {
        return None;
    }
    let name = rest.number()?;
    rest.take(name as usize)?;
    let mut functions = Vec::new();
    loop {
        match rest.number()? as usize {
            0 => return Some(functions),
            length => functions.push(function(rest.take(length)?)?),
        }
    }
}

fn function(code: &[u8]) -> Option<Compiled<'_>> {
    let mut head = Bytes(code);
    // Flags, parameters, slots, upvalues.
    let upvalues = head.take(4)?[3];
    let [_, _, instructions, debug] = [head.number()?, head.number()?, head.number()?, head.number()?];
    if debug == 0 {
        return None;
    }
    let [_, lines] = [head.number()?, head.number()?];
    let mut names = Bytes(code.get(code.len().checked_sub(debug as usize)?..)?);
    let width = match lines {
        0..256 => 1,
        256..65536 => 2,
        _ => 4,
    };
    names.take(instructions as usize * width)?;
    let upvalues = (0..upvalues).map(|_| names.text()).collect::<Option<Vec<_>>>()?;
    let first_variable = match names.0.first()? {
        ..FIRST_CHARACTER => b"",
        _ => names.text()?,
    };
    Some(Compiled { first_variable, upvalues })
}

/// What is still to be read.
struct Bytes<'d>(&'d [u8]);

impl<'d> Bytes<'d> {
    fn take(&mut self, length: usize) -> Option<&'d [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// Seven bits a byte, the lowest first.
    fn number(&mut self) -> Option<u32> {
        let mut number = 0;
        for place in 0..5 {
            let byte = self.take(1)?[0];
            number |= u32::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// Up to a NUL.
    fn text(&mut self) -> Option<&'d [u8]> {
        let text = self.take(self.0.iter().position(|byte| *byte == 0)?)?;
        self.take(1)?;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `local a, b = ... return function(x, y) return a, b end`, and of the file around it.
    const INSIDE: &[u8] =
        b"\x00\x02\x05\x02\x00\x00\x04\x11\x01\x00----aabb....................\x01\x01\x01\x01a\0b\0x\0\0\0y\0\0\0\0";

    fn dump(flags: u8, functions: &[&[u8]]) -> Vec<u8> {
        let mut dump = [HEAD, &[flags, 2], b"=x"].concat();
        for function in functions {
            dump.push(function.len() as u8);
            dump.extend_from_slice(function);
        }
        dump.push(0);
        dump
    }

    #[test]
    fn each_function_has_its_first_variable_and_what_it_takes_from_outside() {
        let inside = || Compiled { first_variable: b"x", upvalues: vec![b"a", b"b"] };
        assert_eq!(functions(&dump(0, &[])), Some(vec![]));
        assert_eq!(functions(&dump(8, &[INSIDE, INSIDE])), Some(vec![inside(), inside()]));
    }

    #[test]
    fn what_is_no_whole_dump_with_names_is_not_read() {
        let whole = dump(0, &[INSIDE]);
        for length in 0..whole.len() {
            assert_eq!(functions(&whole[..length]), None, "{length}");
        }
        assert_eq!(functions(&dump(2, &[INSIDE])), None);
        assert_eq!(functions(b"\x1bLJ\x03\0\x02=x\0"), None);
        assert_eq!(functions(b"\x1bLua\x02\0\x02=x\0"), None);
        assert_eq!(functions(&dump(0, &[&INSIDE[..10]])), None);
    }
}
