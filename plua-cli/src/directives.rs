//! Directives on the command line: `-d pLuaTimeout=5` is the line `pLuaTimeout 5` of httpd's configuration.

use std::sync::Arc;

use plua::settings::{DIRECTIVES, Settings};

/// The directives of one command.
#[derive(clap::Args)]
pub(crate) struct Directives {
    /// A directive as in httpd's configuration, such as pLuaTimeout=5 or pLuaRaw=.lua; may be repeated.
    #[arg(short = 'd', long = "directive", value_name = "NAME=VALUE", value_parser = parse)]
    given: Vec<Settings>,
}

impl Directives {
    /// What they come to, a later one overriding an earlier.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.over(&Settings::default())
    }

    /// The same where `outer` holds for what is not given.
    pub(crate) fn over(&self, outer: &Settings) -> Arc<Settings> {
        Arc::new(self.given.iter().fold(outer.clone(), |settings, given| settings.merged(given)))
    }
}

/// The settings of one directive.
pub(crate) fn parse(text: &str) -> Result<Settings, String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    let directive = DIRECTIVES
        .iter()
        .find(|directive| directive.name.to_bytes().eq_ignore_ascii_case(name.as_bytes()))
        .ok_or_else(|| format!("there is no directive {name}"))?;
    let values: Vec<&str> = value.split_whitespace().collect();
    let mut settings = Settings::default();
    directive.set(&mut settings, &values).map(|()| settings)
}
