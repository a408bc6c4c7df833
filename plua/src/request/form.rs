//! The form in a request's body: its fields in order, and its files on disk until the request ends.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};

use crate::error::{Error, ErrorKind};
use crate::limits::memory_limit::{OVER_TIME, Room};
use crate::request::body::{Body, copy, unwritable};
use crate::request::multipart::{self, Multipart};
use crate::request::query::Fields;
use crate::settings::Limits;

/// What a form holds.
#[derive(Default)]
pub struct Form {
    /// Names and values of an urlencoded form.
    pub fields: Fields,
    /// Names and values of a form in parts, in the order sent.
    pub parts: Vec<(Vec<u8>, Value)>,
    /// Its files in the order sent.
    pub uploads: Vec<Upload>,
}

/// The value of a part.
pub enum Value {
    /// What was typed.
    Text(Vec<u8>),
    /// A file, by its place among the uploads.
    File(usize),
}

/// An uploaded file. It is removed when this is dropped, unless it was saved.
pub struct Upload {
    /// Name of the field.
    pub field: Vec<u8>,
    /// Name of the file as the client sent it: it can hold folders.
    pub file_name: Vec<u8>,
    /// Its `Content-Type` as sent, or empty.
    pub content_type: Vec<u8>,
    /// Bytes.
    pub size: u64,
    /// Where it is until it is saved.
    pub path: PathBuf,
    file: File,
    temporary: Option<TempPath>,
}

impl Form {
    /// Reads the form of a body with this `Content-Type`, its files into `folder`. A form of no known type is empty and leaves the body unread,
    /// as is one whose boundary is nowhere.
    ///
    /// # Errors
    /// The body's own, [`ErrorKind::TooLarge`] over a limit, [`ErrorKind::BadRequest`] for a body that
    /// ends inside a part or is not well formed, [`ErrorKind::Read`] when files cannot be written.
    pub fn read<'b>(
        content_type: &[u8],
        limits: &Limits,
        folder: &Path,
        room: Room<'_>,
        body: impl FnOnce() -> Result<&'b mut Body, Error>,
    ) -> Result<Form, Error> {
        match multipart::media_type(content_type).as_slice() {
            b"application/x-www-form-urlencoded" => urlencoded(body()?, limits, room),
            b"multipart/form-data" => {
                let boundary = multipart::parameter(content_type, "boundary").unwrap_or_default();
                match std::str::from_utf8(boundary) {
                    Err(_) | Ok("") => Ok(Form::default()),
                    Ok(boundary) => Form::of_parts(body()?, boundary, limits, folder, room),
                }
            }
            _ => Ok(Form::default()),
        }
    }

    /// The text in each field of that name; files have none.
    pub fn texts_of(&self, wanted: &[u8]) -> impl Iterator<Item = &[u8]> {
        let parts = self.parts.iter().filter_map(move |(name, value)| match value {
            Value::Text(text) if name == wanted => Some(text.as_slice()),
            _ => None,
        });
        self.fields.values_of(wanted).chain(parts)
    }

    fn of_parts(
        body: &mut Body,
        boundary: &str,
        limits: &Limits,
        folder: &Path,
        room: Room<'_>,
    ) -> Result<Form, Error> {
        let mut form = Form::default();
        let reader = body.reader().map_err(|error| broken(&error))?;
        let parts = Multipart::new(reader, boundary, limits.fields.saturating_add(1));
        let mut parts = parts.map_err(|error| broken(&error))?;
        let (mut text_size, mut name_size) = (0, 0);
        while let Some(part) = parts.next_part().map_err(|error| broken(&error))? {
            if form.parts.len() == limits.fields {
                return Err(too_many_fields("form", limits));
            }
            // Names may hold as much as the fields do: a visitor chooses how long they are.
            let names = [Some(&part.name), part.file_name.as_ref(), Some(&part.content_type)];
            name_size += names.into_iter().flatten().map(|name| name.len() as u64).sum::<u64>();
            check_size(name_size, "the names in the form are", limits)?;
            ask_for(text_size + name_size, room)?;
            let value = match part.file_name {
                None => Value::Text(text(&mut parts, &mut text_size, limits, room)?),
                // What a browser sends when no file was chosen.
                Some(name) if name.is_empty() => Value::Text(text(&mut parts, &mut text_size, limits, room)?),
                Some(name) => {
                    if form.uploads.len() == limits.uploads {
                        let limit = limits.uploads;
                        let message = format!("the form has more than {limit} files (pLuaUploads)");
                        return Err(Error::new(ErrorKind::TooLarge, message));
                    }
                    let named = (part.name.clone(), name, part.content_type);
                    form.uploads.push(upload(&mut parts, named, limits, folder, room)?);
                    Value::File(form.uploads.len() - 1)
                }
            };
            form.parts.push((part.name, value));
        }
        Ok(form)
    }
}

/// What a query or form with too many fields is answered.
#[must_use]
pub fn too_many_fields(what: &str, limits: &Limits) -> Error {
    let limit = limits.fields;
    Error::new(ErrorKind::TooLarge, format!("the {what} has more than {limit} fields (pLuaFields)"))
}

/// What a page is told whose limits end the work.
fn refused(reason: &'static str) -> Error {
    let kind = if reason == OVER_TIME { ErrorKind::TimeLimit } else { ErrorKind::MemoryLimit };
    Error::new(kind, reason)
}

