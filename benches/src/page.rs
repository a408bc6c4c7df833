//! The pages every server is asked for, and the bytes each must answer with.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use apr_dbd::{Connection, Value};

/// Length of the page `text`, in bytes.
const TEXT_LENGTH: usize = 1_000_000;

/// One page, written in each server's own language.
pub struct Page {
    /// Its file name without the extension.
    pub name: &'static str,
    /// One line for the report.
    pub about: &'static str,
    /// What follows the path in a request: empty, or `?` and the fields.
    pub query: String,
    /// The urlencoded fields that are posted; none for a page that is fetched.
    pub form: Option<String>,
    /// The body that counts as an answer.
    pub body: Vec<u8>,
}

/// All pages, in the order of the report.
pub fn all() -> Vec<Page> {
    let page =
        |name, about, body: String| Page { name, about, query: String::new(), form: None, body: body.into_bytes() };
    vec![
        page("hello", "51 bytes, one echo", "<!doctype html>\n<title>Hi</title>\n<p>Hello, me</p>\n".into()),
        page("table", "1000 rows of 9 pieces, 72,872 bytes", table()),
        page("cpu", "fib(22) by recursion, 200 numbers sorted", cpu()),
        page("includes", "20 included parts", includes()),
        Page { query: query(), ..page("query", "20 fields of the query, escaped", fields()) },
        Page { form: Some(form()), ..page("form", "20 fields posted, names and values escaped", posted()) },
        Page {
            query: "?customer=123".into(),
            ..page("sqlite", "20 rows of 10,000 by a key, in an SQLite file", orders())
        },
        page("text", "1 MB of text with 10 echoes", text(|number| number.to_string())),
    ]
}

/// Writes the sources, and each page's bytes as `NAME.html`, into a document root.
pub fn write(pages: &[Page], docroot: &Path) -> io::Result<()> {
    for source in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/pages"))? {
        let source = source?;
        fs::copy(source.path(), docroot.join(source.file_name()))?;
    }
    for page in pages {
        fs::write(docroot.join(page.name).with_extension("html"), &page.body)?;
    }
    database(&docroot.join("orders.db")).map_err(io::Error::other)?;
    let parts = docroot.join("parts");
    fs::create_dir(&parts)?;
    for number in 1..=20 {
        let file = parts.join(number.to_string());
        fs::write(file.with_extension("plua"), part(number, "<?= number ?>"))?;
        fs::write(file.with_extension("php"), part(number, "<?= $i ?>"))?;
        let writer = format!("return function(r) r:write({:?}) end\n", part(number, &number.to_string()));
        fs::write(file.with_extension("lua"), writer)?;
    }
    let tagged = text(|number| format!("<?= {number} ?>"));
    fs::write(docroot.join("text.plua"), &tagged)?;
    fs::write(docroot.join("text.php"), &tagged)?;
    let script = text(|number| format!("]==])\nr:write({number} .. \"\")\nr:write([==[\n"));
    let script = format!(
        "function handle(r)\nr.content_type = \"text/html\"\nr:write([==[\n{script}]==])\nreturn apache2.OK\nend\n"
    );
    fs::write(docroot.join("text.lua"), script)
}

fn table() -> String {
    let source = include_str!("../pages/table.plua");
    let (head, rest) = source.split_once("<?").unwrap_or_default();
    let foot = rest.rsplit("?>\n").next().unwrap_or_default();
    let goods = ["Apples and pears", "Bread and butter", "Coffee with a biscuit", "Salt and pepper"];
    let mut body = head.to_owned();
    for i in 1..=1000 {
        let (goods, square, day) = (goods[i % 4], i * i, i % 7);
        let _ = writeln!(body, "<tr><td>{i}</td><td>{goods}</td><td>{square}</td><td>{day}</td></tr>");
    }
    body + foot
}

fn cpu() -> String {
    let numbers = std::iter::successors(Some(42_u64), |x| Some(x * 16_807 % 2_147_483_647));
    let mut numbers: Vec<u64> = numbers.skip(1).take(200).collect();
    numbers.sort_unstable();
    let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
    format!("<p>17711</p>\n<p>{}</p>\n", numbers.join(" "))
}

fn includes() -> String {
    let parts: String = (1..=20).map(|number| part(number, &number.to_string())).collect();
    format!("<h1>Parts</h1>\n{parts}<p>That is all.</p>\n")
}

