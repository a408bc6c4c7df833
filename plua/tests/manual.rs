//! The example pages of `docs/functions.md`: each runs as it stands there.

mod site;

const MANUAL: &str = include_str!("../../docs/functions.md");

#[test]
fn every_example_of_the_manual_runs() {
    let examples: Vec<&str> =
        MANUAL.split("```html\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
    assert!(examples.len() >= 5, "{} examples", examples.len());
    for example in examples {
        let seen = site::page(example);
        assert!(seen.status < 500 && seen.log.is_empty(), "{example}\n{:?}", seen.log);
    }
}
