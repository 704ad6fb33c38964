const assert = require("node:assert");
const test = require("node:test");
const { comesBack, holdsUpTo } = require("../../app/parts/grid/holds.js");

const cells = (marks) => [...marks].map((mark) => (mark === "?" ? null : { same: mark === "1" }));

test("an answer holds up to the budget before the first that changes it", () => {
  assert.deepStrictEqual(holdsUpTo([20, 40, 60], cells("110")), { percent: 40, isWhole: false });
  assert.deepStrictEqual(holdsUpTo([20, 40, 60], cells("111")), { percent: 60, isWhole: true });
  assert.strictEqual(holdsUpTo([20, 40, 60], cells("011")), null);
  assert.strictEqual(holdsUpTo([20], cells("?")), null);
  assert.strictEqual(holdsUpTo([], []), null);
});

test("the order of the budgets does not matter", () => {
  assert.deepStrictEqual(holdsUpTo([60, 20, 40], cells("011")), { percent: 40, isWhole: false });
});

test("an answer that comes back is told", () => {
  assert.strictEqual(comesBack([20, 40, 60], cells("101")), true);
  assert.strictEqual(comesBack([20, 40, 60], cells("100")), false);
  assert.strictEqual(comesBack([20, 40, 60], cells("111")), false);
});
