//! A time zone of the system's, for hosts whose pages have one of their own (`pLuaTimeZone`): the process has one for all.

use std::fs;
use std::io::ErrorKind::NotFound;
use std::path::Path;

use jiff::civil::{Date, DateTime};
use jiff::fmt::strtime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// Where systems keep time zones.
const FOLDERS: [&str; 2] = ["/usr/share/zoneinfo", "/usr/lib/zoneinfo"];

/// Time around a moment in which summer time is looked for, as glibc does; where there is none, it is taken to be an hour.
const NEAR: SignedDuration = SignedDuration::from_secs(268_828_200);
const SUMMER: SignedDuration = SignedDuration::from_hours(1);

/// Longest width of a conversion, in digits.
const LONGEST_WIDTH: usize = 2;

/// A time zone. It is read once: the system may change it meanwhile, until the server reads its configuration again.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

/// A moment as clocks of a zone show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Date and time.
    pub time: DateTime,
    /// Whether it is summer time.
    pub is_summer: bool,
}

/// A date and time as a page writes it. Each part may be beyond its range: the day 32 is the first of the next month.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    /// The year, from 1.
    pub year: i64,
    /// The month, from 1.
    pub month: i64,
    /// The day, from 1.
    pub day: i64,
    /// Seconds since the day began.
    pub second: i64,
    /// Whether it is meant as summer time, if that is said.
    pub is_summer: Option<bool>,
}

impl Zone {
    /// The zone of that name, such as `Europe/Berlin`.
    ///
    /// # Errors
    /// A sentence: that there is none.
    pub fn find(name: &str) -> Result<Zone, String> {
        let found = |zone| Ok(Zone { name: name.to_string(), zone });
        if name == "UTC" {
            return found(TimeZone::UTC);
        }
        let no_zone = || format!("'{name}' is no time zone of this system: write one such as Europe/Berlin or UTC");
        if name.is_empty() || name.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(no_zone());
        }
        let folder = FOLDERS.into_iter().map(Path::new).find(|folder| folder.is_dir());
        let folder = folder.ok_or("this system has no time zones but UTC: install tzdata")?;
        let file = folder.join(name);
        match fs::read(&file) {
            Ok(bytes) => TimeZone::tzif(name, &bytes).map_or_else(|_| Err(no_zone()), found),
            Err(error) if error.kind() == NotFound || file.is_dir() => Err(no_zone()),
            Err(error) => Err(format!("{} cannot be read: {error}", file.display())),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What clocks show so many seconds after 1970 began in UTC; none before the year -9999 or after 9999.
    #[must_use]
    pub fn shown(&self, seconds: i64) -> Option<Shown> {
        let moment = Timestamp::from_second(seconds).ok()?;
        let is_summer = self.zone.to_offset_info(moment).dst().is_dst();
        Some(Shown { time: self.zone.to_datetime(moment), is_summer })
    }

    /// Seconds since 1970 began in UTC; none where that is before the year -9999 or after 9999. Of two moments with one time the
    /// first is taken, and a time that clocks leave out is the one as long after the gap. Where summer time is said and the other
    /// holds, or the other way round, the clock is taken to be as it is in the nearest time of that kind, or an hour apart.
    #[must_use]
    pub fn seconds(&self, written: &Written) -> Option<i64> {
        let months = written.month.checked_sub(1)?;
        let year = written.year.checked_add(months.div_euclid(12))?;
        let first = Date::new(year.try_into().ok()?, (months.rem_euclid(12) + 1) as i8, 1).ok()?;
        let seconds = written.day.checked_sub(1)?.checked_mul(86_400)?.checked_add(written.second)?;
        let time = DateTime::from(first).checked_add(SignedDuration::from_secs(seconds)).ok()?;
        let offset = match self.zone.to_ambiguous_timestamp(time).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset,
            AmbiguousOffset::Gap { before, .. } => before,
            AmbiguousOffset::Fold { before, after } => {
                let is_summer = |offset: Offset| {
                    offset.to_timestamp(time).map(|moment| self.zone.to_offset_info(moment).dst().is_dst())
                };
                if written.is_summer.is_some_and(|wanted| is_summer(after).is_ok_and(|is_summer| is_summer == wanted)) {
                    after
                } else {
                    before
                }
            }
        };
        let moment = offset.to_timestamp(time).ok()?;
        let is_summer = self.zone.to_offset_info(moment).dst().is_dst();
        let moment = match written.is_summer {
            Some(wanted) if wanted != is_summer => match self.nearest(moment, wanted) {
                Some(offset) => offset.to_timestamp(time).ok()?,
                None if wanted => moment.checked_sub(SUMMER).ok()?,
                None => moment.checked_add(SUMMER).ok()?,
            },
            _ => moment,
        };
        Some(moment.as_second())
    }

