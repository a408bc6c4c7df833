//! `pLuaTimeZone` against the C library: a page's dates and times are those of a process that has the zone as its own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod command;

use command::Folder;

const ZONES: &[&str] = &[
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Asia/Tokyo",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Africa/Casablanca",
    "Europe/Dublin",
    "Pacific/Apia",
    "Etc/GMT+5",
    "UTC",
];

/// Dates of times from 1900 to 2200, some of them beside changes of summer time, in every way `os.date` writes them.
const DATES: &str = "<? local letters = 'aAbBcdHIjmMpSUwWxXyYZCDeFgGhnrRtTuVz%'
local formats = { '%c', '100%% %A', 'plain', '!%c', '!%H %Z' }
-- Lua 5.1 knows conversions of one letter alone.
if jit or _VERSION ~= 'Lua 5.1' then formats[#formats + 1] = '%Ec %EY %Od %OH' end
for letter in letters:gmatch('.') do formats[#formats + 1] = '%' .. letter end
local times = { 0, -2, 1711846799, 1711846800, 1729987200, 1729990800, 1730595600, 951782400 }
for i = 1, 120 do times[#times + 1] = -2208988800 + i * 78894000 + (i * 7919 % 366) * 86400 + i * 977 % 86400 end
for _, time in ipairs(times) do
  for _, format in ipairs(formats) do echo(os.date(format, time), '\\t') end
  local t = os.date('*t', time)
  echo(t.year, ' ', t.month, ' ', t.day, ' ', t.hour, ' ', t.min, ' ', t.sec, ' ', t.wday, ' ', t.yday, ' ', t.isdst, '\\t')
  echo(os.time(t) == time, '\\n')
end ?>";

/// Times of dates and times within and beyond their ranges, which clocks show once.
const TIMES: &str = "<? for year = 1975, 2035, 3 do for month = 1, 12 do for _, day in ipairs { 1, 14, 31, 0, 45 } do
  echo(os.time { year = year, month = month, day = day }, ' ',
    os.time { year = year, month = month + 25, day = -day, hour = 30, min = 71, sec = 3700 }, '\\n')
end end end
for _, isdst in ipairs { true, false } do for month = 1, 12 do
  echo(os.time { year = 2024, month = month, day = 10, hour = 12, isdst = isdst }, '\\n')
end end
echo(os.time { year = '2024', month = ' 2 ', day = 3, hour = '4' }, '\\n') ?>";

fn put_out(page: &str, zone_of_process: &str, directives: &[&str]) -> String {
    let folder = Folder::new(&[("page.plua", page)]);
    let output =
        folder.command(&[&["run", "page.plua"], directives].concat()).env("TZ", zone_of_process).output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
    String::from_utf8(output.stdout).unwrap().replace(&folder.path("").display().to_string(), "")
}

#[test]
fn dates_and_times_are_those_of_a_process_in_that_zone() {
    for zone in ZONES {
        let directive = format!("pLuaTimeZone={zone}");
        for (what, page) in [("dates", DATES), ("times", TIMES)] {
            let own = put_out(page, zone, &[]);
            let ours = put_out(page, "Asia/Kathmandu", &["-d", &directive]);
            let differ = own.lines().zip(ours.lines()).find(|(own, ours)| own != ours);
            assert_eq!(differ, None, "{what} in {zone}");
            assert!(own == ours && own.lines().count() > 100, "{what} in {zone}");
        }
    }
}

#[test]
fn errors_are_those_of_the_same_calls_without_a_zone() {
    let calls = [
        "os.date({})",
        "os.date('%c', {})",
        "os.date('%c', 'x')",
        "os.time(1)",
        "os.time({})",
        "os.time({ year = 2024, month = 1 })",
        "os.time({ year = 2024, month = 'x', day = 1 })",
        "(jit or _VERSION ~= 'Lua 5.1') and os.date('%Ez', 0)",
        "os.date('%')",
        "os.date('%Q')",
        "os.date('%c', 1.5)",
        "os.date(2024, 0)",
        "os.date(nil, 0)",
        "os.time { year = 2024, month = 1.5, day = 1 }",
    ];
    for call in calls {
        let page =
            format!("\n<? local ok, m = pcall(function() local result = {call} return result end) echo(ok, ' ', m) ?>");
        let own = put_out(&page, "UTC", &[]);
        let ours = put_out(&page, "Asia/Kathmandu", &["-d", "pLuaTimeZone=UTC"]);
        assert_eq!(ours, own, "{call}");
    }
}
