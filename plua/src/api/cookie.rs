//! Page functions for cookies (RFC 6265).

use std::collections::HashSet;
use std::fmt::Write;

use mlua::Value;
use percent_encoding::{percent_decode, percent_encode};

use super::response::is_token;
use super::{Arguments, Native, text};
use crate::exchange::HeaderChange;
use crate::request::visit::{MOST_HEADERS, Visit};

pub fn install(native: &Native<'_>) -> mlua::Result<()> {
    native.add("getCookie", |lua, visit, arguments| {
        let wanted = arguments.string(1)?.as_bytes();
        match received(visit).into_iter().find(|(name, _)| **name == *wanted) {
            Some((_, value)) => lua.create_string(value).map(Some).map_err(|error| error.to_string()),
            None => Ok(None),
        }
    })?;
    native.add("getCookies", |lua, visit, _| {
        let mut known = HashSet::new();
        let cookies =
            received(visit).into_iter().filter(|(name, _)| known.insert(name.clone())).map(|(name, value)| {
                Ok((lua.create_string(name)?, lua.create_string(percent_decode(&value).collect::<Vec<u8>>())?))
            });
        let cookies = cookies.collect::<mlua::Result<Vec<_>>>().map_err(|error| error.to_string())?;
        lua.create_table_from(cookies).map_err(|error| error.to_string())
    })?;
    native.add("setCookie", |_, visit, arguments| {
        let cookie = match arguments.value(1) {
            Value::Table(_) => described(&arguments)?,
            _ => listed(&arguments)?,
        };
        visit.response.change(HeaderChange::Add(b"Set-Cookie".to_vec(), cookie))
    })
}

/// The cookies the client sent, in order, with values as they came.
#[must_use]
pub fn received(visit: &Visit) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut cookies = Vec::new();
    visit.exchange.headers(&mut |header, value| {
        if !header.eq_ignore_ascii_case(b"Cookie") {
            return;
        }
        for pair in value.split(|byte| *byte == b';') {
            if let Some(equals) = pair.iter().position(|byte| *byte == b'=') {
                let (name, value) = (&pair[..equals], &pair[equals + 1..]);
                cookies.push((name.trim_ascii().to_vec(), value.trim_ascii().to_vec()));
            }
        }
    });
    cookies
}

/// `setCookie(name, value [, expires [, path]])`.
fn listed(arguments: &Arguments) -> Result<Vec<u8>, String> {
    arguments.string(1)?;
    let name = arguments.short_text(1, MOST_HEADERS)?;
    check_name(&name).map_err(|problem| arguments.bad(1, &problem))?;
    let value = arguments.short_text(2, MOST_HEADERS)?;
    check("a cookie's value", &value).map_err(|problem| arguments.bad(2, &problem))?;
    let seconds = match arguments.value(3) {
        Value::Nil => 0.0,
        _ => arguments.number(3)?,
    };
    let path = match arguments.value(4) {
        Value::Nil => b"/".to_vec(),
        Value::String(_) => arguments.short_text(4, MOST_HEADERS)?,
        _ => arguments.string(4)?.as_bytes().to_vec(),
    };
    check("a cookie's path", &path).map_err(|problem| arguments.bad(4, &problem))?;
    let age = if seconds >= 1.0 { format!(" Max-Age={};Path=", seconds.min(LONGEST).floor()) } else { " Path=".into() };
    Ok([&name, &b"="[..], &value, b";", age.as_bytes(), &path, b";"].concat())
}

/// Seconds no cookie outlives: larger numbers are not written as digits.
const LONGEST: f64 = 1e12;

/// `setCookie{name =, value =, ...}`.
fn described(arguments: &Arguments) -> Result<Vec<u8>, String> {
    let mut cookie = Description::default();
    for (option, value) in arguments.options(1)?.unwrap_or_default() {
        cookie.take(&option, &value).map_err(|problem| arguments.bad(1, &problem))?;
    }
    cookie.header().map_err(|problem| arguments.bad(1, &problem))
}

#[derive(Default)]
struct Description {
    name: Option<Vec<u8>>,
    value: Vec<u8>,
    raw: bool,
    domain: Option<Vec<u8>>,
    path: Option<Vec<u8>>,
    max_age: Option<f64>,
    expires: Option<String>,
    same_site: Option<&'static str>,
    secure: bool,
    http_only: bool,
    partitioned: bool,
}