fn part(number: u32, shown: &str) -> String {
    format!(
        "<section id=\"part-{number}\">\n<h2>Part {shown}</h2>\n<p>A few words in a file of their own.</p>\n</section>\n"
    )
}

fn query() -> String {
    let fields: Vec<String> = (1..=20).map(|i| format!("f{i}=a%20%3Cb%3E%20%26%20%22c%22%20{i}")).collect();
    format!("?{}", fields.join("&"))
}

fn fields() -> String {
    let rows: String = (1..=20).map(|i| format!("<li>f{i}: a &lt;b&gt; &amp; &quot;c&quot; {i}</li>\n")).collect();
    format!("<ul>\n{rows}</ul>\n")
}

/// Values as people type them into forms: how they are sent, and how they are shown.
const TYPED: [(&str, &str); 4] = [
    ("Ada+Lovelace", "Ada Lovelace"),
    ("ada%40example.org", "ada@example.org"),
    ("K%C3%B6ln+%26+Bonn", "K\u{f6}ln &amp; Bonn"),
    ("%3Cb%3Eno%3C%2Fb%3E%2C+%22thanks%22", "&lt;b&gt;no&lt;/b&gt;, &quot;thanks&quot;"),
];

fn form() -> String {
    let fields: Vec<String> = (1..=20).map(|i| format!("f{i}%3E={}+{i}", TYPED[i % 4].0)).collect();
    fields.join("&")
}

fn posted() -> String {
    let rows: String = (1..=20).map(|i| format!("<li>f{i}&gt;: {} {i}</li>\n", TYPED[i % 4].1)).collect();
    format!("<ul>\n{rows}</ul>\n")
}

const GOODS: [&str; 4] = ["Apples & pears", "Bread and butter", "Coffee with a biscuit", "Salt and pepper"];

/// The file that the page `sqlite` reads: 500 customers with 20 orders each.
fn database(file: &Path) -> Result<(), String> {
    let mut database = Connection::open("sqlite3", file.as_os_str().as_bytes())?;
    database.run(b"CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, goods TEXT, price INTEGER)", &[])?;
    database.run(b"CREATE INDEX by_customer ON orders (customer)", &[])?;
    database.begin()?;
    for id in 1..=10_000_usize {
        let number = |number: usize| Value::Integer(number as i64);
        let goods = Value::Text(GOODS[id % 4].into());
        let order = [number(id), number(id % 500), goods, number(id % 97)];
        database.run(b"INSERT INTO orders VALUES (?, ?, ?, ?)", &order)?;
    }
    database.commit()
}

fn orders() -> String {
    let row = |id: usize| {
        let goods = GOODS[id % 4].replace('&', "&amp;");
        format!("<tr><td>{id}</td><td>{goods}</td><td>{}</td></tr>\n", id % 97)
    };
    let rows: String = (123..=10_000).step_by(500).map(row).collect();
    format!(
        "<h1>Orders of customer 123</h1>\n<table>\n<tr><th>Number</th><th>Goods</th><th>Price</th></tr>\n{rows}</table>\n"
    )
}

/// Ten stretches of lines with what `tag` makes of a number after each; as long as [`TEXT_LENGTH`] when that is the number.
fn text(tag: impl Fn(u32) -> String) -> String {
    const LINE: &str = "<p>The quick brown fox jumps over the lazy dog, and nobody minds.</p>\n";
    let tags: usize = (1..=10).map(|number: u32| number.to_string().len()).sum();
    let line = LINE.as_bytes();
    let bytes: Vec<u8> = (0..TEXT_LENGTH - tags).map(|at| line[at % line.len()]).collect();
    let (lines, mut body) = (String::from_utf8_lossy(&bytes), String::new());
    let stretch = lines.len() / 10;
    for number in 1..=10 {
        let start = stretch * (number as usize - 1);
        let end = if number == 10 { lines.len() } else { start + stretch };
        body.push_str(&lines[start..end]);
        body.push_str(&tag(number));
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_have_the_sizes_they_are_known_by() {
        let size = |name| all().iter().find(|page| page.name == name).unwrap().body.len();
        assert_eq!((size("hello"), size("table"), size("text")), (51, 72_872, 1_000_000));
    }
}
