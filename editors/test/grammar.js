// The grammar of pages as VS Code reads it, with the HTML, styles and scripts that it stands on.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import oniguruma from "vscode-oniguruma";
import textmate from "vscode-textmate";

const require = createRequire(import.meta.url);
const file = new URL("../vscode/syntaxes/plua.tmLanguage.json", import.meta.url);

await oniguruma.loadWASM(readFileSync(require.resolve("vscode-oniguruma/release/onig.wasm")));

const others = new Map();
for (const name of ["html", "css", "javascript"]) {
  for (const grammar of (await import(`@shikijs/langs/${name}`)).default) {
    others.set(grammar.scopeName, grammar);
  }
}

const registry = new textmate.Registry({
  onigLib: Promise.resolve({
    createOnigScanner: (patterns) => new oniguruma.OnigScanner(patterns),
    createOnigString: (text) => new oniguruma.OnigString(text),
  }),
  loadGrammar: async (scope) =>
    scope === "text.html.plua"
      ? textmate.parseRawGrammar(readFileSync(file, "utf8"), file.pathname)
      : (others.get(scope) ?? null),
});
const grammar = await registry.loadGrammar("text.html.plua");

/** The page's tokens, each with its text and its scopes. Line breaks are tokens too. */
export function tokens(page) {
  const found = [];
  let state = textmate.INITIAL;
  const lines = page.split("\n");
  lines.forEach((line, number) => {
    const read = grammar.tokenizeLine(line, state);
    state = read.ruleStack;
    for (const { startIndex, endIndex, scopes } of read.tokens) {
      const text = line.slice(startIndex, endIndex);
      if (text) found.push({ text, scopes, line: number + 1 });
    }
    if (number < lines.length - 1) {
      const { scopes } = read.tokens[read.tokens.length - 1];
      // Where a tag has ended, the line break behind it is no longer its own.
      const ended = /\.end\.plua$/.test(scopes.at(-1)) || (!line && !isTag(inside(state)));
      found.push({ text: "\n", scopes: ended ? [] : inside(state), line: number + 1 });
    }
  });
  return found;
}

// The scopes in which the next line begins.
function inside(state) {
  return grammar.tokenizeLine("", state).tokens[0].scopes;
}

/** Whether scopes are those of a tag or a note: of what is not sent. */
export function isTag(scopes) {
  return scopes.some((scope) => /^(meta\.embedded\.block|comment\.\S+|invalid\.illegal\.php)\.plua$/.test(scope));
}

/** What is text of the page, as the grammar sees it, with the line break that belongs to a tag left out. */
export function text(page) {
  let sent = "";
  let wasTag = false;
  for (const token of tokens(page)) {
    const is = isTag(token.scopes);
    if (!is && !(wasTag && token.text === "\n")) sent += token.text;
    wasTag = is;
  }
  return sent;
}