    /// How far clocks are from UTC in the time nearest to this moment that is summer time or is not.
    fn nearest(&self, moment: Timestamp, is_summer: bool) -> Option<Offset> {
        // The time from one change to the next has the offset of the first.
        let mut until = moment;
        let before = self.zone.preceding(moment).find_map(|change| {
            let found = (change.dst().is_dst() == is_summer).then_some((moment.duration_since(until), change.offset()));
            until = change.timestamp();
            found
        });
        let after = self.zone.following(moment).find(|change| change.dst().is_dst() == is_summer);
        let after = after.map(|change| (moment.duration_until(change.timestamp()), change.offset()));
        let near = [before, after].into_iter().flatten().filter(|(far, _)| *far <= NEAR);
        near.min_by_key(|(far, _)| *far).map(|(_, offset)| offset)
    }

    /// A moment written as the C library's `strftime` does where no locale is set; none for what [`Zone::shown`] has none for.
    /// `room` is asked now and then whether so many bytes may be held.
    ///
    /// # Errors
    /// What `room` says.
    pub fn format<E>(
        &self,
        format: &[u8],
        seconds: i64,
        room: impl Fn(usize) -> Result<(), E>,
    ) -> Result<Option<Vec<u8>>, E> {
        let Ok(moment) = Timestamp::from_second(seconds) else { return Ok(None) };
        let moment = moment.to_zoned_datetime(self.zone.clone());
        let mut written = Vec::with_capacity(format.len());
        let mut asked = 0;
        let mut rest = format;
        while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
            written.extend_from_slice(&rest[..at]);
            let (conversion, after) = rest[at..].split_at(length_of_conversion(&rest[at..]));
            rest = after;
            let text = match conversion {
                // Old times are apart from UTC by seconds, which nobody writes.
                b"%z" => {
                    let (minutes, sign) =
                        (moment.offset().seconds() / 60, if moment.offset().is_negative() { '-' } else { '+' });
                    Some(format!("{sign}{:02}{:02}", minutes.abs() / 60, minutes.abs() % 60))
                }
                _ => meaning(conversion).and_then(|conversion| strtime::format(conversion, &moment).ok()),
            };
            written.extend_from_slice(text.as_ref().map_or(conversion, String::as_bytes));
            if written.len() - asked > 1 << 16 {
                asked = written.len();
                room(asked)?;
            }
        }
        written.extend_from_slice(rest);
        Ok(Some(written))
    }
}

/// Bytes of the conversion that a format begins with: `%`, flags, a width, `E` or `O`, and its letter.
fn length_of_conversion(format: &[u8]) -> usize {
    let skip = |from: usize, is_part: &dyn Fn(&u8) -> bool| {
        from + format[from..].iter().take_while(|byte| is_part(byte)).count()
    };
    let flags = skip(1, &|byte| b"_-0^#:".contains(byte));
    let width = skip(flags, &|byte| byte.is_ascii_digit());
    let modifier = width + usize::from(matches!(format.get(width), Some(b'E' | b'O')));
    (modifier + 1).min(format.len())
}

