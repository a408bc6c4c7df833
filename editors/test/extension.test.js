// The snippets and the problem matcher, against the command itself.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

const read = (name) => JSON.parse(readFileSync(new URL(`../vscode/${name}`, import.meta.url), "utf8"));
const extension = read("package.json").contributes;
const plua = process.env.PLUA ?? "plua";

function inFolder(work) {
  const folder = mkdtempSync(join(tmpdir(), "plua-extension-"));
  try {
    return work(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("the files that the extension names are there", () => {
  for (const path of [
    extension.languages[0].configuration,
    extension.grammars[0].path,
    extension.snippets[0].path,
  ]) {
    assert.ok(read(path), path);
  }
});

/** A snippet's text with its defaults, as it stands when one only presses Tab. */
function filled(body) {
  let text = [body].flat().join("\n");
  const values = {};
  // Innermost first: a default may hold another place.
  for (let before; before !== text; ) {
    before = text;
    text = text.replace(/\$\{(\d+):([^${}]*(?:\{[^${}]*\}[^${}]*)*)\}/g, (_, number, value) => (values[number] = value));
    text = text.replace(/\$(\d+)/g, (place, number) => values[number] ?? (text.includes(`\${${number}:`) ? place : ""));
  }
  return text.replace(/\$\{\d+\}/g, "");
}

test("each snippet is a page that compiles", () => {
  inFolder((folder) => {
    for (const [name, { body }] of Object.entries(read("snippets/plua.json"))) {
      const page = join(folder, "page.plua");
      const text = filled(body);
      assert.doesNotMatch(text, /\$[\d{]/, name);
      writeFileSync(page, text);
      execFileSync(plua, ["check", page], { stdio: "pipe" });
    }
  });
});

test("each report of plua check is a problem with its file, line, severity and message", () => {
  inFolder((folder) => {
    writeFileSync(join(folder, "a.plua"), '<? local a = 1 ?>\n<p><?= plua.get("x") ?></p>\n');
    writeFileSync(join(folder, "b.plua"), "\n<? if x the ?>\n<? local y = nil ?? 5 ?>");
    writeFileSync(join(folder, "c.plua"), "<? local z = nil ?? 5 echo(z) ?>");
    const said = spawnSync(plua, ["check", "."], { cwd: folder, encoding: "utf8" }).stderr;
    const [first, second] = extension.problemPatterns[0].patterns.map(({ regexp, ...groups }) => ({
      regexp: new RegExp(regexp),
      ...groups,
    }));
    const lines = said.split("\n");
    const problems = [];
    lines.forEach((line, at) => {
      const head = first.regexp.exec(line);
      const place = second.regexp.exec(lines[at + 1] ?? "");
      if (!head || !place) return;
      const severity = (head[first.severity] ?? extension.problemMatchers[0].severity).toLowerCase();
      problems.push([place[second.file], Number(place[second.line]), severity, head[first.message], head[first.code]]);
    });
    assert.deepEqual(
      problems.map((problem) => problem.slice(0, 3)).sort(),
      [
        ["./a.plua", 1, "warning"],
        ["./a.plua", 2, "warning"],
        ["./b.plua", 2, "error"],
        ["./c.plua", 1, "note"],
        ["./c.plua", 1, "note"],
      ],
      said,
    );
    assert.deepEqual(problems[0].slice(3), ["the local 'a' is never read", "unused"]);
  });
});
