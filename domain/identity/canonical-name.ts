/** The form under which a user name or an e-mail address is looked up and counted. */

/** White space, and characters that show nothing: controls, formats, variation selectors, fillers. */
const unseen = /[\s\p{White_Space}\p{C}\p{Default_Ignorable_Code_Point}]/gu;
/** More than any letter needs. */
const MAX_FOLDS = 4;

/**
 * Names that differ in case, in white space, in invisible characters or in how Unicode spells them are one name:
 * `Ada`, ` ADA `, `Ａｄａ` and `a\u200bda` are `ada`. Applied twice it gives the same.
 */
export function canonicalName(text: string): string {
  let folded = text;
  for (let i = 0; i < MAX_FOLDS; i++) {
    const before = folded;
    folded = fold(before);
    // What one step takes apart the next may put together, or give another case.
    if (folded === before) break;
  }
  return folded;
}

function fold(text: string): string {
  const spelt = text.normalize('NFKC').replace(unseen, '').normalize('NFKC');
  // Upper case first: some letters have one capital and several small forms (ſ, ς, ı).
  return spelt.toUpperCase().toLowerCase().normalize('NFKC');
}
