//! The figures of a run as one table.

use private_httpd::Mpm;

use crate::machine::Machine;
use crate::page::Page;
use crate::server::{Kind, Server};
use crate::wrk::CONNECTIONS;

/// What one server did with one page: requests per second, one figure a round.
pub struct Series {
    /// Index of the page.
    pub page: usize,
    /// Who answered.
    pub kind: Kind,
    /// On which MPM.
    pub mpm: Mpm,
    /// One figure a round, in the order of the rounds.
    pub rounds: Vec<f64>,
}

/// A run: everything a reader of the figures wants to know.
pub struct Report {
    /// What was measured on.
    pub machine: Machine,
    /// The pages asked for.
    pub pages: Vec<Page>,
    /// Seconds of a turn.
    pub seconds: u32,
    /// Every series, by page and then by server.
    pub series: Vec<Series>,
    /// Sentences on what is missing.
    pub notes: Vec<String>,
}

impl Report {
    /// The table in Markdown, which is as legible on a terminal.
    pub fn markdown(&self) -> String {
        let header = ["page", "server", "on", "requests/s", "lowest to highest", "to bare C", "mod_plua to it"];
        let mut rows = vec![header.map(str::to_owned)];
        for series in &self.series {
            let ratio = |ratio: Option<f64>| ratio.map_or("".to_owned(), |ratio| format!("{ratio:.2}"));
            rows.push([
                self.pages[series.page].name.to_owned(),
                series.kind.name().to_owned(),
                Server::host(series.kind, series.mpm).to_owned(),
                grouped(median(series.rounds.clone())),
                format!("{} to {}", grouped(lowest(&series.rounds)), grouped(highest(&series.rounds))),
                ratio(self.to_bare(series)),
                ratio(self.of(series, Kind::Plua).map(|plua| ratios(plua, series))),
            ]);
        }
        let mut text = format!("{}\n\n", self.machine);
        text.push_str(&aligned(&rows));
        let rounds = self.series.iter().map(|series| series.rounds.len()).max().unwrap_or(0);
        text.push_str(&format!(
            "\nMedians of {rounds} rounds in which the servers take turns of {} s; ratios are medians of the ratios within \
             a round, on the same MPM. wrk, {CONNECTIONS} connections with keep-alive, on the same machine.\n\n",
            self.seconds
        ));
        for page in &self.pages {
            text.push_str(&format!("- {}: {}\n", page.name, page.about));
        }
        for note in &self.notes {
            text.push_str(&format!("- {note}\n"));
        }
        text
    }

    /// How fast a server is for the bare handler's 1.
    pub fn to_bare(&self, series: &Series) -> Option<f64> {
        self.of(series, Kind::Bare).map(|bare| ratios(series, bare))
    }

    /// The series of another server for the same page on the same MPM.
    fn of(&self, series: &Series, kind: Kind) -> Option<&Series> {
        self.series.iter().find(|other| other.kind == kind && other.page == series.page && other.mpm == series.mpm)
    }
}

/// The median of the ratios within a round: what slows the machine for a while slows both.
fn ratios(upper: &Series, lower: &Series) -> f64 {
    median(upper.rounds.iter().zip(&lower.rounds).map(|(upper, lower)| upper / lower).collect())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => figures[odd / 2],
        even => f64::midpoint(figures[even / 2 - 1], figures[even / 2]),
    }
}

fn lowest(figures: &[f64]) -> f64 {
    figures.iter().copied().fold(f64::INFINITY, f64::min)
}

fn highest(figures: &[f64]) -> f64 {
    figures.iter().copied().fold(0.0, f64::max)
}

/// A whole number with its thousands set apart.
fn grouped(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The rows as a Markdown table; the first is its header, and columns after the third hold figures.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (column, cell) in row.iter().enumerate() {
            let width = width(column);
            text.push_str(&if column < 3 { format!("| {cell:<width$} ") } else { format!("| {cell:>width$} ") });
        }
        text.push_str("|\n");
        if number == 0 {
            for column in 0..N {
                let (width, end) = (width(column) + 1, if column < 3 { '-' } else { ':' });
                text.push_str(&format!("|{:-<width$}{end}", ""));
            }
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_in_which_all_were_slow_does_not_change_a_ratio() {
        let series = |rounds: &[f64]| Series { page: 0, kind: Kind::Bare, mpm: Mpm::Event, rounds: rounds.to_vec() };
        assert_eq!(ratios(&series(&[50.0, 5.0, 500.0]), &series(&[100.0, 10.0, 1000.0])), 0.5);
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 2.5);
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([999.6, 1.0, 123_456.0, 1_234_567.0].map(grouped), ["1,000", "1", "123,456", "1,234,567"]);
    }
}
