//! A statement and its values in the form a driver takes.

use std::ffi::{CString, c_void};
use std::ptr;

use crate::statement::{Statement, Value};

/// A statement and its values as the driver takes them.
pub(crate) enum Bound {
    /// With the values in it.
    Text(CString),
    /// In APR's own format, with the values beside it.
    Format(CString, Vec<Parameter>),
}

pub(crate) enum Parameter {
    Null,
    Text(CString),
    Blob(Vec<u8>, usize),
}

/// A statement in APR's format: each placeholder is `%s`, or `%pDb` for binary data.
pub(crate) fn format(statement: &Statement, values: &[Value]) -> Result<Bound, String> {
    let mut text = Vec::new();
    let mut parameters = Vec::with_capacity(values.len());
    let all = self::parameters(values)?;
    for (piece, parameter) in statement.pieces.iter().zip(all.into_iter().map(Some).chain([None])) {
        for byte in piece {
            text.extend_from_slice(if *byte == b'%' { b"%%" } else { std::slice::from_ref(byte) });
        }
        let Some(parameter) = parameter else { continue };
        text.extend_from_slice(if matches!(parameter, Parameter::Blob(..)) { b"%pDb" } else { b"%s" });
        parameters.push(parameter);
    }
    Ok(Bound::Format(c_string(&text, "the statement holds")?, parameters))
}

/// The values as PostgreSQL's library takes them beside a text.
///
/// # Errors
/// That a text holds a NUL.
pub(crate) fn parameters(values: &[Value]) -> Result<Vec<Parameter>, String> {
    let parameter = |value: &Value| {
        Ok(match (value.binary(), value.text()) {
            (Some(bytes), _) => Parameter::Blob(bytes.to_vec(), bytes.len()),
            (None, Some(text)) => Parameter::Text(c_string(&text, "a value holds")?),
            (None, None) => Parameter::Null,
        })
    };
    values.iter().map(parameter).collect()
}

/// The values as `apr_dbd_pbquery` wants them: binary data is followed by its length and the names of table and column,
/// which only Oracle's driver looks at.
pub(crate) fn pointers(parameters: &[Parameter]) -> Vec<*const c_void> {
    let mut all = Vec::with_capacity(parameters.len());
    for parameter in parameters {
        match parameter {
            Parameter::Null => all.push(ptr::null()),
            Parameter::Text(text) => all.push(text.as_ptr().cast()),
            Parameter::Blob(bytes, length) => {
                all.extend([bytes.as_ptr().cast(), ptr::from_ref(length).cast(), ptr::null(), ptr::null()]);
            }
        }
    }
    all
}

pub(crate) fn c_string(bytes: &[u8], what: &str) -> Result<CString, String> {
    CString::new(bytes).map_err(|_| format!("{what} a NUL byte"))
}
