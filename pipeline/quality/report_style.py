"""The style of the report. Light, since it is read in daylight and printed."""

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #f5f6f8; color: #1d232b; font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 24px 40px; }
header { background: #fff; border-radius: 10px; border-left: 8px solid #8a93a0; padding: 20px 26px 18px; box-shadow: 0 1px 3px #0002; }
header.complete { border-color: #2e8b57; }
header.warnings { border-color: #d69a1c; }
header.incomplete { border-color: #c0392b; }
.brand { margin: 0; color: #7a838f; font-size: 12px; letter-spacing: .14em; text-transform: uppercase; }
h1 { margin: 2px 0 6px; font-size: 28px; line-height: 1.2; overflow-wrap: anywhere; }
.verdict { margin: 0 0 6px; font-size: 18px; }
.about { margin: 0; color: #5c6570; font-size: 13px; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 14px 0 4px; }
.tile { flex: 1 1 120px; background: #fff; border-radius: 10px; padding: 12px 16px; box-shadow: 0 1px 3px #0002; color: #5c6570; font-size: 13px; }
.tile b { display: block; color: #1d232b; font-size: 23px; font-weight: 600; }
.tile i, figcaption i { font-style: normal; font-weight: 400; font-size: 14px; color: #5c6570; }
section { margin-top: 26px; }
h2 { margin: 0 0 10px; font-size: 18px; }
.flag { background: #fff; border-radius: 8px; border-left: 6px solid #d69a1c; padding: 10px 16px; margin-bottom: 8px; box-shadow: 0 1px 3px #0002; overflow-wrap: anywhere; }
.flag.error { border-color: #c0392b; }
.flag p { margin: 0; }
.flag b { font-weight: 600; }
.flag p + p { color: #4a525c; }
.scroll { overflow-x: auto; background: #fff; border-radius: 10px; box-shadow: 0 1px 3px #0002; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th { text-align: left; vertical-align: bottom; font-weight: 500; color: #5c6570; font-size: 12.5px; border-bottom: 1px solid #dfe2e7; }
th, td { padding: 8px 12px; }
td { border-bottom: 1px solid #eef0f3; vertical-align: top; }
tbody tr:last-child td { border-bottom: 0; }
td b { font-weight: 600; overflow-wrap: anywhere; }
th.n, td.n { text-align: right; }
td.n { white-space: nowrap; }
td small { display: block; color: #5c6570; font-size: 12.5px; }
.state { border-radius: 20px; padding: 1px 10px; font-size: 13px; background: #e8eaee; color: #434b55; white-space: nowrap; }
.state.done { background: #dcf1e4; color: #1c6b40; }
.state.failed { background: #fadfdb; color: #9c2a1c; }
.state.running { background: #dfeafa; color: #1f5294; }
.state.incomplete { background: #fbeed2; color: #7d5806; }
.chip { width: 11px; height: 11px; border-radius: 3px; margin-right: 7px; vertical-align: -1px; }
figure { margin: 0; }
.plot { background: #fff; border-radius: 10px; box-shadow: 0 1px 3px #0002; padding: 12px 16px 6px; margin-bottom: 12px; }
.plot > svg { display: block; width: 100%; height: auto; }
.plot figcaption { display: flex; flex-wrap: wrap; gap: 2px 16px; align-items: baseline; font-size: 13px; margin-bottom: 4px; }
.plot figcaption b { font-size: 15px; font-weight: 600; }
.plot figcaption small { color: #5c6570; font-size: 13px; flex: 1 1 auto; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(260px, 1fr)); gap: 14px; }
.pictures.wide { grid-template-columns: minmax(260px, 640px); }
.pictures figure { background: #fff; border-radius: 10px; overflow: hidden; box-shadow: 0 1px 3px #0002; display: flex; flex-direction: column; }
.pictures img { display: block; width: 100%; aspect-ratio: 4 / 3; object-fit: contain; background: #15181c; }
.pictures.wide img { aspect-ratio: auto; max-height: 420px; }
.pictures figcaption { padding: 10px 14px 12px; font-size: 13px; color: #4a525c; overflow-wrap: anywhere; }
.pictures figcaption b { display: block; color: #1d232b; font-size: 14px; font-weight: 600; }
code { display: block; margin-top: 8px; padding: 6px 9px; background: #f0f2f5; border-radius: 6px; font: 12px/1.45 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; color: #1d232b; overflow-wrap: anywhere; }
.problem { background: #fff; border-radius: 8px; border-left: 6px solid #c0392b; padding: 10px 16px; margin-bottom: 8px; box-shadow: 0 1px 3px #0002; overflow-wrap: anywhere; }
.problem small { display: block; color: #5c6570; margin-top: 6px; }
pre { margin: 8px 0 4px; padding: 10px 12px; background: #1d232b; color: #e6e9ee; border-radius: 6px; font: 12px/1.45 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; white-space: pre-wrap; overflow-wrap: anywhere; max-height: 420px; overflow-y: auto; }
section > ul { background: #fff; border-radius: 10px; box-shadow: 0 1px 3px #0002; margin: 0; padding: 12px 16px 12px 34px; }
a { color: #1f5294; }
footer { margin-top: 30px; color: #7a838f; font-size: 12.5px; }
footer ul { margin: 0; padding: 0; list-style: none; display: flex; flex-wrap: wrap; gap: 2px 18px; }
footer p { margin: 4px 0 0; overflow-wrap: anywhere; }
@media print {
  body { background: #fff; }
  main { max-width: none; padding: 0; }
  header, .tile, .scroll, .plot, .flag, .pictures.wide { grid-template-columns: minmax(260px, 640px); }
.pictures figure { box-shadow: none; border: 1px solid #dfe2e7; break-inside: avoid; }
  pre { max-height: none; }
}
"""  # noqa: E501
