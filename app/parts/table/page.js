// The rows as one file that needs nothing else: what the original answered beside the chosen side, the sums of all sides as a
// table, and a field that filters. CSV and JSON hold every side's answers.

function escaped(text) {
  return String(text).replace(/[&<>"']/g, (sign) => "&#" + sign.charCodeAt(0) + ";");
}

const PAGE_STYLE = `
:root { color-scheme: light dark; --ink: #16191d; --ink-2: #5b646c; --ground: #fff; --rule: #dedfda; --wrong: #b53b08; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eae6; --ink-2: #aab2b8; --ground: #16191d; --rule: #3a4147; --wrong: #ff9a66; } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; padding: 24px; max-width: 1400px; color: var(--ink); background: var(--ground); }
h1 { font-size: 22px; margin: 0 0 4px; } p { margin: 0 0 16px; color: var(--ink-2); }
table { border-collapse: collapse; margin-bottom: 24px; } #rows { width: 100%; }
th, td { border-bottom: 1px solid var(--rule); padding: 6px 16px 6px 0; text-align: left; vertical-align: top; overflow-wrap: break-word; }
th { font-weight: 600; color: var(--ink-2); } thead th { position: sticky; top: 0; background: var(--ground); }
#sums { font-variant-numeric: tabular-nums; } #sums tr.chosen { font-weight: 700; }
td:first-child { white-space: nowrap; }
input { font: inherit; padding: 6px 10px; width: min(100%, 360px); margin: 0 8px 12px; }
@media (max-width: 760px) { body { padding: 12px; } table { display: block; overflow-x: auto; } thead th { position: static; }
  input { width: 100%; margin: 0 0 8px; box-sizing: border-box; } }
.wrong { color: var(--wrong); } .wrong::before { content: "\\2717  "; } .right::before { content: "\\2713  "; }
`;

const cellsOf = (cells, tag) => "<tr>" + cells.map((cell) => "<" + tag + ">" + escaped(cell) + "</" + tag + ">").join("") + "</tr>";

function sumsOfPage(data, side) {
  const sums = data.sums[""] || [];
  const lines = sums.map((sum, number) => {
    const said = [data.sides[number], shareInWords(sum.right), number ? shareInWords(sum.same) : "", sum.against,
      sum.gflops === null ? "" : writeGflops(sum.gflops)];
    return cellsOf(said, "td").replace("<tr>", number === side ? '<tr class="chosen">' : "<tr>");
  });
  const heads = ["side", "right, with its 95 % interval", "as the original", "against the original", "visual FLOPs"];
  return ['<table id="sums"><thead>', cellsOf(heads, "th"), "</thead><tbody>", ...lines, "</tbody></table>"];
}

// about: which rows these are, in words.
function htmlOf(data, indices, side, notes, about) {
  const kinds = data.margins.length ? ["margin"] : [];
  const heads = ["id", "kind", "question", "right answer", "original", data.sides[side], ...kinds, "tags", "note"];
  const answer = (index, number) => "<td class=\"" + markInWords(data.marks[number][index]) + "\">" + escaped(data.answers[number][index]) + "</td>";
  const rows = indices.map((index) => {
    const note = (notes && notes[data.rows[index][0]]) || { tags: "", note: "" };
    const plain = (cells) => cells.map((cell) => "<td>" + escaped(cell) + "</td>").join("");
    const margin = kinds.map(() => exactMargin(data, index, side));
    return "<tr>" + plain(data.rows[index]) + answer(index, 0) + answer(index, side) + plain([...margin, note.tags, note.note]) + "</tr>";
  });
  return [
    "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">",
    "<title>" + escaped(data.title) + "</title>", "<style>" + PAGE_STYLE + "</style>",
    "<h1>" + escaped(data.title) + "</h1><p>" + escaped(about) + "</p>",
    ...sumsOfPage(data, side),
    "<label>Filter <input id=\"filter\"></label> <span id=\"count\">" + writeCount(indices.length) + " rows</span>",
    "<table id=\"rows\"><thead>" + cellsOf(heads, "th") + "</thead><tbody>", ...rows, "</tbody></table>",
    "<scr" + "ipt>const rows=[...document.querySelectorAll('#rows tbody tr')];",
    "document.getElementById('filter').oninput=(e)=>{const w=e.target.value.toLowerCase();let n=0;",
    "for(const r of rows){r.hidden=!r.textContent.toLowerCase().includes(w);n+=!r.hidden}",
    "document.getElementById('count').textContent=n.toLocaleString('en')+' rows'}</scr" + "ipt></html>",
  ].join("\n");
}

if (typeof module !== "undefined") module.exports = { htmlOf };
