/** Text as a column can hold it: Postgres takes neither NUL nor half of a surrogate pair, in jsonb also not escaped. They become U+FFFD. */
export const storableText = (text: string): string => text.replaceAll('\0', '\ufffd').toWellFormed();
