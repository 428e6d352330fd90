"""The look of the report page: inline style, no script, no external request."""

from __future__ import annotations

STYLE = """
:root { --ink: #222; --faint: #666; --line: #ddd; --page: #fff; --panel: #f6f6f4; --accent: #1b5e8c; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 40px 28px 60px; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif; }
h1 { font-size: 27px; line-height: 1.25; margin: 0 0 6px; font-weight: 650; }
h2 { font-size: 19px; margin: 40px 0 12px; font-weight: 650; }
h3 { font-size: 16px; margin: 26px 0 8px; font-weight: 600; }
p { margin: 0 0 12px; max-width: 76ch; }
.origin { border-left: 3px solid var(--accent); background: var(--panel); padding: 9px 14px;
  margin: 16px 0 0; }
.origin.synthetic { border-color: #b3541e; }
.headline { display: flex; flex-wrap: wrap; gap: 14px 44px; margin: 26px 0 0; padding: 0; list-style: none; }
.headline b { display: block; font-size: 28px; line-height: 1.2; font-weight: 600;
  font-variant-numeric: tabular-nums; }
.headline span { color: var(--faint); font-size: 14px; }
.panels { display: grid; gap: 18px; }
.columns-2 { grid-template-columns: repeat(2, 1fr); }
.columns-3 { grid-template-columns: repeat(3, 1fr); }
@media (max-width: 720px) { .panels { grid-template-columns: 1fr; } }
figure { margin: 0; }
figcaption { color: var(--faint); font-size: 14px; margin-top: 5px; }
.zoom { display: block; cursor: zoom-in; }
.zoom img { display: block; width: 100%; height: auto; border: 1px solid var(--line); border-radius: 4px; }
.zoom input { position: absolute; opacity: 0; }
.zoom input:focus-visible + img { outline: 3px solid var(--accent); outline-offset: 2px; }
.zoom input:checked + img { position: fixed; inset: 0; z-index: 9; width: 100vw; height: 100vh;
  object-fit: contain; padding: 20px; border: 0; border-radius: 0; background: rgba(255, 255, 255, .97);
  cursor: zoom-out; }
.legend { display: flex; flex-wrap: wrap; gap: 5px 18px; list-style: none; padding: 0; margin: 14px 0 0;
  font-size: 14px; }
.legend i, td i { display: inline-block; width: 13px; height: 13px; border-radius: 3px; margin-right: 7px;
  vertical-align: -1px; border: 1px solid rgba(0, 0, 0, .25); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 15px; }
th, td { padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
th { font-weight: 600; }
thead th { border-bottom: 2px solid #999; }
td.number, th.number { text-align: right; padding: 5px 4px 5px 26px; white-space: nowrap; }
td.best { font-weight: 650; }
td .bar { display: inline-block; width: 90px; height: 8px; margin-left: 10px; background: var(--panel);
  border-radius: 4px; vertical-align: 1px; overflow: hidden; }
td .bar b { display: block; height: 100%; background: var(--accent); }
.facts th { color: var(--faint); font-weight: 400; padding-right: 26px; white-space: nowrap; }
footer { margin-top: 46px; color: var(--faint); font-size: 14px; border-top: 1px solid var(--line);
  padding-top: 12px; }
@media print {
  .zoom { cursor: auto; }
  body { max-width: none; padding: 0; }
  figure, tr { break-inside: avoid; }
}
"""