/// The same conversion for [`strtime`]; none for one that is sent as it is.
fn meaning(conversion: &[u8]) -> Option<Vec<u8>> {
    let (letter, options) = conversion.split_last()?;
    let digits = options.iter().filter(|byte| byte.is_ascii_digit()).count();
    if digits > LONGEST_WIDTH || !b"aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ%".contains(letter) || options.is_empty() {
        return None;
    }
    Some(match letter {
        b'c' => b"%a %b %e %H:%M:%S %Y".to_vec(),
        b'x' => b"%m/%d/%y".to_vec(),
        b'r' => b"%I:%M:%S %p".to_vec(),
        letter => options.iter().filter(|byte| !matches!(byte, b'E' | b'O')).chain([letter]).copied().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> Zone {
        Zone::find("Europe/Berlin").unwrap()
    }

    fn written(zone: &Zone, format: &str, seconds: i64) -> String {
        let written = zone.format(format.as_bytes(), seconds, |_| Ok::<(), ()>(())).unwrap().unwrap();
        String::from_utf8(written).unwrap()
    }

    /// `YYYY-MM-DD hh:mm` as seconds.
    fn seconds(zone: &Zone, text: &str, is_summer: Option<bool>) -> Option<i64> {
        let part = |range| text.get(range).and_then(|part: &str| part.parse::<i64>().ok()).unwrap();
        zone.seconds(&Written {
            year: part(0..4),
            month: part(5..7),
            day: part(8..10),
            second: part(11..13) * 3600 + part(14..16) * 60,
            is_summer,
        })
    }

    #[test]
    fn a_name_that_is_no_zone_is_refused_with_a_sentence() {
        for name in
            ["Europe/Berln", "", "/etc/passwd", "../../etc/passwd", "Europe", "zone.tab", "europe/./Berlin", "a\0b"]
        {
            let refused = Zone::find(name).unwrap_err();
            assert!(refused.contains("is no time zone") || refused.contains("cannot be read"), "{refused}");
        }
        for name in ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"] {
            assert_eq!(Zone::find(name).unwrap().name(), name);
        }
    }

    #[test]
    fn times_that_are_there_twice_or_never_are_one_moment() {
        for (text, is_summer, shown) in [
            ("2024-01-15 12:00", None, "12:00 CET"),
            ("2024-07-15 12:00", None, "12:00 CEST"),
            ("2024-10-27 02:30", None, "02:30 CEST"),
            ("2024-10-27 02:30", Some(true), "02:30 CEST"),
            ("2024-10-27 02:30", Some(false), "02:30 CET"),
            ("2024-03-31 02:30", None, "03:30 CEST"),
            ("2024-07-15 12:00", Some(false), "13:00 CEST"),
            ("2024-01-15 12:00", Some(true), "11:00 CET"),
        ] {
            let zone = berlin();
            let seconds = seconds(&zone, text, is_summer).unwrap();
            assert_eq!(written(&zone, "%H:%M %Z", seconds), shown, "{text} {is_summer:?}");
        }
        let tokyo = Zone::find("Asia/Tokyo").unwrap();
        let summer = seconds(&tokyo, "2024-07-15 12:00", Some(true)).unwrap();
        assert_eq!(written(&tokyo, "%H:%M %Z", summer), "11:00 JST");
    }

    #[test]
    fn parts_beyond_their_range_count_on_and_a_year_beyond_its_range_is_none() {
        let zone = berlin();
        let of = |year, month, day, second| zone.seconds(&Written { year, month, day, second, is_summer: None });
        assert_eq!(of(2024, 14, 1, 0), of(2025, 2, 1, 0));
        assert_eq!(of(2024, 0, 1, 0), of(2023, 12, 1, 0));
        assert_eq!(of(2024, 3, 0, -3600), of(2024, 2, 28, 23 * 3600));
        assert_eq!(of(2024, 1, 366, 86_400), of(2025, 1, 1, 0));
        for far in [10_000, -10_000, i64::MAX, i64::MIN] {
            assert_eq!((of(far, 1, 1, 0), of(2024, far.saturating_mul(24), 1, 0)), (None, None), "{far}");
        }
        assert_eq!((of(2024, 1, i64::MAX, 0), of(2024, 1, 1, i64::MIN)), (None, None));
        assert_eq!((zone.shown(i64::MAX), zone.shown(i64::MIN)), (None, None));
    }

    #[test]
    fn what_is_no_conversion_is_sent_as_it_is() {
        for (format, shown) in [
            ("%", "%"),
            ("a%", "a%"),
            ("%%", "%"),
            ("%f %L %Q %+ %i", "%f %L %Q %+ %i"),
            ("%-", "%-"),
            ("%E", "%E"),
            ("%Ed|%Od|%EY|%OH", "14|14|2023|23"),
            ("%-m %_5H %05d %^a", "11    23 00014 TUE"),
            ("%999d", "%999d"),
            ("\u{e4}%d\u{e4}", "\u{e4}14\u{e4}"),
        ] {
            assert_eq!(written(&berlin(), format, 1_700_000_000), shown, "{format}");
        }
    }
}
