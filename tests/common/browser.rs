//! A real browser without a window: Chromium, driven by chromedriver (W3C WebDriver).

#![allow(dead_code, reason = "each test program uses its part")]

use std::env;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::Connection;
use crate::common::wait::until;

/// How long a page may take to show something.
const PATIENCE: Duration = Duration::from_secs(20);

/// Ended when it is dropped.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: TempDir,
}

impl Browser {
    /// A fresh one; none where chromedriver is not installed and need not be.
    pub fn start() -> Option<Browser> {
        let mut command = Command::new("chromedriver");
        let started = command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0).spawn();
        let mut driver = match started {
            Ok(driver) => driver,
            Err(_) if env::var_os("PLUA_REQUIRE_HTTPD").is_none() => return None,
            Err(error) => panic!("chromedriver: {error}"),
        };
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let said = lines.find_map(|line| {
            let line = line.unwrap();
            line.split_once("started successfully on port ").map(|(_, port)| port.trim_end_matches('.').to_owned())
        });
        let port = said.unwrap().parse().unwrap();
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Browser { driver, port, session: String::new(), _profile: profile };
        let profile = format!("--user-data-dir={}", browser._profile.path().display());
        // Nothing of it asks for anything but our pages. Its own sandbox does not start for root.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &profile,
        ];
        let wanted = json!({ "browserName": "chrome", "goog:chromeOptions": { "args": arguments } });
        let begun = browser.ask("POST", "/session", &json!({ "capabilities": { "alwaysMatch": wanted } }));
        browser.session = begun["sessionId"].as_str().unwrap().to_owned();
        Some(browser)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let headers = [("Host", "localhost"), ("Content-Type", "application/json"), ("Connection", "close")];
        let answer = Connection::open(self.port).request(method, path, &headers, body.as_bytes());
        let mut value: Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!(answer.status, 200, "{method} {path} {body}: {value}");
        value["value"].take()
    }

    fn tell(&self, what: &str, body: &Value) -> Value {
        self.ask("POST", &format!("/session/{}/{what}", self.session), body)
    }

    /// Shows an address in this tab.
    pub fn go(&self, address: &str) {
        self.tell("url", &json!({ "url": address }));
    }

    /// What JavaScript gives in the page of this tab: the body of a function of `arguments`.
    pub fn run(&self, script: &str, arguments: &[&str]) -> Value {
        self.tell("execute/sync", &json!({ "script": script, "args": arguments }))
    }

    /// A command of Chromium's own protocol, such as one that stands in for another screen.
    pub fn command(&self, name: &str, parameters: &Value) {
        self.tell("goog/cdp/execute", &json!({ "cmd": name, "params": parameters }));
    }

    /// The text of the first element of a selector; empty where there is none.
    pub fn text(&self, selector: &str) -> String {
        let text = self.run("return document.querySelector(arguments[0])?.innerText ?? ''", &[selector]);
        text.as_str().unwrap().to_owned()
    }

    /// Waits until an element has this text.
    #[track_caller]
    pub fn until_text(&self, selector: &str, text: &str) {
        until(&format!("{selector} is {text:?}"), PATIENCE, || self.text(selector) == text);
    }

    /// Types into a field.
    pub fn fill(&self, selector: &str, text: &str) {
        self.run("document.querySelector(arguments[0]).value = arguments[1]", &[selector, text]);
    }

    /// Clicks an element, and waits until the page that this leads to is there.
    pub fn click(&self, selector: &str) {
        self.run("window.isOld = true; document.querySelector(arguments[0]).click()", &[selector]);
        let is_there = || self.run("return !window.isOld && document.readyState == 'complete'", &[]) == json!(true);
        until(&format!("the page behind {selector}"), PATIENCE, is_there);
    }

    /// Names this tab.
    pub fn tab(&self) -> String {
        let tab = self.ask("GET", &format!("/session/{}/window", self.session), &Value::Null);
        tab.as_str().unwrap().to_owned()
    }

    /// Opens another tab and goes on in it.
    pub fn new_tab(&self) -> String {
        let tab = self.tell("window/new", &json!({ "type": "tab" }))["handle"].as_str().unwrap().to_owned();
        self.switch(&tab);
        tab
    }

    /// Goes on in that tab.
    pub fn switch(&self, tab: &str) {
        self.tell("window", &json!({ "handle": tab }));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser is of the driver's process group.
        let _ = killpg(Pid::from_raw(self.driver.id().try_into().unwrap()), Signal::SIGKILL);
        let _ = self.driver.wait();
    }
}
