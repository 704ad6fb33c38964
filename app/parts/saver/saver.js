let last = 0;
onValue(({ name, kind, text, number }) => {
  if (number === last) return;
  last = number;
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([text], { type: kind + ";charset=utf-8" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
});