fn broken(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::QuotaExceeded => {
            Error::new(ErrorKind::TooLarge, "the form has more parts than a form may have fields (pLuaFields)")
        }
        io::ErrorKind::UnexpectedEof => {
            Error::new(ErrorKind::BadRequest, format!("the request's form is not whole: {error}"))
        }
        io::ErrorKind::InvalidData => {
            Error::new(ErrorKind::BadRequest, format!("the request's form is not well formed: {error}"))
        }
        _ => Error::new(ErrorKind::Read, format!("the request's form cannot be read: {error}")),
    }
}

/// Whether that many bytes may be held in memory, or kept of one file.
///
/// # Errors
/// [`ErrorKind::TooLarge`] beyond `pLuaUploadSize`.
pub fn check_size(size: u64, what: &str, limits: &Limits) -> Result<(), Error> {
    match limits.upload_size {
        0 => Ok(()),
        limit if size <= u64::from(limit) * 1024 => Ok(()),
        limit => Err(Error::new(ErrorKind::TooLarge, format!("{what} larger than {limit} KB (pLuaUploadSize)"))),
    }
}

const TEXT: &str = "the form's fields without its files are";

fn urlencoded(body: &mut Body, limits: &Limits, room: Room<'_>) -> Result<Form, Error> {
    check_size(body.size(), TEXT, limits)?;
    // As it came and decoded.
    room.ask(usize::try_from(body.size()).unwrap_or(usize::MAX).saturating_mul(2)).map_err(refused)?;
    let bytes = body.bytes().map_err(|error| broken(&error))?;
    let fields = Fields::decode(&bytes, limits.fields).ok_or_else(|| too_many_fields("form", limits))?;
    Ok(Form { fields, ..Form::default() })
}

/// Asks for the room that so many bytes of parts take: a vector doubles as it grows.
fn ask_for(bytes: u64, room: Room<'_>) -> Result<(), Error> {
    room.ask(usize::try_from(bytes).unwrap_or(usize::MAX).saturating_mul(2)).map_err(refused)
}

/// The content of a part that is no file; `total` counts that of all of them.
fn text<R: Read>(parts: &mut Multipart<R>, total: &mut u64, limits: &Limits, room: Room<'_>) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    while let Some(piece) = parts.piece().map_err(|error| broken(&error))? {
        *total += piece.len() as u64;
        check_size(*total, TEXT, limits)?;
        ask_for(*total, room)?;
        text.extend_from_slice(&piece);
    }
    Ok(text)
}

/// Puts a part that is a file, with the names of its field, of itself and of its type, into the folder.
fn upload<R: Read>(
    parts: &mut Multipart<R>,
    (field, file_name, content_type): (Vec<u8>, Vec<u8>, Vec<u8>),
    limits: &Limits,
    folder: &Path,
    room: Room<'_>,
) -> Result<Upload, Error> {
    let failed = |error| unwritable(folder, &error);
    let mut file = NamedTempFile::with_prefix_in("plua-upload-", folder).map_err(failed)?;
    let mut size = 0;
    while let Some(piece) = parts.piece().map_err(|error| broken(&error))? {
        size += piece.len() as u64;
        check_size(size, "an uploaded file is", limits)?;
        room.look().map_err(refused)?;
        file.write_all(&piece).map_err(failed)?;
    }
    let (file, path) = file.into_parts();
    Ok(Upload { field, file_name, content_type, size, path: path.to_path_buf(), file, temporary: Some(path) })
}

impl Upload {
    /// The file's name without folders of any system; empty where nothing is left that names a file.
    #[must_use]
    pub fn base_name(&self) -> &[u8] {
        match self.file_name.rsplit(|byte| matches!(byte, b'/' | b'\\')).next().unwrap_or_default() {
            b"." | b".." => &[],
            name => name,
        }
    }

    /// Whether it is still under its temporary path, and this is it. What is there after it was saved, or after a page has put
    /// it elsewhere, is another's.
    #[must_use]
    pub fn is_at(&self, path: &Path) -> bool {
        let is_it = || {
            let (found, own) = (path.symlink_metadata().ok()?, self.file.metadata().ok()?);
            Some((found.dev(), found.ino()) == (own.dev(), own.ino()))
        };
        self.temporary.is_some() && self.path == path && is_it() == Some(true)
    }

    /// What it holds.
    ///
    /// # Errors
    /// The file system's.
    pub fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.size).unwrap_or(0));
        self.file.rewind()?;
        self.file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Puts it in the place of `target`: by moving it where that can be done, else as a copy. It can be saved again.
    ///
    /// # Errors
    /// The file system's, and that of [`copy`]; then it is where it was.
    pub fn save(&mut self, target: &Path, room: Room<'_>) -> io::Result<()> {
        // Uploads are private. The saved file gets the permissions any new file of the page gets, or those of the one
        // it replaces.
        let mut place = open_target(target, false)?;
        if let Some(temporary) = self.temporary.take() {
            let private = self.file.metadata()?.permissions();
            self.file.set_permissions(place.metadata()?.permissions())?;
            match temporary.persist(target) {
                Ok(()) => return Ok(()),
                // Another file system.
                Err(error) => self.temporary = Some(error.path),
            }
            fs::set_permissions(&self.path, private)?;
        }
        self.file.rewind()?;
        place.set_len(0)?;
        copy(&mut self.file, &mut place, room)
    }
}

/// A file that a page names to be written: made if it is not there, else `emptied` or as it is.
///
/// # Errors
/// The file system's, and at once for a pipe that nobody reads: opening it would hold the page until somebody does.
pub fn open_target(path: &Path, emptied: bool) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(emptied).custom_flags(libc::O_NONBLOCK).open(path)
}
