let last = 0;
onValue(({ name, kind, text, number }) => {
  if (number === last) return;
  last = number;
  saveFile(name, kind, text);
});
