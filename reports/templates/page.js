const form = document.getElementById("filter"), rows = [...document.querySelectorAll("[data-kind]")];
if (form) {
  const words = form.elements.words, kind = form.elements.kind, said = form.querySelector("output");
  form.hidden = false;
  form.onsubmit = () => false;
  form.oninput = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !(!kind.value || row.dataset.kind.split(" ").includes(kind.value)) || !wanted.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    said.value = wanted.length || kind.value ? `${shown} of ${rows.length} shown` : "";
  };
}
for (const chart of document.querySelectorAll("figure svg.chart")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "save";
  button.textContent = "Save as SVG";
  button.onclick = () => {
    const copy = chart.cloneNode(true), from = chart.querySelectorAll("*"), link = document.createElement("a");
    copy.querySelectorAll("*").forEach((element, k) => {
      const style = getComputedStyle(from[k]);
      for (const name of ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "font-size", "font-family"])
        element.setAttribute(name, style.getPropertyValue(name));
    });
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    link.href = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(copy)], {type: "image/svg+xml"}));
    link.download = `${copy.getAttribute("aria-labelledby").replace("-title", "")}.svg`;
    link.click();
  };
  chart.closest("figure").append(button);
}
