// What the grammar takes for text, tags, Lua, HTML, styles and scripts.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { isTag, text, tokens } from "./grammar.js";

const examples = new URL("../../examples/", import.meta.url);
const plua = process.env.PLUA ?? "plua";

/** The scopes of the first token that has this text. */
function scopes(page, wanted) {
  const found = tokens(page).find((token) => token.text.trim() === wanted);
  assert.ok(found, `no token ${wanted} in ${JSON.stringify(tokens(page).map((token) => token.text))}`);
  return found.scopes.join(" ");
}

const LUA = "meta.embedded.block.plua source.lua.embedded.plua";

// Each page, and what it sends when its tags put out nothing.
const PAGES = [
  ["a<? local x ?>b", "ab"],
  ["a<?lua local x ?>b", "ab"],
  ["a<? local x = '?>' ?>b", "ab"],
  ['a<? local x = "?>" ?>b', "ab"],
  ["a<? local x = [[?>]] ?>b", "ab"],
  ["a<? local x = [==[\n?> ]] \n]==] ?>b", "ab"],
  ["a<? --[[ ?>\nhidden<? ]] ?>b", "ab"],
  ["a<? --[=[ ]] ?> ]=] ?>b", "ab"],
  ["a<? -- it's ?>b", "ab"],
  ['a<? -- a "note ?>b', "ab"],
  ["a<? -- note\nlocal x -- more ?>b", "ab"],
  ["a<? local x = 'it\\'s ?>' ?>b", "ab"],
  ['a<? local x = "a\\\\" ?>b', "ab"],
  ['a<? local x = "a\\\n?>" ?>b', "ab"],
  ["a<?# it's [[ --[[ ?>b", "ab"],
  ["a<?lua# note\nmore ?>b", "ab"],
  ["a<? ?>\nb", "ab"],
  ["a<? ?>\n\nb", "a\nb"],
  ["a<? ?> \nb", "a \nb"],
  ["a\n<? local x ?>\nb\n", "a\nb\n"],
  ["a<?= '' ?>b<?& '' ?>c<?! '' ?>d<?lua= '' ?>e", "abcde"],
  ["a<? if false then ?>", "a", "<? end ?>"],
  ["<p class=\"a<?= '' ?>b\">c</p>", '<p class="ab">c</p>'],
  ["<!-- a<?= '' ?>b -->", "<!-- ab -->"],
  ["<script>let a = '<?= '' ?>'; // <?= '' ?> b\nc()</script>", "<script>let a = ''; //  b\nc()</script>"],
  ["<style>a { color: <?= '' ?>red }</style>", "<style>a { color: red }</style>"],
  ["<textarea><?= '' ?></textarea>", "<textarea></textarea>"],
  ['<?xml version="1.0"?>\n<a/>', '<?xml version="1.0"?>\n<a/>'],
  ["<?xml encoding='<?= '' ?>'?>\n", "<?xml encoding=''?>\n"],
  ["a ?> b < ? c", "a ?> b < ? c"],
  ["#!/usr/bin/env -S plua run\na", "a"],
  ["a\n#!b\n", "a\n#!b\n"],
  ["a<? local t = { x = { 1 } } ?>b{}", "ab{}"],
  ["a<? local f = function(x) return x end ?>b<? f() ?>c", "abc"],
  ["a<? local x = 7 > 3 ?>b<? local y = 1 ?? 2 ?>c", "abc"],
  ["a<?", "a"],
];

test("text and tags are parted as mod_plua parts them", () => {
  const folder = mkdtempSync(join(tmpdir(), "plua-grammar-"));
  try {
    for (const [page, sent, rest] of PAGES) {
      assert.equal(text(page), sent, `the grammar: ${page}`);
      const file = join(folder, "page.plua");
      writeFileSync(file, page + (rest ?? ""));
      assert.equal(execFileSync(plua, ["run", file], { encoding: "utf8" }), sent, `plua run: ${page}`);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("tags of pLuaTags end with their own mark", () => {
  for (const [page, sent] of [
    ["a<% local x ?> y -- z %>b", "ab"],
    ["a<%= '%>' %>b<%# d ?> %>c", "abc"],
    ["a<? b = 1 %> 2 ?>c", "ac"],
  ]) {
    assert.equal(text(page), sent, page);
  }
});

test("an example page leaves no tag open and no text in one", () => {
  const names = readdirSync(examples, { recursive: true }).filter((name) => name.endsWith(".plua"));
  assert.ok(names.length > 10);
  for (const name of names) {
    const page = readFileSync(new URL(name, examples), "utf8");
    const read = tokens(page);
    assert.equal(read.map((token) => token.text).join(""), page, name);
    assert.ok(!isTag(read.at(-1).scopes) || page.trimEnd().endsWith("?>"), name);
    const ends = read.filter((token) => token.text === "?>");
    const begins = read.filter((token) => /^<\?(lua)?$/.test(token.text) || token.text === "<?#");
    assert.equal(begins.length, ends.length, `${name}: tags that begin, and that end`);
    for (const { text: piece, scopes: of, line } of read) {
      if (/<\/?(html|head|body|p|h1|table|tr|td|li|ul|form)\b/.test(piece)) {
        assert.ok(!isTag(of) || of.some((scope) => scope.startsWith("string.")), `${name}:${line}: ${piece}`);
      }
    }
  }
});

test("Lua is told apart in tags", () => {
  const page = `<? local total = plua.get("a", 0x1F) -- say
for i = 1, 3 do echo(i .. 'x\\n') end
function show(t) return t.name or nil end ?>`;
  for (const [wanted, scope] of [
    ["local", "storage.modifier.lua"],
    ["get", "support.function.plua"],
    ["0x1F", "constant.numeric.lua"],
    ["say", "comment.line.double-dash.lua"],
    ["for", "keyword.control.lua"],
    ["echo", "support.function.plua"],
    ["..", "keyword.operator.lua"],
    ["x", "string.quoted.single.lua"],
    ["\\n", "constant.character.escape.lua"],
    ["show", "entity.name.function.lua"],
    ["or", "keyword.operator.logical.lua"],
    ["nil", "constant.language.lua"],
  ]) {
    const found = scopes(page, wanted);
    assert.ok(found.includes(LUA) && found.endsWith(scope), `${wanted}: ${found}`);
  }
});

test("marks, notes and PHP have scopes of their own", () => {
  assert.match(scopes("<?& a ?>", "&"), /keyword\.operator\.echo\.plua$/);
  assert.match(scopes("<?# note ?>", "note"), /comment\.block\.plua$/);
  assert.match(scopes("<?php echo 1 ?>b", "<?php"), /invalid\.illegal\.php\.plua/);
  assert.doesNotMatch(scopes("<?php echo 1 ?>b", "b"), /plua .*plua/);
});

test("HTML, styles and scripts around tags keep their colours", () => {
  const page = `<style>p { color: <?= c ?>; margin: 0 }</style>
<script>const a = <?= json.encode(t) ?>; let b = 1;</script>
<a href="<?& url ?>" title='x'>text</a>`;
  assert.match(scopes(page, "margin"), /source\.css.*support\.type\.property-name/);
  assert.match(scopes(page, "let"), /source\.js.*storage\.type/);
  assert.match(scopes(page, "url"), /string\.quoted\.double\.html.*source\.lua/);
  assert.match(scopes(page, "title"), /entity\.other\.attribute-name/);
  assert.doesNotMatch(scopes(page, "text"), /source\.lua|string/);
});
