// Set formulas: reads [[tex, display, output], …] as JSON on stdin, writes [{html} or {error}, …] on stdout.
const katex = require(process.argv[2]);
const formulas = JSON.parse(require("fs").readFileSync(0, "utf8"));
const done = formulas.map(([tex, displayMode, output]) => {
  try {
    return { html: katex.renderToString(tex, { displayMode, output, strict: "error", throwOnError: true }) };
  } catch (error) {
    return { error: String(error.message) };
  }
});
process.stdout.write(JSON.stringify(done));
