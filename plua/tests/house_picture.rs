//! The picture of the engine's rooms, drawn from what they import: docs/design/house.svg. What a room imports through another
//! one as well is not drawn.
//!
//! `PLUA_DRAW=1 cargo test -p plua-engine --test house_picture` draws it anew.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod house;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;

use house::{Import, between_rooms, floors, imports, modules, room, root};
use svg::Document;
use svg::node::element::{Line, Rectangle, Text};

/// Height of a floor and of a room on it, width of a room, and the least gap between two, in pixels.
const FLOOR: usize = 96;
const HEIGHT: usize = 52;
const WIDTH: usize = 150;
const GAP: usize = 40;

fn draw() -> String {
    let src = root().join("plua/src");
    let modules = modules(&src);
    let between = between_rooms(&imports(&src));
    let rooms: BTreeSet<String> =
        modules.keys().map(|module| room(module).to_owned()).filter(|room| !room.is_empty()).collect();
    let (floors, _) = floors(&rooms, &between);
    let top = floors.values().max().copied().unwrap_or_default();
    let on = |floor: usize| -> Vec<&String> { rooms.iter().filter(|room| floors[*room] == floor).collect() };
    let widest = (0..=top).map(|floor| on(floor).len()).max().unwrap_or_default();
    let (width, height) = (widest * (WIDTH + GAP) + GAP, (top + 1) * FLOOR + GAP);
    let mut places = BTreeMap::new();
    for floor in 0..=top {
        let count = on(floor).len();
        for (index, room) in on(floor).into_iter().enumerate() {
            // Rooms of a floor stand evenly, every other floor a little to the side, so that lines pass between them.
            let aside = if floor % 2 == 0 { 0 } else { GAP };
            let x = (2 * index + 1) * (width - GAP) / (2 * count) + aside;
            places.insert(room, (x, (top - floor) * FLOOR + GAP));
        }
    }
    let mut picture = Document::new()
        .set("viewBox", (0, 0, width, height))
        .set("font-family", "sans-serif")
        .add(Rectangle::new().set("width", width).set("height", height).set("fill", "#fff"));
    for (from, to) in between.iter().filter(|import| !is_implied(import, &between)) {
        let ((from_x, from_y), (to_x, to_y)) = (places[from], places[to]);
        let line = Line::new().set("x1", from_x).set("y1", from_y + HEIGHT).set("x2", to_x).set("y2", to_y);
        picture = picture.add(line.set("stroke", "#89a").set("stroke-width", 1.2));
    }
    for (room, (x, y)) in &places {
        let name = Text::new(room.as_str()).set("x", *x).set("y", y + 32).set("font-size", 16).set("fill", "#123");
        picture = picture
            .add(
                Rectangle::new()
                    .set("x", x - WIDTH / 2)
                    .set("y", *y)
                    .set("width", WIDTH)
                    .set("height", HEIGHT)
                    .set("rx", 6)
                    .set("fill", "#eef4fa")
                    .set("stroke", "#456"),
            )
            .add(name.set("text-anchor", "middle"));
    }
    format!("{picture}\n")
}

/// Whether a room imports the other through a third one as well: such lines would hide the others.
fn is_implied((from, to): &Import, between: &BTreeSet<Import>) -> bool {
    let mut reached: BTreeSet<&String> =
        between.iter().filter(|(one, other)| one == from && other != to).map(|(_, other)| other).collect();
    loop {
        let before = reached.len();
        reached.extend(
            between.iter().filter(|(one, _)| reached.contains(one)).map(|(_, other)| other).collect::<Vec<_>>(),
        );
        if reached.len() == before {
            return reached.contains(to);
        }
    }
}

#[test]
fn the_picture_of_the_house_is_what_its_imports_draw() {
    let file = root().join("docs/design/house.svg");
    let picture = draw();
    if env::var_os("PLUA_DRAW").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, &picture).unwrap();
    }
    assert!(
        fs::read_to_string(&file).unwrap_or_default() == picture,
        "docs/design/house.svg is old: PLUA_DRAW=1 cargo test -p plua-engine --test house_picture"
    );
}
