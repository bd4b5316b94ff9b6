/** Values that look like secrets, blanked in what is shown of files. Best effort: files with secrets do not belong here. */

const MASK = '***';

/** `api_key = "…"`, `password: …`, `"token": "…"` with a value that is written out, no call and no variable. */
const assigned =
  /((?:api[_-]?key|secret(?:[_-]?key)?|access[_-]?key|auth[_-]?token|token|passw(?:or)?d|passphrase)["']?\s{0,3}[:=]\s{0,3})(["']?)([A-Za-z0-9+/_=.-]{8,})\2(?=$|[\s,;}"'])/gim;
/** Keys whose beginning says what they are. */
const known =
  /\b(?:sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|AKIA[A-Z0-9]{16}|xox[abprs]-[A-Za-z0-9-]{10,})/g;
const privateKey =
  /-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[\s\S]{0,20000}?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|$)/g;

/** A value with a dot or without a digit is most likely a name (`config.token`, `string`). */
const looksWritten = (value: string, quote: string): boolean =>
  quote !== '' || (/\d/.test(value) && !/^[a-z_]\w*(\.\w+)+$/i.test(value));

export const redact = (text: string): string =>
  text
    // Lines keep their numbers.
    .replaceAll(privateKey, (all) => MASK + '\n'.repeat(all.split('\n').length - 1))
    .replaceAll(assigned, (all, head: string, quote: string, value: string) =>
      looksWritten(value, quote) ? `${head}${quote}${MASK}${quote}` : all,
    )
    .replaceAll(known, MASK);