impl Description {
    fn take(&mut self, option: &str, value: &Value) -> Result<(), String> {
        let bytes = || match value {
            Value::String(text) if text.as_bytes().len() > MOST_HEADERS => {
                Err(format!("{option} is longer than {MOST_HEADERS} bytes"))
            }
            Value::String(text) => Ok(text.as_bytes().to_vec()),
            Value::Integer(_) | Value::Number(_) => {
                value.to_string().map(String::into_bytes).map_err(|error| error.to_string())
            }
            _ => Err(format!("{option} is text")),
        };
        let number = || {
            let number = Arguments::number_of(value).filter(|number| !number.is_nan());
            number.ok_or_else(|| format!("{option} is a number of seconds"))
        };
        let switch = || value.as_boolean().ok_or_else(|| format!("{option} is true or false"));
        match option {
            "name" => self.name = Some(bytes()?),
            "value" => self.value = bytes()?,
            "raw" => self.raw = switch()?,
            "domain" => self.domain = Some(bytes()?),
            "path" => self.path = Some(bytes()?),
            "maxAge" => self.max_age = Some(number()?.clamp(0.0, LONGEST).floor()),
            "expires" => {
                let date = text::date(number()?);
                self.expires = Some(date.ok_or("expires is seconds since 1970, up to the year 9999")?);
            }
            "sameSite" => {
                let wanted = bytes()?;
                let known = ["Strict", "Lax", "None"].into_iter();
                let found = known.into_iter().find(|known| known.as_bytes().eq_ignore_ascii_case(&wanted));
                self.same_site = Some(found.ok_or("sameSite is Strict, Lax or None")?);
            }
            "secure" => self.secure = switch()?,
            "httpOnly" => self.http_only = switch()?,
            "partitioned" => self.partitioned = switch()?,
            _ => return Err(format!("a cookie has no option '{option}'")),
        }
        Ok(())
    }

    fn header(mut self) -> Result<Vec<u8>, String> {
        let name = self.name.take().ok_or("a cookie needs a name")?;
        check_name(&name)?;
        if (self.partitioned || self.same_site == Some("None")) && !self.secure {
            return Err("browsers take sameSite None and partitioned only with secure = true".into());
        }
        if !self.raw {
            self.value = percent_encode(&self.value, text::RESERVED).to_string().into_bytes();
        }
        check("a cookie's value", &self.value)?;
        let mut cookie = [&name, &b"="[..], &self.value].concat();
        let path = self.path.unwrap_or_else(|| b"/".to_vec());
        for (attribute, value) in [("Path", Some(path)), ("Domain", self.domain)] {
            if let Some(value) = value {
                check(&format!("a cookie's {}", attribute.to_ascii_lowercase()), &value)?;
                cookie.extend([b"; ", attribute.as_bytes(), b"=", &value].concat());
            }
        }
        let mut attributes = String::new();
        // Writing to a String cannot fail.
        if let Some(seconds) = self.max_age {
            let _ = write!(attributes, "; Max-Age={seconds}");
        }
        if let Some(date) = self.expires {
            let _ = write!(attributes, "; Expires={date}");
        }
        if let Some(site) = self.same_site {
            let _ = write!(attributes, "; SameSite={site}");
        }
        for (attribute, wanted) in
            [("Secure", self.secure), ("HttpOnly", self.http_only), ("Partitioned", self.partitioned)]
        {
            if wanted {
                let _ = write!(attributes, "; {attribute}");
            }
        }
        cookie.extend(attributes.into_bytes());
        Ok(cookie)
    }
}

fn check_name(name: &[u8]) -> Result<(), String> {
    match !name.is_empty() && name.iter().copied().all(is_token) {
        true => Ok(()),
        false => Err("a cookie's name is letters, digits and hyphens".into()),
    }
}

/// What ends a value would let it add attributes, or headers.
fn check(what: &str, value: &[u8]) -> Result<(), String> {
    match value.iter().any(|byte| *byte == b';' || byte.is_ascii_control()) {
        true => Err(format!("{what} holds no semicolon and no control character")),
        false => Ok(()),
    }
}
