// Light, dark, or as the system has it: what a visitor chose is kept by their browser. Runs before anything is drawn, so that no
// page appears in the other colours first; the masthead has the button. An address that asks for a theme has its way.
(() => {
  const KEY = "fitprune:colours", CHOICES = ["system", "light", "dark"], media = matchMedia("(prefers-color-scheme: dark)");
  const known = (choice) => (CHOICES.includes(choice) ? choice : "");
  const kept = () => { try { return localStorage.getItem(KEY); } catch { return ""; } }; // a browser may keep nothing
  let choice = known(new URLSearchParams(location.search).get("__theme")) || known(kept()) || "system";

  function apply() {
    document.body.classList.toggle("dark", choice === "dark" || (choice === "system" && media.matches));
  }
  window.fpColours = {
    get choice() { return choice; },
    next() {
      choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
      try { localStorage.setItem(KEY, choice); } catch { /* until a reload, then */ }
      const address = new URL(location.href);
      address.searchParams.delete("__theme");
      if (address.href !== location.href) history.replaceState(history.state, "", address);
      apply();
    },
  };
  media.addEventListener("change", apply); // after Gradio's own, which knows nothing of the choice
  apply();
})();
