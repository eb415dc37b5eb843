"""The style sheet of pages, inline so that each is one file."""

CSS = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #16191d; --muted: #5b6470; --line: #dfe3e8;
  --tint: #eef3fe; --truth: #e9f6ee; --good: #14713d; --bad: #a3410b;
  --series-1: #2b62d9; --series-2: #d4622a; --series-3: #2c8f63; --series-4: #8a56c2;
  --series-5: #a87a14; --series-6: #168394; --series-7: #c0427c; --series-8: #6b7280;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #101317; --card: #181c22; --ink: #e9ecf0; --muted: #9aa5b3; --line: #2d343d;
    --tint: #1b2740; --truth: #16301f; --good: #5fce8d; --bad: #f0a06b;
    --series-1: #7da6ff; --series-2: #f0935f; --series-3: #63c897; --series-4: #bd95ee;
    --series-5: #dfb65f; --series-6: #5cc6d3; --series-7: #ee86b4; --series-8: #a7b0bc;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
main { max-width: 1120px; margin: 0 auto; padding: 40px 20px 64px; }
header p, .lead { max-width: 72ch; }
.eyebrow { color: var(--muted); font-size: 14px; margin: 0; }
h1 { font-size: 30px; line-height: 1.25; letter-spacing: -0.01em; margin: 4px 0 10px; }
h2 { font-size: 21px; margin: 44px 0 6px; letter-spacing: -0.005em; }
h3 { font-size: 17px; margin: 0 0 4px; }
p { margin: 0 0 12px; }
.muted, figcaption { color: var(--muted); }
.small, figcaption { font-size: 14px; }
.tiles { display: grid; gap: 12px; margin: 22px 0 0;
  grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); }
.tile, .card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.tile { padding: 14px 16px; }
.tile b { display: block; font-size: 25px; line-height: 1.25; font-weight: 650; }
.tile span { color: var(--muted); font-size: 14px; line-height: 1.35; display: block;
  overflow-wrap: anywhere; }
.card { padding: 18px 20px; margin: 14px 0; }
.columns { display: grid; gap: 14px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 400px), 1fr)); }
.columns .card { margin: 0; }
figure { margin: 0; }
figure svg { width: 100%; height: auto; display: block; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.numbers { width: 100%; }
.numbers th, .numbers td { padding: 9px 12px; text-align: right; vertical-align: top;
  border-bottom: 1px solid var(--line); }
.numbers th { font-size: 14px; font-weight: 600; color: var(--muted); line-height: 1.3; }
.numbers th:first-child, .numbers td:first-child { text-align: left; padding-left: 0; }
.numbers tr:last-child td { border-bottom: 0; }
.numbers td:first-child, .numbers .own { font-weight: 650; }
.numbers small { display: block; white-space: nowrap; font-size: 13px; font-weight: 400;
  color: var(--muted); }
.numbers small.good, .numbers small.bad { white-space: normal; color: var(--good); }
.numbers small.bad { color: var(--bad); }
.prompt { display: flex; flex-wrap: wrap; gap: 8px 14px; align-items: flex-end;
  padding: 10px 0; }
.prompt + .prompt { border-top: 1px solid var(--line); }
.prompt figcaption { font-size: 13px; font-weight: 600; line-height: 1.25; padding: 2px 4px;
  border-radius: 5px; margin-bottom: 4px; white-space: nowrap; }
.place { width: 100%; margin: 0; color: var(--muted); font-size: 14px; }
.row { display: flex; flex-wrap: wrap; gap: 4px; }
.examples > .row { gap: 4px 8px; }
.prompt img, .strip img { width: var(--side); height: var(--side); display: block;
  image-rendering: pixelated; border-radius: 3px; }
.answers figcaption { background: var(--tint); color: var(--ink); }
.truth figcaption { background: var(--truth); color: var(--ink); }
/* A caption over few pictures takes another line, not the room of the next ones. */
.answers figcaption, .best figcaption { width: 0; min-width: 100%; white-space: normal; }
.best figcaption { padding: 2px 0; }
.strip { display: grid; gap: 10px 8px; margin-top: 12px;
  grid-template-columns: repeat(auto-fill, var(--side)); }
.strip figure img + img { margin-top: 4px; }
.strip figcaption { font-size: 13px; text-align: center; padding-top: 2px; }
details { margin-top: 14px; }
summary { cursor: pointer; color: var(--muted); font-size: 14px; }
.facts td { padding: 3px 24px 3px 0; vertical-align: top; font-size: 14px; }
.facts td:first-child { color: var(--muted); white-space: nowrap; }
.facts td:last-child { overflow-wrap: anywhere; }
.next p { margin: 10px 0 4px; }
pre { margin: 0; padding: 10px 12px; overflow-x: auto; font-size: 13px; line-height: 1.5;
  background: var(--page); border-radius: 6px; }
/* Where every prompt stands in one line, the captions of the first are enough. */
@media (min-width: 1100px) { .prompt + .prompt figcaption { display: none; } }
/* A phone shows the question, the answers and the truth first, then the examples. */
@media (max-width: 700px) {
  main { padding: 24px 12px 48px; }
  .card { padding: 14px 12px; }
  .tiles { grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); }
  .numbers th, .numbers td { padding: 9px 6px; }
  .numbers small.wrap { white-space: normal; }
  .prompt { gap: 8px 4px; }
  .prompt img { --side: calc((100vw - 64px) / 4); }
  .prompt figcaption { padding: 2px 0; width: auto; white-space: nowrap; }
  .answers { order: 1; width: 100%; }
  .examples { order: 2; width: 100%; }
  .examples img { --side: calc((100vw - 84px) / 6); }
}
"""
