/**
 * A budget label that is an amount of dollars is a limit on what the model may cost for the tasks of a session; any other
 * label is words. The budgets of the configuration hold besides.
 */
const AMOUNT = /^\s*(?:\$|usd)?\s*(\d{1,7}(?:\.\d{1,6})?)\s*(?:\$|usd|dollars?)?\s*$/i;

/** US dollars; null: the label is no amount. */
export function limitOf(label: string): number | null {
  const [, amount] = AMOUNT.exec(label) ?? [];
  return amount === undefined ? null : Number(amount);
}
