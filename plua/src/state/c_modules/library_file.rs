//! A library's file, as far as it is changed before a copy of it is loaded.

/// What tells the parts of such a file (elf.h).
const LOADED: u32 = 1;
const DYNAMIC: u32 = 2;
const PLT_SIZE: u64 = 2;
const STRINGS: u64 = 5;
const SYMBOLS: u64 = 6;
const RELOCATIONS: u64 = 7;
const RELOCATIONS_SIZE: u64 = 8;
const PLT: u64 = 23;

const SYMBOL: usize = 24;
const RELOCATION: usize = 24;

/// Has the loader do without functions of another library whose names `is_meant`: it leaves their slots empty where nobody
/// has them, and loads the library. A file that is no library for 64 bits stays as it is.
pub fn do_without(file: &mut [u8], is_meant: impl Fn(&[u8]) -> bool) {
    for place in symbols(file, is_meant).unwrap_or_default() {
        // What is bound weakly need not be there; the kind of symbol stays.
        if let Some(kind) = file.get_mut(place + 4) {
            *kind = 2 << 4 | *kind & 0xf;
        }
    }
}

/// Where the symbols are that relocations ask others for.
fn symbols(file: &[u8], is_meant: impl Fn(&[u8]) -> bool) -> Option<Vec<usize>> {
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (headers, length, count) = (number(file, 0x20, 8)?, number(file, 0x36, 2)?, number(file, 0x38, 2)?);
    let headers = (0..count).map(|header| headers + header * length);
    let (mut loaded, mut dynamic) = (Vec::new(), 0..0);
    for header in headers {
        let (kind, offset) = (number(file, header, 4)?, number(file, header + 8, 8)?);
        let (address, size) = (number(file, header + 16, 8)?, number(file, header + 32, 8)?);
        match kind as u32 {
            LOADED => loaded.push((address, size, offset)),
            DYNAMIC => dynamic = offset..offset.checked_add(size)?,
            _ => {}
        }
    }
    let place = |wanted: usize| {
        let found = loaded.iter().find(|(address, size, _)| wanted >= *address && wanted - address < *size);
        found.map(|(address, _, offset)| wanted - address + offset)
    };
    let entry = |wanted: u64| {
        let mut tags = dynamic.clone().step_by(16);
        let found = tags.find(|at| number(file, *at, 8) == Some(wanted as usize))?;
        number(file, found + 8, 8)
    };
    let (strings, table) = (place(entry(STRINGS)?)?, place(entry(SYMBOLS)?)?);
    let mut found = Vec::new();
    for (start, size) in [(RELOCATIONS, RELOCATIONS_SIZE), (PLT, PLT_SIZE)] {
        let (Some(start), Some(size)) = (entry(start).and_then(place), entry(size)) else { continue };
        for at in (start..start.checked_add(size)?).step_by(RELOCATION) {
            let symbol = table + number(file, at + 12, 4)? * SYMBOL;
            let name = file.get(strings + number(file, symbol, 4)?..)?;
            let name = &name[..name.iter().position(|byte| *byte == 0)?];
            if number(file, symbol + 6, 2)? == 0 && is_meant(name) {
                found.push(symbol);
            }
        }
    }
    Some(found)
}

/// The number of so many bytes at a place.
fn number(file: &[u8], at: usize, bytes: usize) -> Option<usize> {
    let bytes = file.get(at..at.checked_add(bytes)?)?;
    bytes.iter().rev().try_fold(0_u64, |number, byte| Some(number << 8 | u64::from(*byte)))?.try_into().ok()
}
