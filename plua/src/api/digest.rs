//! Page functions that make digests of text: hashes, keyed hashes, a checksum.

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use mlua::Value;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::Native;
use crate::limits::memory_limit::Room;

pub fn install(native: &Native<'_>) -> mlua::Result<()> {
    hash::<Sha256>(native, "string.SHA256")?;
    hash::<Sha512>(native, "string.SHA512")?;
    hash::<Sha1>(native, "string.SHA1")?;
    hash::<Md5>(native, "string.md5")?;
    let limit = native.limit.clone();
    native.add("string.crc32", move |lua, _, arguments| {
        let mut checksum = crc32fast::Hasher::new();
        Room::new(lua, &limit).pieces(&arguments.string(1)?.as_bytes(), |piece| checksum.update(piece))?;
        Ok(checksum.finalize())
    })?;
    let limit = native.limit.clone();
    native.add("hmac", move |lua, _, arguments| {
        let keyed = match arguments.string(1)?.as_bytes().to_ascii_lowercase().as_slice() {
            b"sha256" => keyed::<Hmac<Sha256>>,
            b"sha512" => keyed::<Hmac<Sha512>>,
            b"sha1" => keyed::<Hmac<Sha1>>,
            b"md5" => keyed::<Hmac<Md5>>,
            _ => return Err(arguments.bad(1, "the algorithms are sha256, sha512, sha1 and md5")),
        };
        let room = Room::new(lua, &limit);
        let digest = keyed(room, &arguments.string(2)?.as_bytes(), &arguments.string(3)?.as_bytes())?;
        let digest = if arguments.is_true(4) { digest } else { HEXLOWER.encode(&digest).into_bytes() };
        lua.create_string(digest).map(Value::String).map_err(|error| error.to_string())
    })
}

fn hash<D: Digest>(native: &Native<'_>, name: &'static str) -> mlua::Result<()> {
    let limit = native.limit.clone();
    native.add(name, move |lua, _, arguments| {
        let mut digest = D::new();
        Room::new(lua, &limit).pieces(&arguments.string(1)?.as_bytes(), |piece| digest.update(piece))?;
        Ok(HEXLOWER.encode(&digest.finalize()))
    })
}

/// A key longer than a block of the digest is digested itself.
fn keyed<M: Mac + KeyInit>(room: Room<'_>, key: &[u8], text: &[u8]) -> Result<Vec<u8>, String> {
    let mut mac = <M as KeyInit>::new_from_slice(key).map_err(|error| error.to_string())?;
    room.pieces(text, |piece| mac.update(piece))?;
    Ok(mac.finalize().into_bytes().to_vec())
}
