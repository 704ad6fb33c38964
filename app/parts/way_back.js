// What opens in Compare is a step in the browser's history: Back leads to where it was opened. Shared by every component, as
// shared.js is.

// Go to a page of the app by the name on its tab; on a phone some are in a menu.
function toTab(name) {
  const named = (selector) => [...document.querySelectorAll(selector)].find((button) => button.textContent.trim() === name);
  const tab = named("#pages button[role=tab]");
  if (tab) return tab.click();
  const menu = document.querySelector("#pages .overflow-menu > button");
  if (menu) menu.click();
  setTimeout(() => {
    const entry = named("#pages .overflow-dropdown button");
    if (entry) entry.click();
  }, 50);
}

// Note that somebody goes from a page to Compare.
function leaveFor(page) {
  history.replaceState({ ...history.state, fpPage: page }, "");
  history.pushState({ fpPage: "Compare" }, "");
  if (window.fpGoesBack) return;
  window.fpGoesBack = true;
  window.addEventListener("popstate", ({ state }) => { if (state && state.fpPage) toTab(state.fpPage); });
}
